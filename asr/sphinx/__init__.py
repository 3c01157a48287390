"""Speech recognition by pocketsphinx, in a process of its own: no weights to download."""
