"""Voxtral TTS in PyTorch, batched over many utterances."""
