from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueworker.errors import InvalidJobError
from queueworker.flowjobs import FlowJob, Transaction, place
from queueworker.keys import QueueKeys
from queueworker.scripts import load

PARENT = {"id": "p", "queue": "bull:q"}


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: FlowJob("n", "a:b"), "queue name"),
        (lambda: FlowJob("n", ""), "queue name"),
        (lambda: FlowJob("", "q"), "job name"),
        (lambda: FlowJob("n", "q", attempts=0), "attempts"),
        (lambda: FlowJob("n", "q", float("nan")), "JSON"),
        (lambda: FlowJob("n", "q", children=[FlowJob("c", "q", parent=PARENT)]), "parent is only for the root"),
        (lambda: FlowJob("n", "q", children=[FlowJob("c", "q", deduplication={"id": "d"})]), "used for a child"),
        (lambda: FlowJob("n", "q", deduplication={"id": "d"}, children=[FlowJob("c", "q")]), "with children"),
        (lambda: FlowJob("n", "q", children=[FlowJob("c", "q", job_id="a:b:c")]), "must not contain ':'"),
        (lambda: FlowJob("n", "q", job_id="a:b:c", children=[FlowJob("c", "q")]), "must not contain ':'"),
    ],
)
def test_what_cannot_be_is_named(build: Any, match: str) -> None:
    with pytest.raises(InvalidJobError, match=match):
        build()


def test_an_id_stands_once_in_a_queue() -> None:
    twice = FlowJob("n", "q", children=[FlowJob("c", "a", job_id="x"), FlowJob("c", "a", job_id="x")])
    with pytest.raises(InvalidJobError, match="job x stands twice in it, in queue a"):
        place(twice, prefix="bull")
    shared = FlowJob("c", "a")
    with pytest.raises(InvalidJobError, match="stands twice"):
        place(FlowJob("n", "q", children=[shared, shared]), prefix="bull")
    place(FlowJob("n", "q", children=[FlowJob("c", "a", job_id="x"), FlowJob("c", "b", job_id="x")]), prefix="bull")


def test_an_option_about_a_parent_needs_one() -> None:
    placed = place(FlowJob("n", "q", fpof=True, children=[FlowJob("c", "q")]), prefix="bull")
    with pytest.raises(InvalidJobError, match="failParentOnFailure: needs a parent"):
        Transaction.of(placed, timestamp_ms=1)
    placed = place(FlowJob("n", "q", children=[FlowJob("c", "q", fpof=True)]), prefix="bull")
    Transaction.of(placed, timestamp_ms=1)


def test_a_flow_is_placed_parents_first_in_the_order_of_the_tree() -> None:
    flow = FlowJob(
        "1", "q", children=[FlowJob("2", "q", children=[FlowJob("3", "q"), FlowJob("4", "q")]), FlowJob("5", "q")]
    )
    placed = place(flow, prefix="bull")
    assert [one.job.name for one in placed] == ["1", "2", "3", "4", "5"]
    parents = [one.job.options.parent for one in placed]
    assert parents[0] is None
    assert [parent.key for parent in parents[1:] if parent] == [placed[i].key for i in (0, 1, 1, 0)]


def test_the_commands_know_their_scripts_and_their_parent() -> None:
    flow = FlowJob("p", "q", children=[FlowJob("c", "r", cpof=True), FlowJob("c", "r")])
    placed = place(flow, prefix="bull")
    transaction = Transaction.of(placed, timestamp_ms=9)
    commands = [command for command in transaction.commands if command[0] != "EXISTS"]
    assert [command[0] for command in commands] == ["EVAL", "EVAL", "EVALSHA"]
    assert [transaction.commands[i][0] for i in transaction.probes] == ["EXISTS"] * 3
    assert commands[0][1] == load("addParentJob").source
    assert commands[2][1] == load("addPrioritizedJob").sha1
    head = msgpack.unpackb(commands[1][-3])
    parent = {"id": flow.job.id, "queueKey": "bull:q", "cpof": True}
    assert head[4:] == [placed[0].key, f"{placed[0].key}:dependencies", parent, None, None]
    options = msgpack.unpackb(commands[1][-1])
    assert (options["parent"], options["cpof"]) == ({"id": flow.job.id, "queue": "bull:q"}, True)


def test_a_parent_is_held_while_children_that_may_have_completed_are_added() -> None:
    def words(flow: FlowJob) -> list[Any]:
        return [c[0] for c in Transaction.of(place(flow, prefix="bull"), timestamp_ms=1).commands if c[0] != "EXISTS"]

    new, known = FlowJob("c", "q"), FlowJob("c", "q", job_id="a")
    assert words(FlowJob("p", "q", children=[known])) == ["EVAL", "EVAL"]
    assert words(FlowJob("p", "q", children=[new, known])) == ["EVAL", "SADD", "EVAL", "EVALSHA", "SREM"]
    both = [known, FlowJob("c", "q", job_id="b")]
    assert words(FlowJob("p", "q", children=both)) == ["EVAL", "SADD", "EVAL", "EVALSHA", "SREM", "EVALSHA"]


trees = st.recursive(st.just([]), lambda inner: st.lists(inner, min_size=1, max_size=4), max_leaves=30)


@given(trees)
def test_every_job_is_added_once_and_after_its_parent(tree: list[Any]) -> None:
    def build(children: list[Any]) -> FlowJob:
        return FlowJob("n", "q", children=[build(child) for child in children])

    placed = place(build(tree), prefix="bull")
    keys = [one.key for one in placed]
    assert len(keys) == len(set(keys))
    for i, one in enumerate(placed):
        assert one.keys == QueueKeys("bull", "q")
        parent = one.job.options.parent
        assert (parent is None) == (i == 0)
        assert parent is None or parent.key in keys[:i]
