"""From the microphone to voice activity and transcripts."""
