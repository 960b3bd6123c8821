"""Processes that tests have started, seen from outside."""

import psutil


def has_ended(process: int | psutil.Process) -> bool:
    """Whether the process, or the one with this id, is gone, or waits only for its parent to take note of its end."""
    try:
        found = psutil.Process(process) if isinstance(process, int) else process
        return found.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
