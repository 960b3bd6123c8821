"""Administering a queue: every change counts first, works in batches, can be interrupted, and tells what is left."""

from __future__ import annotations

from queueworker.obliterate import Obliteration
from queueworker.single import SingleChanges


class QueueAdmin(Obliteration, SingleChanges):
    """The administering half of `Queue`; what cannot be done raises RedisWriteError."""
