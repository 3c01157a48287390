"""Transport only: peer connections, playout, signalling, the web page. Knows nothing of speech or language."""
