"""Who has the floor: pure decisions, no I/O, no clock, no Pipecat."""
