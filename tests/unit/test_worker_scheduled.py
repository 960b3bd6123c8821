"""Schedulers declared beside their processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from queueworker_worker.errors import ProcessorError
from queueworker_worker.processor import processor
from queueworker_worker.registry import Registry
from queueworker_worker.schedules import Plan, scheduled


def plans(*decorators: Callable[[Any], Any], queue: str = "reports") -> tuple[Plan, ...]:
    async def work() -> None: ...

    function: Any = work
    for decorator in decorators:
        function = decorator(function)
    return Registry.of([function]).plans_of(queue)


def test_scheduler_takes_queue_and_name_from_its_processor() -> None:
    (plan,) = plans(
        processor("reports"),
        scheduled("nightly", cron="0 3 * * *", tz="Europe/Berlin", data={"full": True}, attempts=3),
    )
    assert (plan.id, plan.queue, plan.name, plan.data) == ("nightly", "reports", "nightly", {"full": True})
    assert plan.options == {"cron": "0 3 * * *", "tz": "Europe/Berlin", "attempts": 3}
    assert plan.when() == "0 3 * * * (Europe/Berlin)"
    (named,) = plans(scheduled("often", every=5_000, limit=2), processor("reports", "short"))
    assert (named.name, named.when()) == ("short", "every 5000 ms")
    (other,) = plans(processor("reports"), scheduled("x", every=5, name="other"))
    assert other.name == "other"


def test_several_queues_and_names_need_a_choice() -> None:
    both = processor("reports", "a"), processor("bills", "b"), processor("bills", "c")
    (plan,) = plans(*both, scheduled("x", every=5, queue="reports"))
    assert plan.name == "a"
    (plan,) = plans(*both, scheduled("x", every=5, queue="bills", name="c"), queue="bills")
    assert plan.name == "c"
    with pytest.raises(ProcessorError, match="name one of its queues with queue=: bills, reports"):
        plans(*both, scheduled("x", every=5))
    with pytest.raises(ProcessorError, match="name one of its job names with name=: b, c"):
        plans(*both, scheduled("x", every=5, queue="bills"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "exactly one of cron and every is needed"),
        ({"cron": "0 3 * * *"}, "name a time zone with tz"),
        ({"cron": "0 3 * *", "tz": "UTC"}, "is no cron pattern"),
        ({"every": 0}, "every must be"),
        ({"every": 5, "no_such_option": 1}, "no_such_option"),
        ({"every": 5, "delay": 10}, "job_id and delay are the scheduler's own"),
        ({"every": 5, "priority": 0}, "priority"),
        ({"every": 5, "name": "other"}, "it is no processor for these jobs"),
        ({"every": 5, "queue": "elsewhere"}, "it is no processor of queue 'elsewhere'"),
    ],
)
def test_wrong_schedulers_are_refused_before_the_worker_starts(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ProcessorError, match=message) as refused:
        plans(processor("reports", "short"), scheduled("nightly", **wrong))
    assert "@scheduled('nightly') on " in str(refused.value)
    assert "\n" not in str(refused.value)


def test_scheduler_without_a_processor_or_with_a_taken_id_is_refused() -> None:
    with pytest.raises(ProcessorError, match="put it on a function with @processor"):
        plans(scheduled("x", every=5))
    with pytest.raises(ProcessorError, match="queue 'reports' has two schedulers 'x'"):
        plans(processor("reports"), scheduled("x", every=5), scheduled("x", every=6))
