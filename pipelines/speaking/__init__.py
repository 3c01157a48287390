"""From the reply's text to speech, and to what of it was heard."""
