"""Text to speech: synthesisers behind one interface (`tts.interface`)."""
