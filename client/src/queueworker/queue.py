"""A queue as its producers, readers and administrators see it.

Delivery is at least once. Adding is safe to repeat: every job has an id before it is sent, so that a request sent again
after a lost answer adds nothing.
"""

from __future__ import annotations

from queueworker.adding import QueueAdding
from queueworker.admin import QueueAdmin
from queueworker.deduplication import QueueDeduplication
from queueworker.flows import QueueFlows
from queueworker.getters import QueueGetters
from queueworker.scheduling import QueueScheduling


class Queue(QueueAdding, QueueFlows, QueueScheduling, QueueDeduplication, QueueAdmin, QueueGetters):
    """A BullMQ queue.

        async with Queue("killmail", ConnectionSettings(host="redis")) as queue:
            await queue.enqueue("killmail", {"killmail_id": 1}, job_id="killmail-1")

    `connection` is where Redis is (default: the environment), or a redis-py client that stays the caller's. A lost
    connection is tried again; what fails then raises RedisWriteError, or RedisReadError where something is read.
    """
