"""Speech to text: recognizers behind one interface (`asr.interface`)."""
