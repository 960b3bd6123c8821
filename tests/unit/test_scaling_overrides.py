"""Annotations that override the decision, and the minimums that go by the calendar."""

from datetime import UTC, datetime
from typing import Any

import pytest
from scaling_world import CONFIRMED, NOON, queue, seen, spec, unreadable

from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.cluster.resource import resource_of
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.overrides import Overrides, overrides_of
from queueworker_operator.scaling.schedules import faults, in_force

PINNED, UNTIL = "queueworker.dev/pinned-replicas", "queueworker.dev/pinned-until"


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({}, Overrides()),
        ({"queueworker.dev/paused": ""}, Overrides(paused=True)),
        ({"queueworker.dev/paused": "False"}, Overrides()),
        ({PINNED: "7"}, Overrides(pinned_replicas=7)),
        ({PINNED: " 0 "}, Overrides(pinned_replicas=0)),
        ({PINNED: "3", UNTIL: "2026-01-01T12:00:10Z"}, Overrides(pinned_replicas=3, pinned_until=NOON + 10)),
        ({PINNED: "3", UNTIL: "2026-01-01t13:00:10.5+01:00"}, Overrides(pinned_replicas=3, pinned_until=NOON + 10.5)),
    ],
)
def test_annotations_are_read(annotations: dict[str, str], expected: Overrides):
    assert overrides_of(annotations) == expected


@pytest.mark.parametrize(
    ("annotations", "named"),
    [
        ({PINNED: "many"}, PINNED),
        ({PINNED: "-1"}, PINNED),
        ({PINNED: "10001"}, PINNED),
        ({PINNED: "٣"}, PINNED),
        ({PINNED: "3", UNTIL: "tomorrow"}, UNTIL),
        ({PINNED: "3", UNTIL: "2026-01-01"}, UNTIL),
        ({PINNED: "3", UNTIL: "2026-01-01T12:00:10"}, UNTIL),
        ({PINNED: "3", UNTIL: "2026-02-31T12:00:10Z"}, UNTIL),
        ({UNTIL: "2026-01-01T12:00:10Z"}, UNTIL),
    ],
)
def test_what_cannot_be_read_is_told_and_pins_nothing(annotations: dict[str, str], named: str):
    overrides = overrides_of(annotations)
    assert overrides.pinned_replicas is None
    assert overrides.problem is not None
    assert named in overrides.problem
    decision = decide(seen(queue(), replicas=2), spec(), CONFIRMED, NOON, overrides=overrides)
    assert [problem.message for problem in decision.warnings] == [overrides.problem]


@pytest.mark.parametrize("wish", [spec(max_replicas=5), spec(replicas=4)])
@pytest.mark.parametrize("read", [queue(waiting=900), queue(active=90), unreadable()])
def test_a_pin_beats_all_until_it_ends(wish: Any, read: Any):
    pin = Overrides(pinned_replicas=9, pinned_until=NOON + 60)
    held = decide(seen(read, replicas=3), wish, CONFIRMED, NOON, overrides=pin)
    assert (held.desired, held.reason, held.write) == (9, Reason.PINNED, True)
    assert held.recheck_at is not None
    assert held.recheck_at <= NOON + 60
    assert decide(seen(read, replicas=3), wish, CONFIRMED, NOON + 60, overrides=pin).desired <= 5
    none = decide(seen(read, replicas=3), wish, CONFIRMED, NOON, overrides=Overrides(pinned_replicas=0))
    assert (none.desired, none.reason) == (0, Reason.PINNED)


def test_paused_beats_a_pin():
    both = Overrides(paused=True, pinned_replicas=9)
    decision = decide(seen(queue(), replicas=3), spec(), CONFIRMED, NOON, overrides=both)
    assert (decision.desired, decision.write, decision.reason) == (9, False, Reason.PAUSED_BY_USER)


def office(**more: Any) -> dict[str, Any]:
    return {"cron": "0 8 * * 1-5", "time_zone": "Europe/Berlin", "duration_seconds": 36_000, "min_replicas": 5, **more}


@pytest.mark.parametrize(
    ("moment", "replicas", "until"),
    [
        ((2026, 1, 1, 6, 59, 59), 0, (2026, 1, 1, 7)),
        ((2026, 1, 1, 7), 5, (2026, 1, 1, 17)),
        ((2026, 1, 1, 16, 59, 59), 5, (2026, 1, 1, 17)),
        ((2026, 1, 1, 17), 0, (2026, 1, 2, 7)),
        ((2026, 1, 3, 12), 0, (2026, 1, 5, 7)),
        ((2026, 7, 1, 6), 5, (2026, 7, 1, 16)),
    ],
)
def test_the_minimum_of_office_hours_in_berlin(moment: tuple[int, ...], replicas: int, until: tuple[int, ...]):
    autoscaling = spec(schedules=[office()]).autoscaling
    assert autoscaling is not None
    at, ends = (datetime(*parts, tzinfo=UTC).timestamp() for parts in (moment, until))  # type: ignore[arg-type,misc]
    for _ in range(2):
        minimum = in_force(autoscaling, at)
        assert (minimum.replicas, minimum.until) == (replicas, ends)


def test_of_several_schedules_the_highest_counts_also_below_the_minimum():
    low, high = office(min_replicas=1), office(cron="30 12 * * *", duration_seconds=3600, min_replicas=7)
    autoscaling = spec(schedules=[low, high], min_replicas=3).autoscaling
    assert autoscaling is not None
    assert [in_force(autoscaling, NOON + s).replicas for s in (-3600, 0, 1800)] == [1, 7, 1]


def test_a_schedule_raises_the_number_and_the_next_edge_is_looked_at():
    wish = spec(schedules=[office()], max_replicas=20)
    decision = decide(seen(queue(), replicas=1), wish, CONFIRMED, NOON)
    edge = datetime(2026, 1, 1, 17, tzinfo=UTC).timestamp()
    assert (decision.desired, decision.reason, decision.recheck_at) == (5, Reason.SCHEDULED, edge)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"time_zone": "Mars/Olympus"}, "spec.autoscaling.schedules[0].timeZone"),
        ({"time_zone": "Europe"}, "spec.autoscaling.schedules[0].timeZone"),
        ({"cron": "99 8 * * *"}, "spec.autoscaling.schedules[0].cron"),
        ({"cron": "0 0 31 2 *"}, "spec.autoscaling.schedules[0].cron"),
    ],
)
def test_a_schedule_that_never_comes_is_refused_and_stops_nothing(wrong: dict[str, Any], field: str):
    wish = spec(schedules=[office(**wrong)])
    assert wish.autoscaling is not None
    [fault] = faults(wish.autoscaling)
    assert fault.startswith(f"{field}: ")
    assert in_force(wish.autoscaling, NOON).replicas == 0
    document = {
        "metadata": {"name": "mail", "namespace": "default", "uid": "1"},
        "spec": wish.model_dump(by_alias=True, exclude_none=True, mode="json"),
    }
    assert resource_of(document).spec_error == fault
