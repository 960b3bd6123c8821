"""Which jobs are refused at once, and what is said of them."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from killmail_documents import CASES, Case, document, item, payload
from pydantic import ValidationError

from queueworker_processors.killboard.killmail import KillmailJob

Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.killmail_id))
def test_documents_of_esi_are_read(case: Case) -> None:
    job = KillmailJob.model_validate(case.payload)

    assert job.esi is not None
    assert job.esi.killmail_id == job.killmail_id == case.killmail_id
    assert job.esi.killmail_time.utcoffset() is not None


def test_unknown_keys_are_ignored() -> None:
    job = KillmailJob.model_validate(payload(labels=["new"]) | {"_meta": {"correlationId": "a"}})

    assert job.esi is not None


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda data: data.pop("hash"), "hash"),
        (lambda data: data.update(hash="A" * 40), "hash"),
        (lambda data: data.update(hash="0" * 40 + "\n"), "hash"),
        (lambda data: data.update(killmailId=0), "killmailId"),
        (lambda data: data.update(killmailId="abc"), "killmailId"),
        (lambda data: data.update(esi="nothing"), "esi"),
        (lambda data: data.update(source="a\x00b"), "source"),
        (lambda data: data["esi"].pop("victim"), "esi.victim"),
        (lambda data: data["esi"].pop("attackers"), "esi.attackers"),
        (lambda data: data["esi"].update(killmail_time="2026-04-15T14:56:23"), "esi.killmail_time"),
        (lambda data: data["esi"]["victim"].update(damage_taken=-1), "esi.victim.damage_taken"),
        (lambda data: data["esi"]["victim"].update(character_id=2**63), "esi.victim.character_id"),
        (
            lambda data: data["esi"]["attackers"][0].update(security_status=float("nan")),
            "esi.attackers.0.security_status",
        ),
        (
            lambda data: data["esi"]["victim"].update(items=[item(1) | {"items": [{}]}]),
            "esi.victim.items.0.items.0.flag",
        ),
    ],
)
def test_wrong_shapes_name_their_field(change: Change, where: str) -> None:
    data = payload()
    change(data)

    with pytest.raises(ValidationError) as caught:
        KillmailJob.model_validate(data)

    assert where in {".".join(map(str, one["loc"])) for one in caught.value.errors()}


def test_the_document_of_another_killmail_is_refused() -> None:
    with pytest.raises(ValidationError, match="killmail_id 5 is not killmailId 1000"):
        KillmailJob.model_validate(payload() | {"esi": document(5)})


def test_a_job_and_a_document_of_two_wars_are_refused() -> None:
    with pytest.raises(ValidationError, match="war_id 2 is not warId 1"):
        KillmailJob.model_validate(payload(war_id=2) | {"warId": 1})


@pytest.mark.parametrize(
    ("of_job", "of_document", "expected"), [(1, None, 1), (None, 2, 2), (3, 3, 3), (None, None, None)]
)
def test_the_war_is_the_one_that_is_named_anywhere(
    of_job: int | None, of_document: int | None, expected: int | None
) -> None:
    job = KillmailJob.model_validate(payload(war_id=of_document) | {"warId": of_job})

    assert job.war == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["killmailId", "hash", "esi", "warId", "source"]), json_values)
def test_no_value_of_a_field_breaks_the_validation(name: str, value: Any) -> None:
    places: set[Any] = set()
    try:
        KillmailJob.model_validate(payload() | {name: value})
    except ValidationError as error:
        places = {one["loc"][0] for one in error.errors() if one["loc"]}

    assert places <= {name}
