"""Runs BullMQ processors: the engine, the pools, the life of the process, and its health."""
