"""From checkpoints on disk to the parameters of a network, in whatever precision."""
