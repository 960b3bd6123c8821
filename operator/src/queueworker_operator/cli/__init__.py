"""The commands that the operator adds to `queueworker`."""
