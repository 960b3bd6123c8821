"""`python -m examples.demo`: a burst of killmail jobs, the workers that it calls up, and whether all of it was done."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from examples.demo.show import Outcome

INTERRUPTED = 130
FEWEST_JOBS = 20


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2_800, metavar="N", help="how many jobs (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=80, metavar="S", help="give up after so many seconds (default: %(default)s)"
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="where the workers' logs go (default: a new file)")
    chosen = parser.parse_args()
    if chosen.jobs < FEWEST_JOBS:
        parser.error(f"--jobs {chosen.jobs}: at least {FEWEST_JOBS} are needed for jobs of every kind")
    if chosen.log is None:
        with tempfile.NamedTemporaryFile(prefix="queueworker-demo-", suffix=".log", delete=False) as file:
            chosen.log = Path(file.name)
    return chosen


def demo(chosen: argparse.Namespace) -> int:
    """Run the demo, say what came of it and return the exit code."""
    # What takes longest is loading all of this, and Ctrl-C may come in between.
    from examples.demo.show import run
    from rich.console import Console

    from queueworker.errors import QueueWorkerError

    console = Console()

    async def interruptible() -> Outcome:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, _cancel(asyncio.current_task()))
        return await run(jobs=chosen.jobs, seconds=chosen.seconds, log=chosen.log, console=console)

    try:
        outcome = asyncio.run(interruptible())
    except QueueWorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(*outcome.lines(), sep="\n")
    return exit_code(outcome, chosen.log)


def exit_code(outcome: Outcome, log: Path) -> int:
    """Return 0 if all numbers are right; else say that they are not."""
    if outcome.right:
        return 0
    print(f"error: these numbers are not right; the workers' logs are in {log}", file=sys.stderr)
    return 1


def _cancel(task: asyncio.Task[Outcome] | None) -> Callable[[], None]:
    def cancel() -> None:
        # Once: what follows is the end in good order, and a second signal shall not cut it short.
        if task is not None and not task.cancelling():
            task.cancel()

    return cancel


def main() -> int:
    try:
        return demo(options())
    except (asyncio.CancelledError, KeyboardInterrupt):
        print("interrupted: the workers and both servers have ended", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
