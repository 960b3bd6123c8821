"""`$(VAR)` by the rules of Kubernetes, and fields of the pod."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processnode.environment import ConfigError, expand, field_value

VARIABLES = {"A": "one", "B": "$(A)", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "one"),
        ("<$(A)$(A)>", "<oneone>"),
        ("$(B)", "$(A)"),  # a value is not expanded again
        ("$(EMPTY)", ""),
        ("$(ABSENT)", "$(ABSENT)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$one"),
        ("$$$$(A)", "$$(A)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
    ],
)
def test_expand(text: str, expected: str) -> None:
    assert expand(text, VARIABLES) == expected


@given(st.text(alphabet=st.characters(exclude_characters="$")))
def test_text_without_dollar_stays(text: str) -> None:
    assert expand(text, VARIABLES) == text


@given(st.text(alphabet="$()A x"))
def test_doubled_dollars_are_the_text_itself(text: str) -> None:
    assert expand(text.replace("$", "$$"), VARIABLES) == text


def test_fields() -> None:
    metadata = {"name": "p", "namespace": "n", "uid": "u", "labels": {"app.kubernetes.io/name": "x"}}
    pod = {"metadata": metadata, "spec": {"nodeName": "node", "serviceAccountName": "default"}}
    assert field_value(pod, "metadata.labels['app.kubernetes.io/name']", ip="127.66.0.1") == "x"
    assert field_value(pod, "metadata.annotations['absent']", ip="127.66.0.1") == ""
    assert field_value(pod, "status.podIP", ip="127.66.0.1") == "127.66.0.1"
    assert field_value(pod, "spec.nodeName", ip="127.66.0.1") == "node"
    with pytest.raises(ConfigError, match=r"fieldRef status\.phase"):
        field_value(pod, "status.phase", ip="127.66.0.1")
