from __future__ import annotations

from typing import Any

import pytest
from snapshots import empty_but_for

from queueworker import ConnectionSettings
from queueworker.doctor import access, server
from queueworker.doctor.diagnosis import literal
from queueworker.doctor.findings import Finding, Status, error, ok, unknown, warning, worst
from queueworker.doctor.queues import Look, judge
from queueworker.keys import QueueKeys
from queueworker.schedules import ScheduleInfo
from queueworker.settings import TlsSettings
from queueworker.snapshot import QueueSnapshot

NOW = 1_800_000_000_000


def snapshot(**values: Any) -> QueueSnapshot:
    return empty_but_for(**{"now_ms": NOW, **values})


def look(*, live: int = 0, locked: int = 0, failed: tuple[str, ...] = (), **values: Any) -> Look:
    schedules, missing = values.pop("schedules", ()), values.pop("missing", ())
    return Look(
        snapshot=snapshot(**values),
        live_workers=live,
        locked=locked,
        newest_failed=failed,
        schedules=schedules,
        without_next_job=missing,
    )


def told(found: Look) -> dict[str, Status]:
    return {one.check: one.status for one in judge(found)}


@pytest.mark.parametrize(
    ("info", "status"),
    [
        ({"redis_version": "6.2.0"}, "ok"),
        ({"redis_version": "6.0.16"}, "error"),
        ({"redis_version": "5.0.7"}, "error"),
        ({"redis_version": "7.2.4", "valkey_version": "9.0.0"}, "ok"),
        ({"redis_version": "10.0.0"}, "ok"),
        ({"redis_version": "unstable"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_version(info: dict[str, Any], status: str) -> None:
    assert server.version(info).status == status


@pytest.mark.parametrize(
    ("info", "status"),
    [
        ({"maxmemory_policy": "noeviction", "maxmemory": 0}, "ok"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 1000}, "error"),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 0}, "warning"),
        ({}, "unknown"),
    ],
)
def test_the_eviction_policy(info: dict[str, Any], status: str) -> None:
    assert server.eviction(info).status == status


@pytest.mark.parametrize(
    ("info", "status"),
    [
        ({"used_memory": 50, "maxmemory": 100}, "ok"),
        ({"used_memory": 80, "maxmemory": 100}, "warning"),
        ({"used_memory": 95, "maxmemory": 100}, "error"),
        ({"used_memory": 50, "maxmemory": 0, "total_system_memory": 1000}, "ok"),
        ({"used_memory": 50, "maxmemory": 0}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_room_in_memory(info: dict[str, Any], status: str) -> None:
    assert server.memory(info).status == status


@pytest.mark.parametrize(
    ("info", "status"),
    [
        ({"aof_enabled": 1, "aof_last_write_status": "ok"}, "ok"),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, "error"),
        ({"aof_enabled": 0}, "warning"),
        ({}, "unknown"),
    ],
)
def test_persistence(info: dict[str, Any], status: str) -> None:
    assert server.persistence(info).status == status


def test_the_role_and_the_clock() -> None:
    assert server.role(["master", 0, []]).status == "ok"
    assert server.role(["slave", "host", 6379]).status == "error"
    assert server.clock(NOW, NOW + 20).status == "ok"
    assert server.clock(NOW, NOW + 2000).status == "warning"
    assert "2.0 s behind" in server.clock(NOW, NOW + 2000).message
    assert "40.0 s ahead" in server.clock(NOW + 40_000, NOW).message
    assert server.clock(NOW + 40_000, NOW).status == "error"


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        (ConnectionSettings(host="127.0.0.1"), "ok"),
        (ConnectionSettings(host="localhost"), "ok"),
        (ConnectionSettings(host="redis.example"), "warning"),
        (ConnectionSettings(host="redis.example", tls=TlsSettings()), "ok"),
        (ConnectionSettings(host="redis.example", tls=TlsSettings(insecure_skip_verify=True)), "warning"),
    ],
)
def test_tls(settings: ConnectionSettings, status: str) -> None:
    assert server.tls(settings).status == status


@pytest.mark.parametrize("role", access.ROLES)
def test_every_command_of_the_scripts_can_be_tried(role: str) -> None:
    """A new BullMQ may use new commands: then this fails, not the doctor."""
    needed = access.commands_needed(role)
    assert role == "operator" or {"EVALSHA", "HGET", "ZADD", "XADD", "INCR"} <= set(needed)
    for command in needed:
        assert access.dry_run("u", command, QueueKeys("bull", "q"))[:3] == ("ACL", "DRYRUN", "u")


def test_workers() -> None:
    assert told(look(waiting=5, live=1)) == {"workers": Status.OK}
    assert told(look()) == {"workers": Status.OK}
    assert told(look(waiting=5)) == {"workers": Status.WARNING}
    assert told(look(active=5, locked=2)) == {"workers": Status.OK}, "workers of another make hold the locks"
    assert told(look(waiting=5, paused=True, live=1)) == {"workers": Status.WARNING}
    (orphans,) = judge(look(active=5))
    assert "their worker is gone" in orphans.message
    assert told(look(exists=False)) == {"queue": Status.WARNING}


def test_what_starves_or_blocks() -> None:
    assert told(look(live=1, waiting=3, prioritized=2))["priorities"] is Status.WARNING
    assert "priorities" not in told(look(live=1, waiting=3))
    assert told(look(legacy_paused=4))["legacy paused"] is Status.WARNING
    assert told(look(failed=("17", "a" * 32, "character-1")))["failed ids"] is Status.WARNING
    assert "failed ids" not in told(look(failed=("17", "a" * 32, "repeat:nightly:1800000000000")))


def test_schedulers() -> None:
    def status(one: ScheduleInfo, *, missing: bool = False) -> Status | None:
        return told(look(schedules=(one,), missing=("s",) if missing else ())).get("scheduler")

    assert status(ScheduleInfo(id="s", next_run_ms=NOW + 1000)) is None
    assert status(ScheduleInfo(id="s", next_run_ms=NOW - 5000)) is None
    assert status(ScheduleInfo(id="s", next_run_ms=NOW - 120_000)) is Status.WARNING
    assert status(ScheduleInfo(id="s", next_run_ms=NOW + 1000), missing=True) is Status.ERROR
    assert status(ScheduleInfo(id="s", next_run_ms=NOW - 120_000, limit=3, iterations=3), missing=True) is None, (
        "it has ended"
    )
    assert status(ScheduleInfo(id="s", next_run_ms=NOW - 120_000, end_ms=NOW - 1), missing=True) is None


def test_the_worst_counts() -> None:
    fine, hidden, bad, worse = ok("a", ""), unknown("b", "", ""), warning("c", "", ""), error("d", "", "")
    assert worst([]) is Status.OK
    assert worst([fine, hidden]) is Status.UNKNOWN
    assert worst([bad, hidden, fine]) is Status.WARNING
    assert worst([bad, worse, hidden]) is Status.ERROR
    assert isinstance(fine, Finding)


def test_a_prefix_is_no_pattern() -> None:
    assert literal("{bull}*[a]?") == "{bull}\\*\\[a\\]\\?"
