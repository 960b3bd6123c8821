"""An operator that is down leaves the last status standing: `why`, `get` and `top` notice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from queueworker_operator.cli import get
from queueworker_operator.cli.explanation import explanation_of
from queueworker_operator.cli.explanation_text import as_text
from queueworker_operator.cli.freshness import LATE_MOMENT_SECONDS, LATE_SECONDS, staleness
from queueworker_operator.cli.rows import row_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ASK = "is the operator running, and does it serve this namespace?"


def at(seconds: float) -> str:
    return (NOON + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def document(*, generation: int = 3, observed: int | None = 3, changed: float = -3600, **limit: Any) -> dict[str, Any]:
    scaling = {
        "desired": 5,
        "reason": "StabilizingScaleDown",
        "message": "5 of 0-5 replicas: no job is ready and none is active.",
        "inputs": {"backlog": 0, "active": 0},
        "limits": [{"by": "StabilizingScaleDown", "from": 0, "to": 5, **limit}] if limit else [],
    }
    return {
        "metadata": {
            "namespace": "post",
            "name": "mail",
            "creationTimestamp": at(-7200),
            "generation": generation,
            "managedFields": [
                {"manager": "kubectl", "time": at(changed)},
                {"manager": "operator", "subresource": "status", "time": at(0)},
            ],
        },
        "spec": {
            "queues": [{"name": "mail"}],
            "redis": {"host": "redis"},
            "worker": {"image": "app"},
            "autoscaling": {"minReplicas": 0, "maxReplicas": 3},
        },
        "status": {"observedGeneration": observed, "replicas": 5, "readyReplicas": 5, "scaling": scaling},
    }


def test_what_the_operator_has_seen_is_of_the_present_however_old_it_is():
    assert staleness(document(), now=NOON) is None
    assert staleness(document(observed=None), now=NOON) is None


@pytest.mark.parametrize(("ago", "told"), [(LATE_SECONDS - 1, False), (LATE_SECONDS + 1, True)])
def test_a_status_of_an_older_spec_is_told_once_the_operator_had_time(ago: float, told: bool):
    found = staleness(document(generation=4, changed=-ago), now=NOON)
    assert found == (f"the status is of an older spec, generation 3 of 4: {ASK}" if told else None)


def test_an_older_spec_of_which_nobody_knows_the_time_is_told():
    made = document(generation=4)
    del made["metadata"]["managedFields"]
    assert staleness(made, now=NOON) is not None


@pytest.mark.parametrize(
    ("until", "told"), [(60, False), (-LATE_MOMENT_SECONDS + 1, False), (-LATE_MOMENT_SECONDS - 6, True)]
)
def test_a_moment_of_the_status_that_is_over_is_told(until: float, told: bool):
    found = staleness(document(until=at(until)), now=NOON)
    said = f"the status is outdated, what it waits for was over at 2026-01-01 11:49:54 UTC: {ASK}"
    assert found == (said if told else None)


@pytest.mark.parametrize(("age", "told"), [(10, False), (60, True)])
def test_one_that_no_operator_looks_at_is_told(age: float, told: bool):
    made = document()
    del made["status"]
    made["metadata"]["creationTimestamp"] = at(-age)
    row = row_of(made, now=NOON)
    assert len(row.problems) == told
    text = as_text(explanation_of(made, [], now=NOON))
    assert text.count("the operator has not looked at it yet") == 1, text


def test_one_that_is_being_deleted_waits_for_no_operator():
    made = document(generation=4)
    made["metadata"]["deletionTimestamp"] = at(-300)
    assert staleness(made, now=NOON) is None


def test_why_and_top_put_it_under_what_is_wrong_and_foretell_nothing():
    made = document(generation=4, until=at(90))
    assert row_of(made, now=NOON).problems[0].startswith("the status is of an older spec")
    found = explanation_of(made, [], now=NOON)
    assert found.as_json()["wrong"] == list(row_of(made, now=NOON).problems)
    assert (found.upcoming, found.would_change) == (None, "nothing, until an operator looks at it again")
    fresh = explanation_of(document(until=at(90)), [], now=NOON)
    assert fresh.upcoming is not None
    assert fresh.as_json()["wrong"] == []


def test_get_says_so_on_stderr_of_the_first_and_counts_the_rest(capsys: pytest.CaptureFixture[str]):
    stale = [document(generation=4, until=at(90)) for _ in range(5)]
    get._print([*stale, document()], get.Format.TABLE, single=False, namespace="post")
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 7
    lines = shown.err.splitlines()
    assert [line.split(": ")[1] for line in lines[:-1]] == ["post/mail"] * 3
    assert lines[-1] == "warning: 2 more of which the status is not of the present"


def test_get_tells_it_once_while_it_watches(capsys: pytest.CaptureFixture[str]):
    made = document(generation=4)
    made["metadata"] |= {"uid": "a", "resourceVersion": "1"}
    lines = get._Lines(get.Format.TABLE, namespace="post")
    for _ in range(3):
        lines.show([made])
    assert capsys.readouterr().err.count("an older spec") == 1
