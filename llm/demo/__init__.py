"""The scripted language model of the embedded profile."""
