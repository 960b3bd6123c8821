"""The names that BullMQ accepts for queues and jobs, and how ours are mapped to them.

Sources: `Job.validateOptions` and `Queue.add` of BullMQ for Node, `includes/getJobIdFromKey.lua`.
"""

from __future__ import annotations

import re

from queueworker.errors import InvalidJobError

_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_NUMBER = re.compile(r"\s*[-+]?(Infinity|([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?)\s*")
_RESERVED = {
    *("wait", "paused", "active", "prioritized", "delayed", "waiting-children", "completed", "failed", "stalled"),
    *("stalled-check", "limiter", "meta", "id", "pc", "marker", "events", "repeat", "priority"),
    *("metrics:completed:data", "metrics:failed:data"),
}


def usable_job_id(value: str) -> str:
    """Return the id as it is stored: `type:id` becomes `type-id`. Raises ValueError for one that BullMQ refuses.

    Ids with exactly two colons stand as they are, BullMQ's own repeated jobs have such. Integers would collide with
    the ids that BullMQ counts up, what is a number below zero is an error code for BullMQ for Node, and names of the
    queue's own keys would destroy the queue.
    """
    job_id = value.replace(":", "-") if value.count(":") == 1 and not value.startswith("0:") else value
    if not job_id:
        raise ValueError("an empty id is not allowed: leave it out to have one generated")
    if job_id == "0" or job_id.startswith("0:"):
        raise ValueError("an id must not be '0' or start with '0:'")
    if _INTEGER.fullmatch(job_id):
        raise ValueError(f"an integer is not allowed as id: write for example job-{job_id}")
    if _NUMBER.fullmatch(job_id) and float(job_id) < 0:
        raise ValueError(f"a number below zero is not allowed as id: write for example job{job_id.strip()}")
    if job_id.count(":") not in {0, 2}:
        raise ValueError(f"an id must not contain ':', write {job_id.replace(':', '-')}")
    if job_id in _RESERVED:
        raise ValueError(f"{job_id!r} is the name of a key of the queue: write for example job-{job_id}")
    return job_id


def usable_parent_id(value: str) -> str:
    """Return the id under which a parent is stored, mapped as `usable_job_id` maps it; raises ValueError.

    Integers are allowed, for BullMQ counts up ids of its own. Colons are not: the scripts take what follows the last
    colon of a parent's key for its id.
    """
    parent_id = value.replace(":", "-") if value.count(":") == 1 else value
    if not parent_id or ":" in parent_id:
        raise ValueError("the id of a parent must not be empty and must not contain ':'")
    return parent_id


def usable_queue_name(value: str) -> str:
    """Return the queue's name; raises InvalidJobError for one that BullMQ refuses."""
    if not isinstance(value, str) or not value or ":" in value:
        raise InvalidJobError(f"queue name {value!r}: it must not be empty and must not contain ':'")
    return value
