"""The decision: how many replicas, and why. Pure: no I/O, no clock, no randomness."""
