"""`Queue` is put together from parts that share one namespace."""

from __future__ import annotations

import inspect
from collections import defaultdict

import pytest

import queueworker
from queueworker import Queue


def test_no_two_parts_of_a_queue_define_the_same_name() -> None:
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for part in Queue.__mro__[:-1]:
        for name in vars(part):
            if not (name.startswith("__") and name.endswith("__")):
                homes[name].append(part.__name__)
    # The getters close their streams before the connection.
    assert {name: parts for name, parts in homes.items() if len(parts) > 1} == {"aclose": ["QueueGetters", "QueueBase"]}


def test_a_queue_tells_its_parameters_and_refuses_others() -> None:
    assert list(inspect.signature(Queue).parameters)[:3] == ["name", "connection", "prefix"]
    with pytest.raises(TypeError, match="prefxi"):
        Queue("q", prefxi="bull")  # type: ignore[call-arg]


def test_every_name_that_is_exported_is_there() -> None:
    for name in queueworker.__all__:
        assert getattr(queueworker, name) is not None
    assert set(queueworker.__all__) == set(queueworker._HOMES)
