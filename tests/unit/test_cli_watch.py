"""`get -w` and `why -w`: through an outage of the API server, and with their columns below one another."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cli import get
from queueworker_operator.cli.columns import Columns
from queueworker_operator.cli.rows import COLUMNS
from queueworker_operator.cli.watching import readings
from queueworker_operator.cluster.kubernetes.errors import NotFoundError
from queueworker_operator.cluster.port import ClusterError, ClusterUnavailableError, ConflictError

AWAY = ClusterUnavailableError("cannot list the QueueWorkers in post: no answer in 10 s")


def reading(*answers: int | Exception) -> Callable[[], Awaitable[int]]:
    """Return something to read that gives one answer after the other."""
    left: Iterator[int | Exception] = iter(answers)

    async def read() -> int:
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return read


async def test_an_outage_is_told_once_and_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    found = readings(reading(1, AWAY, AWAY, ConflictError("it changed"), 2, 3, AWAY, 4), pause=0)
    assert [await anext(found) for _ in range(4)] == [1, 2, 3, 4]
    again = ["warning: cannot list the QueueWorkers in post: no answer in 10 s; trying again"]
    assert capsys.readouterr().err.splitlines() == 2 * [*again, "the API server answers again"]


async def test_the_first_reading_is_not_tried_again() -> None:
    with pytest.raises(ClusterUnavailableError):
        await anext(readings(reading(AWAY, 1), pause=0))


@pytest.mark.parametrize(
    "refusal", [NotFoundError("mail is gone"), ClusterError("forbidden", reason=ConditionReason.CLUSTER_DENIED)]
)
async def test_what_does_not_pass_by_itself_ends_it(refusal: ClusterError) -> None:
    found = readings(reading(1, AWAY, refusal, 2), pause=0)
    assert await anext(found) == 1
    with pytest.raises(type(refusal)):
        await anext(found)


def document(name: str, *, version: int, backlog: int, reason: str) -> dict[str, Any]:
    scaling = {"desired": 1, "reason": reason, "message": "", "inputs": {"backlog": backlog}}
    return {
        "metadata": {"namespace": "post", "name": name, "uid": name, "resourceVersion": str(version)},
        "spec": {"queues": [{"name": "a-queue-of-some-length"}], "replicas": 1},
        "status": {"replicas": 1, "scaling": scaling},
    }


def starts(line: str) -> list[int]:
    """Return where the columns of a line begin."""
    return [found.start() for found in re.finditer(r"(?:^|(?<=  ))\S", line)]


def test_the_columns_of_lines_that_come_later_stand_below_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    lines = get._Lines(get.Format.TABLE, namespace="post")
    mail = document("mail", version=1, backlog=3, reason="KeepUp")
    lines.show([mail, document("invoices", version=1, backlog=0, reason="ScaledToZero")])
    lines.show([document("mail", version=2, backlog=123456, reason="HoldingMetricsUnknown")])
    lines.show([document("mail", version=2, backlog=123456, reason="HoldingMetricsUnknown")])
    lines.show([mail])
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 5
    assert {tuple(starts(line)) for line in printed} == {tuple(starts(printed[0]))}, printed
    assert len(starts(printed[0])) == len(COLUMNS)


def test_a_value_that_is_wider_moves_the_lines_from_there_on() -> None:
    columns = Columns(("A", "B"), least={})
    assert columns.lines([("x", None)]) == ["A  B", "x  -"]
    assert columns.lines([("日本", 1), ("y", 2)]) == ["日本  1", "y     2"]
    assert columns.lines([("z", "a\x1b[2J\nb")]) == ["z     a b"]
    assert columns.lines([]) == []


@pytest.mark.parametrize(
    ("namespace", "where"), [("post", "in namespace post"), (None, "in any namespace")], ids=["one", "all"]
)
def test_that_there_are_none_is_said_of_a_namespace(
    namespace: str | None, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    get._print([], get.Format.TABLE, single=False, namespace=namespace)
    lines = get._Lines(get.Format.TABLE, namespace=namespace)
    lines.show([])
    lines.show([])
    assert capsys.readouterr() == ("", 2 * f"there are no QueueWorkers {where}\n")
