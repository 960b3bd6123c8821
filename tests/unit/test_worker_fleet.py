"""The supervisor's arithmetic, and its answers for all."""

from __future__ import annotations

from http import HTTPStatus

from hypothesis import given
from hypothesis import strategies as st

from queueworker_worker.settings import ProcessSettings
from queueworker_worker.supervisor import Fleet, Share, shares_of


@given(limit=st.integers(1, 10_000), processes=st.integers(1, 256))
def test_limit_is_divided_and_nothing_gets_lost(limit: int, processes: int) -> None:
    shares = [share for share in shares_of(limit, processes) if share is not None]
    assert sum(shares) == limit
    assert min(shares) >= 1
    assert max(shares) - min(shares) <= 1
    assert len(shares) == min(limit, processes)


def test_without_a_limit_there_is_none() -> None:
    assert shares_of(None, 3) == [None, None, None]


async def test_fleet_is_alive_and_not_ready_while_it_starts() -> None:
    settings = ProcessSettings.of_process({"QUEUEWORKER_NAME": "mail"})
    fleet = Fleet([Share(command=["true"], ends=False)] * 2, settings)
    assert fleet.alive() == (HTTPStatus.OK, "alive")
    status, text = fleet.ready()
    assert status == HTTPStatus.SERVICE_UNAVAILABLE
    assert text == "mail-1: not ready: starting; mail-2: not ready: starting"
