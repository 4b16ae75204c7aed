"""What is asked against a viewer: whatever comes, it is read or every bad field is named, and no value is repeated."""

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
LEAST = {"channelArn": HERE, "viewerId": "ada"}
SECRET = "tsk_pasted_secret"
NAMES = sorted(
    {str(f.alias) for model in (RevocationRequest, DenialRequest) for f in model.model_fields.values()} | {"wish"}
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=60),
    st.lists(st.text(max_size=9), max_size=3),
) | st.sampled_from([HERE, [HERE, THERE], "2026-11-21T10:00:00Z", "*", "ada"])


def test_the_least_means_everything_until_now() -> None:
    ask = read_revocation(LEAST)
    assert (ask.channels, ask.viewer_id, ask.subject) == ((HERE,), "ada", None)
    assert (ask.issued_before, ask.deny_seconds, ask.reason) == (None, None, "")


def test_all_that_can_be_said_is_read() -> None:
    said = {"channelArns": [HERE, THERE], "subject": "ada", "issuedBefore": "2027-01-15T08:00:00Z", "denySeconds": 0}
    ask = read_revocation(said | {"reason": "x"})
    assert (ask.channels, ask.subject, ask.issued_before) == ((HERE, THERE), "ada", 1_800_000_000)
    assert (ask.deny_seconds, ask.reason) == (0, "x")
    denial = read_denial({"channelArn": "*", "viewerId": "ada", "until": "2027-01-15T08:00:00Z"})
    assert (denial.channels, denial.until, denial.deny_seconds) == (("*",), 1_800_000_000, None)


@pytest.mark.parametrize("fields", [None, [], "x", 7, [LEAST]], ids=str)
def test_what_is_no_object_is_refused(fields: object) -> None:
    for read in (read_revocation, read_denial):
        with pytest.raises(InvalidRequest, match="must be an object"):
            read(fields)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_whatever_is_asked_is_read_or_refused_by_name(fields: dict[str, Any]) -> None:
    for read in (read_revocation, read_denial):
        try:
            ask = read(fields)
        except InvalidRequest as refused:
            named = {error.field.partition("[")[0] for error in refused.errors}
            assert named
            assert named <= {*fields, "channelArn", "viewerId", "until"}
        else:
            assert ask.channels
            assert (ask.viewer_id is None) != (ask.subject is None)
            assert check_no_controls(f"{ask.viewer_id}{ask.reason}")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "subject"])
def test_no_value_is_repeated(name: str) -> None:
    """A subject may be any string, so there is none to refuse."""
    for read in (read_revocation, read_denial):
        with pytest.raises(InvalidRequest) as refused:
            read({name: SECRET * 9})
        assert SECRET not in refused.value.message + repr(refused.value.errors)


@pytest.mark.parametrize(
    ("name", "most", "rule"),
    [("reason", 200, "must have at most 200 characters"), ("viewerId", 40, "must have 1 to 40 characters")],
)
def test_what_is_too_long_is_told_so_in_characters(name: str, most: int, rule: str) -> None:
    assert read_revocation(LEAST | {name: "é" * most})
    with pytest.raises(InvalidRequest, match=f"{name}: {rule}"):
        read_revocation(LEAST | {name: "é" * (most + 1)})


@pytest.mark.parametrize("name", ["reason", "viewerId"])
@pytest.mark.parametrize("control", ["\0", "\t", "\n", "\x1b[2J", "\x7f", "\x9b"])
def test_no_text_holds_control_characters(name: str, control: str) -> None:
    """PostgreSQL stores no NUL, and the others drive the terminals of those who read the lists."""
    for read, fields in ((read_revocation, LEAST), (read_denial, LEAST | {"denySeconds": 1})):
        with pytest.raises(InvalidRequest, match=f"{name}: must not contain control characters"):
            read(fields | {name: f"a{control}b"})
