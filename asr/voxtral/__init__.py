"""Voxtral Realtime in PyTorch, batched over many streams."""
