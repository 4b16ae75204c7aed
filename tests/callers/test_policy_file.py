"""The policy file: refused whole, with line, member and rule; applied twice, it changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.callers.policy import BearerPolicy, CallerPolicy, ClaimRules, Rate, RateLimits
from tokensvc.callers.policy_changes import MemberChange, changed_members
from tokensvc.callers.policy_file import FileEntry, parse_policy_file, plan_changes
from tokensvc.callers.store import CallerRecord
from tokensvc.errors import InvalidRequest

AT = datetime(2026, 1, 2, tzinfo=UTC)
EARLIER = datetime(2026, 1, 1, tzinfo=UTC)
FILE = """\
[callers.web-backend]
channels = ["arn:aws:ivs:us-east-1:123456789012:channel/*"]
max_ttl_seconds = 120
require = { allowed_origins = ["https://app.example.com"] }
limits.viewer = { per_minute = 6, burst = 2 }

[callers.player]
channels = ["*"]
disabled = false

[callers.player.bearer]
issuer = "https://login.example.com"
audience = "player"
required_claims = { plan = ["gold"], "https://example.com/x.y" = [true] }
"""


def test_a_file_states_policies_by_name() -> None:
    claims = (("https://example.com/x.y", (True,)), ("plan", ("gold",)))
    bearer = BearerPolicy("https://login.example.com", "player", required_claims=claims)
    assert parse_policy_file(FILE) == {
        "web-backend": FileEntry(
            CallerPolicy(
                ("arn:aws:ivs:us-east-1:123456789012:channel/*",),
                max_ttl_seconds=120,
                required=ClaimRules(("https://app.example.com",)),
                limits=RateLimits(viewer=Rate(6, 2)),
            ),
            None,
        ),
        "player": FileEntry(CallerPolicy(("*",), bearer=bearer), False),
    }


def test_an_empty_file_names_no_caller() -> None:
    assert parse_policy_file("") == {}


@pytest.mark.parametrize(
    ("old", "new", "line", "member", "rule"),
    [
        ("120", "0", 3, "callers.web-backend.max_ttl_seconds", "must be at least 1"),
        ("120", "604801", 3, "callers.web-backend.max_ttl_seconds", "must be at most 604800"),
        ("120", "2026-01-01", 3, "callers.web-backend.max_ttl_seconds", "must be an integer"),
        ('"https://app.example.com"', '"*", "x"', 4, "callers.web-backend.require.allowed_origins[1]", "must be * or"),
        ("burst = 2", "burst = 0", 5, "callers.web-backend.limits.viewer.burst", "must be at least 1"),
        ("per_minute = 6, ", "", 5, "callers.web-backend.limits.viewer.per_minute", "is required"),
        ("disabled = false", "disabled = 0", 9, "callers.player.disabled", "must be true or false"),
        ("disabled", "enabled", 9, "callers.player.enabled", ""),
        ("https://login", "http://login", 12, "callers.player.bearer.issuer", "must begin with https://"),
        ("[true]", "[]", 14, "callers.player.bearer.required_claims.https://example.com/x.y", "must"),
        ("[callers.player]", "[callers.-player]", 7, "callers.-player", "is not a valid caller name"),
        ("[callers.web-backend]", 'title = "x"\n[callers.web-backend]', 1, "title", "is unknown"),
    ],
)
def test_an_error_has_its_line_member_and_rule(old: str, new: str, line: int, member: str, rule: str) -> None:
    with pytest.raises(InvalidRequest) as failed:
        parse_policy_file(FILE.replace(old, new, 1))
    found = {error.field: error.message for error in failed.value.errors}
    assert rule in found[f"line {line}: {member}"]


def test_all_errors_of_all_callers_are_reported_together_by_line() -> None:
    bad = FILE.replace("120", "0").replace('"player"', '""').replace("disabled = false", "disabled = 1")
    with pytest.raises(InvalidRequest) as failed:
        parse_policy_file(bad)
    assert [error.field.split(":")[0] for error in failed.value.errors] == ["line 3", "line 9", "line 13"]


def test_text_that_is_not_toml_is_refused_with_its_line() -> None:
    with pytest.raises(InvalidRequest, match="at line 2"):
        parse_policy_file("[callers.web]\nchannels = everything\n")


def test_a_number_with_thousands_of_digits_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="a number has too many digits"):
        parse_policy_file(f"[callers.web]\nmax_ttl_seconds = {'9' * 5000}\n")


def test_text_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        parse_policy_file("a = " + "[" * 3000)


@pytest.mark.slow
def test_of_a_file_with_very_many_errors_the_first_are_reported() -> None:
    text = "".join(f"[callers.c{n}]\nchannels = []\nnamespace = ''\n" for n in range(60))
    with pytest.raises(InvalidRequest) as failed:
        parse_policy_file(text)
    assert len(failed.value.errors) == 51
    assert failed.value.errors[-1] == ("further errors", "10", "", "")


def test_an_issuer_and_audience_belong_to_one_caller_of_the_file() -> None:
    text = "".join(
        f'[callers.{name}]\nchannels = ["*"]\nbearer = {{ issuer = "https://a", audience = "b" }}\n{more}\n'
        for name, more in (("one", ""), ("two", ""), ("three", "disabled = true"))
    )
    with pytest.raises(InvalidRequest) as failed:
        parse_policy_file(text)
    [error] = failed.value.errors
    assert error.field == "line 7: callers.two.bearer.audience"
    assert "are also those of one" in error.rule


def record(name: str, policy: CallerPolicy, disabled_at: datetime | None = None) -> CallerRecord:
    return CallerRecord(name, policy, (), disabled_at, EARLIER)


ALL, ONE = CallerPolicy(("*",)), CallerPolicy(("*",), max_ttl_seconds=60)


@pytest.mark.parametrize(
    ("entry", "stored", "expected"),
    [
        (FileEntry(ALL, None), None, (ALL, None)),
        (FileEntry(ALL, True), None, (ALL, AT)),
        (FileEntry(ALL, None), (ALL, None), None),
        (FileEntry(ALL, False), (ALL, None), None),
        (FileEntry(ALL, True), (ALL, EARLIER), None),
        (FileEntry(ALL, None), (ALL, EARLIER), None),
        (FileEntry(ONE, None), (ALL, EARLIER), (ONE, EARLIER)),
        (FileEntry(ONE, None), (ALL, None), (ONE, None)),
        (FileEntry(ALL, True), (ALL, None), (ALL, AT)),
        (FileEntry(ALL, False), (ALL, EARLIER), (ALL, None)),
    ],
)
def test_a_plan_has_what_differs(entry: FileEntry, stored: Any, expected: Any) -> None:
    records = [record("shop", *stored)] if stored else []
    plan = plan_changes({"shop": entry}, records, AT)
    assert [(change.policy, change.disabled_at) for change in plan] == ([expected] if expected else [])


@pytest.mark.parametrize(("before", "after"), [(1, True), (True, 1), (0, False)])
def test_a_required_number_is_not_a_required_boolean(before: object, after: object) -> None:
    """They are equal in Python, and not in a token."""

    def policy(value: object) -> CallerPolicy:
        required = (("verified", (value,)),)
        return CallerPolicy(("*",), bearer=BearerPolicy("https://a", "b", required_claims=required))  # type: ignore[arg-type]

    records = [record("app", policy(before))]
    assert plan_changes({"app": FileEntry(policy(after), None)}, records, AT)
    assert not plan_changes({"app": FileEntry(policy(before), None)}, records, AT)


def test_only_a_pruning_plan_disables_what_the_file_does_not_name() -> None:
    records = [record("gone", ALL), record("shop", ALL), record("was disabled", ALL, EARLIER)]
    entries = {"shop": FileEntry(ALL, None)}
    assert plan_changes(entries, records, AT) == []
    [change] = plan_changes(entries, records, AT, prune=True)
    assert (change.name, change.policy, change.disabled_at) == ("gone", ALL, AT)


_ENTRIES = st.builds(FileEntry, st.sampled_from([ALL, ONE]), st.sampled_from([None, True, False]))
_STATES = st.tuples(st.sampled_from([ALL, ONE]), st.sampled_from([None, EARLIER]))
_NAMES = st.sampled_from("abcd")


@given(st.dictionaries(_NAMES, _ENTRIES), st.dictionaries(_NAMES, _STATES), st.booleans())
def test_applied_again_a_file_changes_nothing(
    entries: dict[str, FileEntry], states: dict[str, tuple[CallerPolicy, datetime | None]], prune: bool
) -> None:
    before = {name: record(name, *state) for name, state in states.items()}
    plan = plan_changes(entries, list(before.values()), AT, prune=prune)
    after = before | {change.name: record(change.name, change.policy, change.disabled_at) for change in plan}
    assert plan_changes(entries, list(after.values()), AT, prune=prune) == []
    assert after.keys() == before.keys() | entries.keys(), "none is deleted"


def test_a_difference_names_members_as_the_file_does() -> None:
    policy = CallerPolicy(("*",), forced=ClaimRules(single_use=True), limits=RateLimits(viewer=Rate(6, 2)))
    assert changed_members(ONE, policy) == [
        MemberChange("max_ttl_seconds", "60", "null"),
        MemberChange("force.single_use", "", "true"),
        MemberChange("limits.viewer.per_minute", "", "6"),
        MemberChange("limits.viewer.burst", "", "2"),
    ]
    assert changed_members(policy, policy) == []
    assert changed_members(None, ALL) == [MemberChange("channels", "", '["*"]')]
