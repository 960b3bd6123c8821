"""The Dockerfiles: locked, non-root, and no shell between Kubernetes and the process."""

import json
import re

import pytest
from helmchart import ROOT

DOCKERFILES = ["Dockerfile.operator", "Dockerfile.worker"]


def instructions(name: str) -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (ROOT / name).read_text())
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_packages_come_from_locks_only(name):
    for word, rest in instructions(name):
        assert word not in {"ADD", "MAINTAINER"}
        if word == "RUN" and "install" in rest:
            assert "--require-hashes" in rest or "--no-index" in rest, rest
        assert not re.search(r"curl|wget|apt-get|git ", rest), rest


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_base_is_an_argument_and_the_user_is_not_root(name):
    words = instructions(name)
    assert words[0][0] == "ARG"
    assert words[0][1].startswith("BASE=")
    assert all(rest.startswith(("${BASE}", "build AS", "runtime AS")) for word, rest in words if word == "FROM")
    users = [rest for word, rest in words if word == "USER"]
    assert users
    assert all(int(user.split(":")[0]) > 0 for user in users)


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_entrypoint_is_an_exec_form(name):
    forms = [rest for word, rest in instructions(name) if word in {"ENTRYPOINT", "CMD"}]
    assert forms
    assert all(isinstance(json.loads(form), list) for form in forms)


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_is_copied_exists_and_is_in_the_build_context(name):
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for word, rest in instructions(name):
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(source == path or source.startswith(path + "/") for path in allowed), source


@pytest.mark.parametrize("name", ["client", "worker", "processors", "operator", "dev", "cluster", "build"])
def test_every_locked_package_has_a_hash_and_no_lock_names_a_registry(name):
    text = (ROOT / f"requirements/{name}.txt").read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert entries
    for entry in entries:
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
        assert "==" in entry.splitlines()[0]
    assert "://" not in text
