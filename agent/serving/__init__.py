"""The running process: calls, admission, metrics, and its end."""
