"""`python -m examples.demo`: a burst of killmail jobs, the workers that it calls up, and whether all of it was done."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from examples.demo.show import Outcome, run
from rich.console import Console

from queueworker.errors import QueueWorkerError

INTERRUPTED = 130


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2_800, metavar="N", help="how many jobs (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=85, metavar="S", help="give up after so many seconds (default: %(default)s)"
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="where the workers' logs go (default: a new file)")
    chosen = parser.parse_args()
    if chosen.jobs < 20:
        parser.error(f"--jobs {chosen.jobs}: at least 20 are needed for jobs of every kind")
    if chosen.log is None:
        with tempfile.NamedTemporaryFile(prefix="queueworker-demo-", suffix=".log", delete=False) as file:
            chosen.log = Path(file.name)
    return chosen


async def demo(chosen: argparse.Namespace, console: Console) -> Outcome:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("the demo runs in a task")
    for number in (signal.SIGINT, signal.SIGTERM):
        # Once: what follows is the end, and a second signal shall not cut it short.
        asyncio.get_running_loop().add_signal_handler(number, _cancel_once(task))
    return await run(jobs=chosen.jobs, seconds=chosen.seconds, log=chosen.log, console=console)


def _cancel_once(task: asyncio.Task[Outcome]):  # noqa: ANN202
    return lambda: None if task.cancelling() else task.cancel()


def main() -> int:
    chosen, console = options(), Console()
    try:
        outcome = asyncio.run(demo(chosen, console))
    except (asyncio.CancelledError, KeyboardInterrupt):
        print("interrupted: the workers and both servers have ended", file=sys.stderr)
        return INTERRUPTED
    except QueueWorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for line in outcome.lines():
        console.print(line, highlight=False)
    if not outcome.right:
        print(f"error: these numbers are not right; the workers' logs are in {chosen.log}", file=sys.stderr)
    return 0 if outcome.right else 1


if __name__ == "__main__":
    sys.exit(main())
