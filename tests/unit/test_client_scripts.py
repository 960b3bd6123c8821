from __future__ import annotations

import hashlib
import re
import subprocess
import sys

import pytest

from queueworker import scripts
from queueworker.errors import QueueWorkerError

USED = {
    "addStandardJob": 9,
    "addPrioritizedJob": 9,
    "addDelayedJob": 6,
    "addParentJob": 6,
    "addJobScheduler": 11,
    "removeJobScheduler": 3,
    "removeDeduplicationKey": 1,
    "moveToActive": 11,
    "moveToFinished": 14,
    "extendLocks": 1,
    "moveStalledJobsToWait": 9,
    "moveJobFromActiveToWait": 9,
}


@pytest.mark.parametrize(("name", "keys"), USED.items())
def test_the_scripts_we_call_take_the_keys_we_pass(name: str, keys: int) -> None:
    script = scripts.load(name)
    assert script.number_of_keys == keys
    assert max(int(number) for number in re.findall(r"KEYS\[(\d+)\]", script.source)) == keys
    assert script.sha1 == hashlib.sha1(script.source.encode()).hexdigest()


def test_a_script_is_read_once() -> None:
    assert scripts.load("addStandardJob") is scripts.load("addStandardJob")


def test_an_unknown_script_says_what_to_install() -> None:
    with pytest.raises(QueueWorkerError, match=r"no script 'getJob'.*install bullmq"):
        scripts.load("getJob")


def test_the_source_stays_out_of_the_repr() -> None:
    assert len(repr(scripts.load("addStandardJob"))) < 200


def test_loading_a_script_imports_neither_bullmq_nor_redis() -> None:
    code = (
        "import sys; from queueworker import scripts; scripts.load('addStandardJob');"
        "print({'bullmq', 'redis'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
