"""The decoder and the step loop under all our neural engines; nothing of language models."""
