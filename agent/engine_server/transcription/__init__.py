"""Transcription over a web socket: the recognizer in the words of vLLM and of Mistral."""
