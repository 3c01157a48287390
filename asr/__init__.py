"""Speech to text: recognisers behind one interface (`asr.interface`)."""
