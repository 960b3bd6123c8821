"""Where each defect of BullMQ's Python worker (bullmq 3.4) is tested.

A line names the defect and tests of ours that hold against it; those in the modules `test_defects_*` bear its number in
their name, and beside most of them stands one `…_on_stock` that shows the defect on `bullmq` itself. Where there is
none, showing it would take too long or could not be made certain.

D1   deaf after idling             test_defects_waiting
D2   events lost                   test_defects_jobs
D3   rate limits ignored           test_defects_waiting
D4   lock lost while closing  test_worker_giveback::test_lock_is_kept_while_a_job_outlives_it_also_through_the_drain
D4                                 test_worker_process::test_sigterm_finishes_what_runs_and_leaves_the_rest
D5   delayed jobs late             test_defects_waiting
D6   blocking processors  test_worker_probes::test_blocking_processor_in_a_thread_keeps_its_lock_and_the_probes
D7   a cancel ends the worker      test_defects_processors
D7                                 test_worker_failures::test_nothing_that_a_processor_raises_ends_the_worker
D8   handling a failure fails      test_defects_processors
D8                                 test_worker_failures::test_unknown_backoff_type_falls_back_and_is_said
D9   close without Redis hangs     test_defects_redis
D9                                 test_worker_faults::test_idle_worker_drains_at_once_without_redis
D10  dead but alive                test_defects_redis
D10                                test_worker_probes::test_without_redis_it_lives_and_waits_and_ends_at_once
D11  second death fails the job    test_worker_process::test_killed_worker_loses_no_job_not_even_the_third_time
D12  ids with `0:` dropped         test_defects_jobs
D13  failover not followed         test_defects_redis
D14  black hole                    test_defects_redis
D14                                test_worker_faults::test_black_hole_is_left_before_the_locks_end
D15  silent refusal                test_defects_redis
D16  memory full                   test_defects_redis
D17  first stalled check late      test_defects_waiting
D18  retry loses the priority      test_defects_jobs
D19  finished jobs kept for ever   test_defects_jobs
D20  nothing around the worker     test_defects_processors
D20                                test_worker_process::test_second_interrupt_gives_back_at_once
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ENTRIES = re.findall(r"^(D\d+) .*?(test_\w+)(?:::(test_\w+))?$", __doc__ or "", re.MULTILINE)


@pytest.mark.parametrize(("defect", "module", "test"), ENTRIES)
def test_the_index_names_tests_that_are_there(defect: str, module: str, test: str) -> None:
    names = re.findall(r"^(?:async )?def (test_\w+)", (HERE / f"{module}.py").read_text(), re.MULTILINE)
    own = [name for name in names if name.startswith(f"test_{defect.lower()}_") and not name.endswith("_on_stock")]
    assert test in names if test else own, f"{defect}: {module} has no such test"


def test_the_index_has_every_defect() -> None:
    assert {defect for defect, _, _ in ENTRIES} == {f"D{number}" for number in range(1, 21)}
