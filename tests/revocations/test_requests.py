"""Any input is parsed or rejected with every invalid field named, and no value is repeated in a message."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tokens import CHANNEL, OTHER_CHANNEL
from tokensvc.errors import InvalidRequest
from tokensvc.printable import check_no_controls
from tokensvc.revocations.requests import DenialRequest, RevocationRequest, read_denial, read_revocation

HERE, THERE = str(CHANNEL), str(OTHER_CHANNEL)
MINIMAL = {"channelArn": HERE, "viewerId": "ada"}
SECRET = "tsk_pasted_secret"
NAMES = sorted(
    {str(f.alias) for model in (RevocationRequest, DenialRequest) for f in model.model_fields.values()} | {"unknown"}
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=60),
    st.lists(st.text(max_size=9), max_size=3),
) | st.sampled_from([HERE, [HERE, THERE], "2026-11-21T10:00:00Z", "*", "ada"])


def test_optional_fields_have_defaults() -> None:
    request = read_revocation(MINIMAL)
    assert (request.channels, request.viewer_id, request.subject) == ((HERE,), "ada", None)
    assert (request.issued_before, request.deny_seconds, request.reason) == (None, None, "")


def test_every_field_is_parsed() -> None:
    fields = {"channelArns": [HERE, THERE], "subject": "ada", "issuedBefore": "2027-01-15T08:00:00Z", "denySeconds": 0}
    request = read_revocation(fields | {"reason": "x"})
    assert (request.channels, request.subject, request.issued_before) == ((HERE, THERE), "ada", 1_800_000_000)
    assert (request.deny_seconds, request.reason) == (0, "x")
    denial = read_denial({"channelArn": "*", "viewerId": "ada", "until": "2027-01-15T08:00:00Z"})
    assert (denial.channels, denial.until, denial.deny_seconds) == (("*",), 1_800_000_000, None)


@pytest.mark.parametrize("fields", [None, [], "x", 7, [MINIMAL]], ids=str)
def test_input_that_is_not_an_object_is_rejected(fields: object) -> None:
    for read in (read_revocation, read_denial):
        with pytest.raises(InvalidRequest, match="must be an object"):
            read(fields)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_any_fields_are_parsed_or_rejected_by_name(fields: dict[str, Any]) -> None:
    for read in (read_revocation, read_denial):
        try:
            request = read(fields)
        except InvalidRequest as rejected:
            named = {error.field.partition("[")[0] for error in rejected.errors}
            assert named
            assert named <= {*fields, "channelArn", "viewerId", "until"}
        else:
            assert request.channels
            assert (request.viewer_id is None) != (request.subject is None)
            assert check_no_controls(f"{request.viewer_id}{request.reason}")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "subject"])
def test_no_error_message_repeats_a_value(name: str) -> None:
    """Except a subject, which may be any string, so that none is rejected."""
    for read in (read_revocation, read_denial):
        with pytest.raises(InvalidRequest) as rejected:
            read({name: SECRET * 9})
        assert SECRET not in rejected.value.message + repr(rejected.value.errors)


@pytest.mark.parametrize(
    ("name", "most", "rule"),
    [("reason", 200, "must have at most 200 characters"), ("viewerId", 40, "must have 1 to 40 characters")],
)
def test_a_text_that_is_too_long_is_rejected_by_its_characters(name: str, most: int, rule: str) -> None:
    assert read_revocation(MINIMAL | {name: "é" * most})
    with pytest.raises(InvalidRequest, match=f"{name}: {rule}"):
        read_revocation(MINIMAL | {name: "é" * (most + 1)})


@pytest.mark.parametrize("name", ["reason", "viewerId"])
@pytest.mark.parametrize("control", ["\0", "\t", "\n", "\x1b[2J", "\x7f", "\x9b"])
def test_control_characters_are_rejected(name: str, control: str) -> None:
    """PostgreSQL cannot store NUL, and the others could control the terminal that displays a list."""
    for read, fields in ((read_revocation, MINIMAL), (read_denial, MINIMAL | {"denySeconds": 1})):
        with pytest.raises(InvalidRequest, match=f"{name}: must not contain control characters"):
            read(fields | {name: f"a{control}b"})
