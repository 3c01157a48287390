"""Fakes that several suites use: each implements one interface whole, and its contract suite holds it to that."""
