"""What the tests of the autoscaler on a real API server share: cheap pods, and jobs as producers put them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from acceptance import QUEUE, Story, eventually

from queueworker import Job, Queue

IDLE = {"command": ["/bin/sleep", "100000"], "healthPort": None}
"""A pod that does nothing: for tests that look at the number alone."""
KEYS = f"bull:{QUEUE}"


def pythonpath() -> str:
    """Return where the processors of the tests are."""
    return str(Path(__file__).parent)


async def add(story: Story, count: int, *, name: str = "sleep", milliseconds: int = 0, **options: Any) -> list[str]:
    """Add jobs as a producer does."""
    async with Queue(QUEUE, story.settings) as queue:
        jobs = [Job.create(name, {"milliseconds": milliseconds}, **options) for _ in range(count)]
        return [job.id for job in await queue.enqueue_many(jobs)]


def settled(story: Story) -> None:
    """Wait until the QueueWorker was looked at and its Deployment is there with nothing to do."""
    eventually(
        lambda: story.condition("Ready").get("status") == "True" and story.scaling().get("desired") == 0,
        what="settled at zero",
        state=story.status,
    )


def replicas(story: Story) -> int:
    return int(story.deployment()["spec"]["replicas"])


def scaled_to(story: Story, number: int) -> None:
    eventually(lambda: replicas(story) == number, what=f"{number} replicas", state=story.status)


def has_reason(story: Story, reason: str, **inputs: Any) -> dict[str, Any]:
    """Wait for the reason in the status, and for what was read; return the decision record.

    Jobs that are added are not all there at once, so a first record may be of some of them.
    """
    found: dict[str, Any] = eventually(
        lambda: (
            (record := story.scaling()).get("reason") == reason
            and inputs.items() <= record.get("inputs", {}).items()
            and record
        ),
        what=f"{reason} {inputs or ''}",
        state=story.scaling,
    )
    return found


async def holds(statement: Callable[[], Any], *, seconds: float, state: Callable[[], Any]) -> None:
    """Look for so long that it stays true."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert statement(), state()
        await asyncio.sleep(0.2)
