"""What single commands of the command line do: speak and listen without a call."""
