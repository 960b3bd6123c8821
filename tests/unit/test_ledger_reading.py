"""What the ledger tests take for lost, for twice, and for excused."""

from __future__ import annotations

from pathlib import Path

from ledgerfile import Fault, Run, Writer, read_runs, runs_in, wrongs

ONCE = Run("a", 0, "one", 1.0, 2.0)
AGAIN = Run("a", 0, "two", 5.0, 6.0)


def test_each_attempt_once_is_right() -> None:
    assert wrongs({"a": 1}, [ONCE, Run("a", 1, "one", 3.0, 4.0)]) == []


def test_what_never_ended_is_lost() -> None:
    assert len(wrongs({"a": 0}, [])) == 1
    assert len(wrongs({"a": 0}, [Run("a", 0, "one", 1.0, None)])) == 1
    assert len(wrongs({"a": 1}, [ONCE])) == 1


def test_a_second_run_needs_a_fault_that_hit_the_first() -> None:
    def found(*faults: Fault) -> list[str]:
        return wrongs({"a": 0}, [ONCE, AGAIN], faults, recording_seconds=0.5)

    assert len(found()) == 1
    assert found(Fault("kill", 1.5, 1.6)) == []
    assert found(Fault("kill", 2.4, 2.5)) == [], "ended, but not yet recorded"
    assert len(found(Fault("kill", 2.6, 2.7))) == 1
    assert len(found(Fault("kill", 0.5, 0.9))) == 1
    assert len(found(Fault("kill", 1.5, 1.6, frozenset({"two"})))) == 1
    assert len(found(Fault("cut", 1.5, 1.6, excuses=False))) == 1
    assert found(Fault("frozen", 0.5, 4.9, frozenset({"two"}), holds_up=True)) == []
    assert len(found(Fault("frozen", 0.5, 4.4, frozenset({"two"}), holds_up=True))) == 1


def test_an_attempt_that_was_not_wanted_is_told() -> None:
    assert len(wrongs({"a": 0}, [ONCE, Run("a", 1, "one", 3.0, 4.0)])) == 1


def test_files_are_read_back(tmp_path: Path) -> None:
    first, second = Writer(tmp_path / "one"), Writer(tmp_path / "two")
    first.write("start", "orders-00001", 0)
    second.write("start", "orders-00001", 0)
    second.write("end", "orders-00001", 0)
    second.write("start", "orders-00001", 0)
    second.write("start", "orders-00001", 0)
    for writer in (first, second):
        writer.close()
    runs = read_runs(tmp_path)
    assert [(run.worker, run.end is None) for run in runs] == [
        ("one", True),
        ("two", False),
        ("two", True),
        ("two", True),
    ]
    assert 1 <= runs_in(tmp_path) <= 3
