"""Ministral 3 in PyTorch, batched over many replies."""
