"""Samples and time, without sockets: the same for every way in."""
