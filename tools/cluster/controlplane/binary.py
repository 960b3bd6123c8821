"""Build the control plane's binary once per content of its sources, and keep it outside the checkout."""

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
from pathlib import Path
from typing import IO

from controlplane.errors import ClusterError
from controlplane.toolchain import cache_directory, find_go

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


def binary_path() -> Path:
    """Return where the binary of the present sources stands or will stand."""
    digest = hashlib.sha256(" ".join(FLAGS).encode())
    for path in sorted([MODULE / "go.mod", MODULE / "go.sum", *MODULE.glob("*.go")]):
        content = path.read_bytes()
        digest.update(f"\0{path.name}\0{len(content)}\0".encode() + content)
    return cache_directory() / digest.hexdigest()[:16] / "cluster"


def build(say: Say = say_on_stderr) -> Path:
    """Return the binary's path, building it first if the cache has none: minutes with cold Go caches."""
    binary = binary_path()
    if binary.exists():
        return binary
    with _locked(binary.parent.with_suffix(".lock"), say):
        if not binary.exists():
            _build(binary, say)
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


def _build(binary: Path, say: Say) -> None:
    go = find_go(say)
    say(f"building Kubernetes {KUBERNETES_VERSION} with {go}; the first time this takes 5 to 8 minutes on 2 cores")
    binary.parent.mkdir(parents=True, exist_ok=True)
    partial = binary.with_name(f"cluster.{os.getpid()}.partial")
    started = time.monotonic()
    try:
        _run_go([go, "build", "-v", *FLAGS, "-o", str(partial), "."], say)
        partial.rename(binary)
    finally:
        partial.unlink(missing_ok=True)
    say(f"built {binary} in {time.monotonic() - started:.0f} s")


def _run_go(command: list[str], say: Say) -> None:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
    with subprocess.Popen(
        command, cwd=MODULE, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
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
        raise ClusterError(f"go build failed in {MODULE}:\n" + "\n".join(progress.tail))


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
