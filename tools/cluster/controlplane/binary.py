"""Build a Go program once per content of its sources, and keep it outside the checkout."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from controlplane.errors import ClusterError
from controlplane.toolchain import MINIMUM, cache_directory, find_go

MODULE = Path(__file__).resolve().parents[1]
KUBERNETES_VERSION = "v1.35.4"
_VERSION_PACKAGE = "k8s.io/component-base/version"
_MAJOR, _MINOR = KUBERNETES_VERSION.removeprefix("v").split(".")[:2]
FLAGS = (
    "-trimpath",
    "-buildvcs=false",
    "-ldflags",
    f"-s -w -X {_VERSION_PACKAGE}.gitVersion={KUBERNETES_VERSION}"
    f" -X {_VERSION_PACKAGE}.gitMajor={_MAJOR} -X {_VERSION_PACKAGE}.gitMinor={_MINOR}",
)
REPORT_EVERY_SECONDS = 15.0

Say = Callable[[str], None]


def say_on_stderr(message: str) -> None:
    """Print one line of progress."""
    print(f"cluster: {message}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A main package of a Go module in this repository, or of a module that it locks."""

    name: str
    module: Path
    package: str = "."
    flags: tuple[str, ...] = ("-trimpath", "-buildvcs=false", "-ldflags", "-s -w")
    minimum_go: tuple[int, int] = MINIMUM
    title: str
    """What is built, for who waits."""

    def path(self) -> Path:
        """Return where the binary of the present sources stands or will stand."""
        digest = hashlib.sha256(" ".join(self.flags).encode())
        for path in sorted([self.module / "go.mod", self.module / "go.sum", *self.module.glob("*.go")]):
            content = path.read_bytes()
            digest.update(f"\0{path.name}\0{len(content)}\0".encode() + content)
        return cache_directory() / digest.hexdigest()[:16] / self.name


def build(say: Say = say_on_stderr) -> Path:
    """Return the control plane's binary, building it first if the cache has none: minutes with cold Go caches."""
    title = f"Kubernetes {KUBERNETES_VERSION}; the first time this takes 5 to 8 minutes on 2 cores"
    return build_program(Program(name="cluster", module=MODULE, flags=FLAGS, title=title), say)


def build_program(program: Program, say: Say = say_on_stderr) -> Path:
    """Return a program's binary, building it first if the cache has none; raises ClusterError."""
    binary = program.path()
    if binary.exists():
        return binary
    with _locked(binary.parent.with_suffix(".lock"), say):
        if not binary.exists():
            _build(program, binary, say)
    return binary


@contextmanager
def _locked(path: Path, say: Say) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is building; waiting for it ({path})")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(program: Program, binary: Path, say: Say) -> None:
    go = find_go(say, minimum=program.minimum_go)
    say(f"building {program.title} ({go})")
    binary.parent.mkdir(parents=True, exist_ok=True)
    partial = binary.with_name(f"{program.name}.{os.getpid()}.partial")
    started = time.monotonic()
    try:
        command = [go, "build", "-v", *program.flags, "-o", str(partial), program.package]
        _run_go(command, say, module=program.module)
        partial.rename(binary)
    finally:
        partial.unlink(missing_ok=True)
    say(f"built {binary} in {time.monotonic() - started:.0f} s")


def go_environment() -> dict[str, str]:
    """Return the environment of go commands: this very toolchain, and only what the module locks."""
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}


def _run_go(command: list[str], say: Say, *, module: Path) -> None:
    with subprocess.Popen(
        command, cwd=module, env=go_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        progress = _Progress(process.stderr)
        started = time.monotonic()
        try:
            while not progress.ended.wait(REPORT_EVERY_SECONDS):
                say(f"{time.monotonic() - started:.0f} s, {progress}")
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise ClusterError(f"go build failed in {module}:\n" + "\n".join(progress.tail))


class _Progress:
    """Counts what `go build -v` prints: modules downloaded, packages compiled; keeps the last lines."""

    def __init__(self, stream: IO[str]) -> None:
        self.modules = 0
        self.packages = 0
        self.tail: deque[str] = deque(maxlen=30)
        self.ended = threading.Event()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self.tail.append(line.rstrip())
            if line.startswith("go: downloading "):
                self.modules += 1
            else:
                self.packages += 1
        self.ended.set()

    def __str__(self) -> str:
        return f"{self.modules} modules downloaded, {self.packages} packages compiled"
