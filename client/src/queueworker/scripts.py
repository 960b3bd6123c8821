"""The Lua scripts that hold all of BullMQ's queue logic, read from the files that the bullmq package ships."""

import hashlib
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from queueworker.errors import QueueWorkerError


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua script: its text, the SHA-1 that EVALSHA wants, and how many KEYS it declares."""

    name: str
    source: str = field(repr=False)
    sha1: str
    number_of_keys: int


def script_of(name: str, source: str, *, number_of_keys: int) -> Script:
    """Return the script of a Lua text."""
    # SHA-1 is the name that Redis gives a script, not a protection.
    sha1 = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(name, source, sha1, number_of_keys)


@cache
def load(name: str) -> Script:
    """Return a script of BullMQ by its name, `moveToActive` for example; raises QueueWorkerError if there is none.

    BullMQ names the files `<name>-<number of keys>.lua`.
    """
    found = sorted(_commands_directory().glob(f"{name}-*.lua"))
    if len(found) != 1:
        raise QueueWorkerError(f"the installed bullmq package has no script {name!r}: install bullmq>=3.4,<3.5")
    path = found[0]
    return script_of(name, path.read_text(encoding="utf-8"), number_of_keys=int(path.stem.rpartition("-")[2]))


@cache
def _commands_directory() -> Path:
    # The package is found, not imported: importing bullmq costs a quarter of a second and redis.
    spec = find_spec("bullmq")
    if spec is None or not spec.submodule_search_locations:
        raise QueueWorkerError(
            "the bullmq package is not installed: it holds the Lua scripts; install bullmq>=3.4,<3.5"
        )
    return Path(spec.submodule_search_locations[0]) / "commands"
