"""Speech from eSpeak NG, in a process of its own: no weights to download."""
