"""What every HTTP server of ours needs."""
