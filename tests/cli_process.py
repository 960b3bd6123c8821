"""The command line as a process, with and without a terminal."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

from queueworker import ConnectionSettings

PROGRAM = Path(sys.executable).parent / "queueworker"


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if "REDIS" not in name}


def run_cli(
    settings: ConnectionSettings | None, *arguments: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command without a terminal; Redis is the one of `settings`."""
    place = {} if settings is None else {"REDIS_HOST": settings.host or "", "REDIS_PORT": str(settings.port)}
    return subprocess.run(
        [PROGRAM, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env={**clean_environment(), **place, **environment},
        timeout=60,
        check=False,
    )


def run_here(
    settings: ConnectionSettings | None, *arguments: str, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, where what matters is what it does and prints; it sees no terminal."""
    from queueworker.cli import app

    place = {} if settings is None else {"REDIS_HOST": settings.host or "", "REDIS_PORT": str(settings.port)}
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.dict(os.environ, {**clean_environment(), **place, **environment}, clear=True),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()))),
    ):
        code = app.run(["queueworker", *arguments])
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


class OnTerminal:
    """A command whose stdin and stderr are a terminal, and whose stdout is a pipe."""

    def __init__(self, settings: ConnectionSettings, *arguments: str) -> None:
        place = {"REDIS_HOST": settings.host or "", "REDIS_PORT": str(settings.port)}
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [PROGRAM, *arguments],
            stdin=slave,
            stderr=slave,
            stdout=subprocess.PIPE,
            text=True,
            env={**clean_environment(), **place},
            start_new_session=True,
        )
        os.close(slave)
        self.seen = ""

    def wait_for(self, text: str, *, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} did not come in {seconds} s, but: {self.seen!r}"
            if select.select([self._master], [], [], left)[0]:
                self.seen += self._read()

    def type(self, line: str) -> None:
        os.write(self._master, line.encode() + b"\n")

    def interrupt(self, *, seconds: float = 30) -> None:
        """Press Ctrl-C until it ends: one that comes in the moment before Python reads is heeded after the read."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"not ended by Ctrl-C in {seconds} s: {self.seen!r}"
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=2)

    def end(self) -> tuple[int, str]:
        """Wait for the end and return exit code and stdout; `seen` then holds all of the terminal."""
        assert self.process.stdout is not None
        with self.process.stdout as pipe:
            out = pipe.read()
        code = self.process.wait(timeout=30)
        while select.select([self._master], [], [], 0.2)[0]:
            chunk = self._read()
            if not chunk:
                break
            self.seen += chunk
        os.close(self._master)
        return code, out

    def _read(self) -> str:
        try:
            return os.read(self._master, 65536).decode()
        except OSError:
            return ""
