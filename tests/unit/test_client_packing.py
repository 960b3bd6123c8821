"""Packing in C writes what redis-py writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio.connection import Connection
from redis.exceptions import DataError

from queueworker.packing import Packing

words = st.one_of(st.text(), st.binary(), st.integers(), st.floats(allow_nan=False))
options = {"encoding_errors": "surrogateescape"}


@given(name=st.sampled_from(["GET", "SCRIPT LOAD", b"EVALSHA"]), arguments=st.lists(words))
def test_packs_as_redis_py_does(name: str | bytes, arguments: list[str | bytes | int | float]) -> None:
    ours, theirs = Packing(**options), Connection(**options)
    assert b"".join(ours.pack_command(name, *arguments)) == b"".join(theirs.pack_command(name, *arguments))


def test_a_word_that_is_not_utf_8_goes_out_as_it_came_in() -> None:
    assert b"".join(Packing(**options).pack_command("GET", "a\udcff")).endswith(b"$2\r\na\xff\r\n")


def test_what_redis_cannot_take_is_refused_in_the_words_of_redis_py() -> None:
    with pytest.raises(DataError, match="Invalid input of type: 'NoneType'"):
        Packing(**options).pack_command("GET", None)
