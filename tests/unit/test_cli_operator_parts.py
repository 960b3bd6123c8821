"""What `get` and `top` make of QueueWorkers: pure parts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from queueworker_operator.cli.explanation import explanation_of
from queueworker_operator.cli.explanation_text import as_text
from queueworker_operator.cli.rows import cells, row_of
from queueworker_operator.cli.sparkline import sparkline
from queueworker_operator.cli.top import Board, Order

PIN, PIN_UNTIL = "queueworker.dev/pinned-replicas", "queueworker.dev/pinned-until"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def document(name: str = "mail", *, backlog: int | None = 7, replicas: int = 2, **status: Any) -> dict[str, Any]:
    inputs = {} if backlog is None else {"backlog": backlog, "active": 3, "delayed": 1, "oldestAgeSeconds": 90}
    scaling = {"desired": 4, "reason": "KeepUp", "message": "4 of 0-9 replicas: because.", "inputs": inputs}
    return {
        "metadata": {"namespace": "post", "name": name, "creationTimestamp": "2026-01-01T09:00:00Z"},
        "spec": {"queues": [{"name": "mail"}, {"name": "sms"}], "autoscaling": {"minReplicas": 0, "maxReplicas": 9}},
        "status": {"replicas": replicas, "readyReplicas": 1, "scaling": scaling, **status},
    }


def test_a_line_says_what_the_status_says():
    line = cells(row_of(document(conditions=[{"type": "Ready", "status": "True"}]), now=NOON), now=NOON)
    assert line == ("mail", "mail+1", 2, 1, 7, "90s", "KeepUp", "True", "3h")


def test_a_wide_line_adds_limits_and_times():
    made = document()
    made["status"]["scaling"]["lastScaleTime"] = "2026-01-01T11:55:00Z"
    assert cells(row_of(made, now=NOON), now=NOON, wide=True)[-6:] == (0, 9, 3, 1, None, "5m")


def test_without_a_status_nothing_is_made_up():
    made = document()
    del made["status"]
    row = row_of(made, now=NOON)
    assert (row.replicas, row.backlog, row.reason, row.ready) == (None, None, None, None)
    assert cells(row, now=NOON)[2:8] == (None,) * 6


def test_fixed_replicas_are_both_limits():
    made = document()
    made["spec"] = {"queues": [{"name": "mail"}], "replicas": 5}
    assert (row_of(made, now=NOON).minimum, row_of(made, now=NOON).maximum) == (5, 5)


def test_only_conditions_that_are_wrong_are_problems():
    conditions = [
        {"type": "QueueReachable", "status": "False", "reason": "RedisUnreachable", "message": "no answer"},
        {"type": "Paused", "status": "False", "reason": "NotPaused"},
        {"type": "Ready", "status": "True", "reason": "RolledOut"},
    ]
    assert row_of(document(conditions=conditions), now=NOON).problems == ("QueueReachable: no answer",)


def test_what_two_conditions_say_is_said_once():
    pod = "pod noimage-1: container worker: ErrImagePull; back-off pulling image no/such:1"
    conditions = [
        {"type": "Ready", "status": "False", "message": f"the rollout of the workers is not done; {pod}"},
        {"type": "Stalled", "status": "True", "message": pod},
        {"type": "WorkersAvailable", "status": "False", "message": f"0 of 1 worker ready; {pod}"},
        {"type": "WorkersConsuming", "status": "False", "message": "0 of 1 worker ready"},
    ]
    assert row_of(document(conditions=conditions), now=NOON).problems == (
        f"Ready: the rollout of the workers is not done; {pod}",
        "WorkersAvailable: 0 of 1 worker ready",
    )


def test_that_another_autoscaler_may_write_the_number_unseen_is_a_problem():
    unread = {"type": "ScalingActive", "status": "Unknown", "reason": "NotYetRead", "message": "not yet"}
    assert row_of(document(conditions=[unread]), now=NOON).problems == ()
    blind = {"type": "ScalingActive", "status": "Unknown", "reason": "ClusterDenied", "message": "forbidden"}
    assert row_of(document(conditions=[blind]), now=NOON).problems == ("ScalingActive: forbidden",)


def test_that_another_autoscaler_writes_the_number_is_a_problem_with_its_remedy():
    message = "HorizontalPodAutoscaler mine writes the number of the same target: delete it"
    said = {"type": "ScalingActive", "status": "False", "reason": "ConflictingAutoscaler", "message": message}
    assert row_of(document(conditions=[said]), now=NOON).problems == (f"ScalingActive: {message}",)


@pytest.mark.parametrize(
    ("reason", "target", "written"),
    [("NameConflict", False, False), ("TargetNotFound", True, False), ("WorkersNotReady", False, True)],
)
def test_while_there_is_nothing_of_ours_to_scale_no_number_is_foretold(reason: str, target: bool, written: bool):
    said = {"status": "True", "reason": reason, "message": "why", "lastTransitionTime": "2026-01-01T11:00:00Z"}
    made = document(conditions=[{"type": "Stalled", **said}])
    there = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "mail"}
    made["spec"] |= {"redis": {"host": "redis"}, **({"targetRef": there} if target else {"worker": {"image": "app"}})}
    limit = {"by": "StabilizingScaleDown", "from": 0, "to": 4, "until": "2026-01-01T12:01:00Z"}
    made["status"]["scaling"]["limits"] = [limit]
    found = explanation_of(made, [], now=NOON)
    assert (found.upcoming is not None) is written
    assert (found.would_change == "nothing is written until it is Ready") is not written


@pytest.mark.parametrize(
    ("autoscaling", "annotations", "offered"),
    [
        ({}, {}, {"pause": "annotate"}),
        ({}, {"queueworker.dev/paused": "true"}, {"resume": "annotate"}),
        ({"paused": True}, {}, {"resume": '\'{"spec":{"autoscaling":{"paused":false}}}\''}),
        (
            {"paused": True, "dryRun": True},
            {"queueworker.dev/paused": "yes"},
            {"resume": "paused-", "resume in the spec": "paused", "end the dry run": "dryRun"},
        ),
    ],
)
def test_why_offers_what_makes_it_write_again(
    autoscaling: dict[str, Any], annotations: dict[str, str], offered: dict[str, str]
):
    made = document()
    made["metadata"]["annotations"] = annotations
    made["spec"] |= {"redis": {"host": "redis"}, "worker": {"image": "app"}}
    made["spec"]["autoscaling"] |= autoscaling
    commands = explanation_of(made, [], now=NOON).as_json()["commands"]
    assert list(commands) == [*offered, "pin", "simulate"]
    for verb, part in offered.items():
        assert part in commands[verb]


@pytest.mark.parametrize("fixed", [True, False])
def test_an_annotation_that_cannot_be_read_is_a_problem_that_ends_with_unpin(fixed: bool):
    made = document()
    made["metadata"]["annotations"] = {PIN: "abc", PIN_UNTIL: "2026-01-01T13:00:00Z"}
    made["spec"] |= {"redis": {"host": "redis"}, "worker": {"image": "app"}}
    if fixed:
        del made["spec"]["autoscaling"]
        made["spec"]["replicas"] = 2
    problem = f"annotation {PIN} is no number of replicas from 0 to 10000: set such a one"
    assert row_of(made, now=NOON).problems == (problem,)
    found = explanation_of(made, [], now=NOON)
    assert found.as_json()["wrong"] == [problem]
    assert f"WRONG\n  {problem}" in as_text(found)
    assert dict(found.commands)["unpin"] == f"kubectl annotate qw mail -n post --overwrite {PIN}- {PIN_UNTIL}-"
    board = Board(order=Order.NAME, everywhere=False)
    board.take([row_of(made, now=NOON)])
    assert board.cells()[0][-1] == problem


def test_of_a_spec_that_cannot_be_carried_out_nothing_is_offered_but_to_edit_it():
    made = document()
    made["spec"] |= {"redis": {"host": "redis"}, "worker": {"image": "app"}}
    made["spec"]["autoscaling"]["schedules"] = [
        {"cron": "99 8 * * 1-5", "timeZone": "Europe/Berlin", "durationSeconds": 60, "minReplicas": 5}
    ]
    assert explanation_of(made, [], now=NOON).commands == (("edit", "kubectl edit qw mail -n post"),)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], "    "),
        ([0, 0], "  ▁▁"),
        ([1, 2, 4, 8, 0], "▃▅█▁"),
        ([None, 3], "  ·█"),
        ([0.001, 1000], "  ▂█"),
    ],
)
def test_a_sparkline_ends_with_the_newest_value(values: list[float | None], line: str):
    assert sparkline(values, width=4) == line


def test_the_board_keeps_the_course_of_each_and_forgets_what_is_gone():
    board = Board(order=Order.BACKLOG, everywhere=True)
    for step in range(30):
        board.take([row_of(document("mail", backlog=step), now=NOON), row_of(document("sms", backlog=None), now=NOON)])
    mail, sms = board.cells()
    assert mail[:4] == ("post", "mail", "mail+1", "1/2→4 of 0-9")
    assert mail[6].endswith("█")
    assert len(mail[6]) == 20
    assert (sms[5], sms[6], sms[7], sms[8]) == ("?", "·" * 20, "3" if sms[7] == "3" else "?", "?")
    board.take([row_of(document("sms"), now=NOON)])
    assert [line[1] for line in board.cells()] == ["sms"]


@pytest.mark.parametrize(
    ("order", "first"), [(Order.BACKLOG, "b"), (Order.NAME, "a"), (Order.REPLICAS, "a"), (Order.OLDEST, "a")]
)
def test_the_board_is_ordered(order: Order, first: str):
    board = Board(order=order, everywhere=False)
    board.take(
        [row_of(document("b", backlog=9, replicas=1), now=NOON), row_of(document("a", backlog=1, replicas=5), now=NOON)]
    )
    assert board.cells()[0][0] == first


def test_what_is_wrong_comes_before_why_and_nothing_moves_the_terminal():
    made = document(conditions=[{"type": "QueueReachable", "status": "False", "message": "no \x1b[2J answer"}])
    board = Board(order=Order.NAME, everywhere=False)
    board.take([row_of(made, now=NOON)])
    assert board.cells()[0][-1] == "QueueReachable: no answer"


def test_times_never_run_backwards():
    late = NOON - timedelta(hours=5)
    assert cells(row_of(document(), now=NOON), now=late)[-1] == "0ms"


def test_a_pod_that_has_ended_and_goes_is_counted_once():
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    going = {"name": "w", "deletionTimestamp": "2026-01-01T12:00:00Z"}
    pods = [
        {"metadata": {"name": "a"}, "status": ready},
        {"metadata": {"name": "b"}, "status": {"phase": "Pending"}},
        {"metadata": going, "status": {"phase": "Running", **ready}},
        {"metadata": going, "status": {"phase": "Failed"}},
        {"metadata": {"name": "c"}, "status": {"phase": "Failed"}},
    ]
    found = explanation_of(document(), pods, now=NOON).as_json()
    assert found["pods"] == {"ready": 1, "starting": 1, "draining": 1}
