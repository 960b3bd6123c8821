"""The reasons are API: each has a line that says what it means, and a name that Kubernetes takes."""

import ast
import inspect
import itertools
import re

import pytest

from queueworker_operator.api import reasons

ENUMS = (reasons.ScalingReason, reasons.ConditionType, reasons.ConditionReason)


def documented(name: str) -> dict[str, str]:
    """Return the docstring below each member of an enum of the module."""
    tree = ast.parse(inspect.getsource(reasons))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    found = {}
    for member, below in itertools.pairwise(body):
        if isinstance(member, ast.Assign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            (target,) = member.targets
            assert isinstance(target, ast.Name)
            found[target.id] = str(below.value.value)
    return found


@pytest.mark.parametrize("enum", ENUMS)
def test_every_reason_is_explained(enum: type[reasons.StrEnum]):
    lines = documented(enum.__name__)
    assert sorted(set(enum.__members__) - set(lines)) == []
    for name, line in lines.items():
        assert line.endswith("."), name


@pytest.mark.parametrize("enum", ENUMS)
def test_names_are_camel_case_and_say_the_same_as_the_members(enum: type[reasons.StrEnum]):
    for name, member in enum.__members__.items():
        assert re.fullmatch("[A-Z][A-Za-z]{1,63}", member.value)
        assert member.value.lower() == name.replace("_", "").lower()
