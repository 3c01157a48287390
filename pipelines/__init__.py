"""The chain of one call on Pipecat: voice detection, recognition, turns, barge-in, reply, speech, heard text."""
