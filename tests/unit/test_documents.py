"""Files of QueueWorkers, Secrets and ConfigMaps: what is wrong with them is a line for each fault, with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from queueworker_operator.documents import DocumentError, read_files, read_queueworker


def queueworker(**metadata: Any) -> str:
    spec = {"queues": [{"name": "a"}], "redis": {"host": "r"}, "worker": {"image": "i"}, "replicas": 1}
    head = {"apiVersion": "queueworker.dev/v1alpha1", "kind": "QueueWorker"}
    return yaml.safe_dump({**head, "metadata": {"name": "mail", **metadata}, "spec": spec})


def secret(**fields: Any) -> str:
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, **fields})


def problems(*contents: str | bytes, directory: Path) -> list[str]:
    paths = [directory / f"{number}.yaml" for number, _ in enumerate(contents, 1)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DocumentError) as refused:
        read_files(paths)
    return [problem.removeprefix(f"{directory}/") for problem in refused.value.problems]


NAME = "has lower-case letters, digits and dashes alone, and no dash at an end"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[" * 20_000, "1.yaml: is nested too deeply"),
        (b"\x80\x81", "1.yaml: is not YAML: it is not UTF-8"),
        (" " * 10_000_001, "1.yaml: has more than 10 MB: name a file of QueueWorkers"),
        ("a: 1\nb: {c: 2, c: 3}", "1.yaml: is not YAML: c is given twice, line 2, column 11"),
        (queueworker(name="N_m"), f"1.yaml, document 1: metadata.name: {NAME}"),
        (queueworker(name=5), f"1.yaml, document 1: metadata.name: {NAME}"),
        (queueworker(namespace="a/b"), f"1.yaml, document 1: metadata.namespace: {NAME}"),
        (
            queueworker(annotations={"queueworker.dev/paused": True}),
            "1.yaml, document 1: metadata.annotations: is an object of texts: put numbers and true or false in quotes",
        ),
        (secret(data=["a"]), "1.yaml, document 1: data: is an object of texts"),
        (secret(data={"k": "%"}), "1.yaml, document 1: data.k: not base64; write plain text under stringData"),
        (secret(stringData={"pin": 1234}), "1.yaml, document 1: stringData.pin: is a text: put it in quotes"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(content: str | bytes, problem: str, tmp_path: Path) -> None:
    assert problems(content, directory=tmp_path) == [problem]


def test_two_of_one_name_are_told_apart_by_namespace_alone(tmp_path: Path) -> None:
    twice = "there are two QueueWorkers default/mail: rename one of them, or name its file once"
    assert problems(queueworker(), queueworker(), directory=tmp_path) == [f"2.yaml, document 1: metadata.name: {twice}"]
    (tmp_path / "2.yaml").write_text(queueworker(namespace="other"))
    assert len(read_files([tmp_path / "1.yaml", tmp_path / "2.yaml"]).resources) == 2


def test_what_yaml_merges_is_not_given_twice(tmp_path: Path) -> None:
    path = tmp_path / "qw.yaml"
    path.write_text(
        queueworker() + "---\nbase: &base {name: a}\napiVersion: v1\nkind: Secret\nmetadata: {<<: *base, name: s}"
    )
    assert len(read_files([path]).resources) == 1


DEPLOYMENT = yaml.safe_dump({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "mail"}, "spec": {}})


def listed(*documents: str) -> str:
    items = [yaml.safe_load(document) for document in documents]
    return yaml.safe_dump({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})


def file_of(*documents: str, directory: Path) -> Path:
    path = directory / "qw.yaml"
    path.write_text("---\n".join(documents))
    return path


def test_a_list_as_kubectl_prints_it_is_its_items(tmp_path: Path) -> None:
    path = file_of(listed(queueworker(), queueworker(name="sms")), secret(), directory=tmp_path)
    assert [resource.key.name for resource in read_files([path]).resources] == ["mail", "sms"]
    assert problems(listed(queueworker(), queueworker(name="N_m")), directory=tmp_path) == [
        f"1.yaml, document 1, item 2: metadata.name: {NAME}"
    ]
    assert problems("kind: List\nitems: a", directory=tmp_path) == ["1.yaml, document 1: items: is a list of objects"]


def test_of_a_file_one_queueworker_is_read_whatever_else_is_in_it(tmp_path: Path) -> None:
    broken = queueworker(name="sms").replace("replicas: 1", "replicas: many")
    path = file_of(DEPLOYMENT, broken, queueworker(), secret(data=["a"]), directory=tmp_path)
    assert read_queueworker(path, "mail").spec is not None
    with pytest.raises(DocumentError, match=r"document 2: spec\.replicas: "):
        read_queueworker(path, "sms")
    with pytest.raises(DocumentError, match=r"qw\.yaml has the QueueWorkers mail, sms: choose one by --name"):
        read_queueworker(path, None)
    with pytest.raises(DocumentError, match=r"qw\.yaml has no QueueWorker video, but mail, sms"):
        read_queueworker(path, "video")
    assert read_queueworker(file_of(DEPLOYMENT, queueworker(), directory=tmp_path), None).key.name == "mail"


def test_of_one_name_in_two_namespaces_one_is_chosen_by_both(tmp_path: Path) -> None:
    path = file_of(listed(queueworker(namespace="a"), queueworker(namespace="b")), directory=tmp_path)
    assert read_queueworker(path, "b/mail").key.namespace == "b"
    for name in (None, "mail"):
        with pytest.raises(DocumentError, match="has the QueueWorkers a/mail, b/mail: choose one by --name"):
            read_queueworker(path, name)


@pytest.mark.parametrize(
    ("documents", "problem"),
    [
        ((DEPLOYMENT,), "there is no QueueWorker in the files"),
        (("just text",), "document 1: is no object: apiVersion, kind and metadata are needed"),
        ((queueworker(), queueworker()), "document 2: metadata.name: there are two QueueWorkers default/mail"),
        ((queueworker(), queueworker(name=None)), "document 2: metadata.name: is needed"),
        ((queueworker(name=None),), "document 1: metadata.name: is needed"),
    ],
)
def test_what_is_no_one_queueworker_is_told(documents: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=problem):
        read_queueworker(file_of(*documents, directory=tmp_path), None)
