from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueworker.decoding import json_or_text, mapping, pairs, parse_json, whole_number


def test_both_protocols_read_the_same() -> None:
    assert pairs(["a", "1", "b", "2.5"]) == pairs([["a", 1.0], ("b", 2.5)]) == [("a", 1.0), ("b", 2.5)]
    assert pairs([]) == []
    assert mapping(["a", "1"]) == mapping({"a": "1"}) == {"a": "1"}


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a":-Infinity}', "", "{", "[" * 100_000])
def test_what_is_no_json_stays_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_json(text)
    assert json_or_text(text) == text


def test_json_is_read() -> None:
    assert json_or_text(' {"a": [1, null]} ') == {"a": [1, None]}
    assert json_or_text(None) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", 7),
        ("1.7e+12", 1_700_000_000_000),
        ("-2.0", -2),
        ("inf", None),
        ("nan", None),
        ("1e999", None),
        ("x", None),
    ],
)
def test_whole_numbers(text: str, number: int | None) -> None:
    assert whole_number(text) == number


@given(st.one_of(st.text(), st.floats().map(str)))
def test_a_number_is_found_or_not_but_nothing_is_raised(text: str) -> None:
    assert whole_number(text) is None or isinstance(whole_number(text), int)
