"""Text to speech: synthesizers behind one interface (`tts.interface`)."""
