"""Any change to a token is denied, by the right rule."""

from __future__ import annotations

import base64
import json
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.tokens import CHANNEL, HEADER, NOW, encode_token, with_claims
from tokensvc.jose import keypair
from tokensvc.tokens import claims as c
from tokensvc.tokens.validation import (
    NOTHING_REVOKED,
    RULES,
    Outcome,
    PlaybackAttempt,
    RuleStatus,
    ValidationResult,
    validate,
)

KEY = keypair.generate()
KEYS = [KEY.public_key()]
TOKEN = with_claims(
    KEY,
    {
        c.VIEWER_ID: "viewer",
        c.VIEWER_SESSION_VERSION: NOW,
        c.ALLOW_ORIGIN: "https://a.example",
        c.SINGLE_USE_UUID: "123e4567-e89b-12d3-a456-426614174000",
        c.MAXIMUM_RESOLUTION: "HD",
    },
)
SIGNED_CHARS = TOKEN.rindex(".")
ALPHABET = string.ascii_letters + string.digits + "-_"


def validated(token: str) -> ValidationResult:
    return validate(
        PlaybackAttempt(token, NOW, CHANNEL, KEYS, "https://a.example", spent=False, revoked_version=NOTHING_REVOKED)
    )


def expected_rule(token: str) -> str:
    """The rule that must deny a changed token, computed independently: form first, then header, then signature."""
    segments = token.split(".")
    if len(segments) != 3 or "" in segments[:2]:
        return "segments"
    if not all(_has_one_spelling(segment) for segment in segments):
        return "encoding"
    try:
        pairs = json.loads(_decoded(segments[0]).decode("utf-8"), object_pairs_hook=lambda found: ("object", found))
    except ValueError:
        return "header"
    if not isinstance(pairs, tuple) or len(dict(pairs[1])) != len(pairs[1]):
        return "header"
    header: dict[str, Any] = dict(pairs[1])
    if not isinstance(header.get("alg"), str) or header.get("typ", "JWT") != "JWT" or "crit" in header:
        return "header"
    return "signature" if header["alg"] == "ES384" else "algorithm"


def _decoded(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def _has_one_spelling(segment: str) -> bool:
    if set(segment) - set(ALPHABET) or len(segment) % 4 == 1:
        return False
    return base64.urlsafe_b64encode(_decoded(segment)).decode().rstrip("=") == segment


def test_the_unchanged_token_is_allowed() -> None:
    assert validated(TOKEN).outcome is Outcome.ALLOW


@pytest.mark.slow
@settings(max_examples=400)
@given(st.integers(0, SIGNED_CHARS - 1), st.sampled_from(ALPHABET) | st.integers(0, 255).map(chr))
def test_any_changed_byte_of_the_signed_part_is_denied_by_the_right_rule(position: int, char: str) -> None:
    changed = TOKEN[:position] + char + TOKEN[position + 1 :]
    if changed != TOKEN:
        result = validated(changed)
        assert result.outcome is Outcome.DENY
        assert result.denied_by == expected_rule(changed)


@pytest.mark.parametrize("position", [p for p, char in enumerate(TOKEN) if char != "."])
def test_no_position_of_the_token_may_change(position: int) -> None:
    """Every position once, the signature's included, replaced by the next letter of the alphabet."""
    neighbour = ALPHABET[(ALPHABET.index(TOKEN[position]) + 1) % len(ALPHABET)]
    changed = TOKEN[:position] + neighbour + TOKEN[position + 1 :]
    assert validated(changed).denied_by == expected_rule(changed)


EDITS = st.lists(
    st.tuples(st.sampled_from(["insert", "delete", "swap"]), st.integers(0, len(TOKEN)), st.text(max_size=3)),
    min_size=1,
    max_size=4,
)


@pytest.mark.slow
@settings(max_examples=300)
@given(EDITS)
def test_any_edit_is_denied_by_the_right_rule(edits: list[tuple[str, int, str]]) -> None:
    token = TOKEN
    for kind, at, text in edits:
        match kind:
            case "insert":
                token = token[:at] + text + token[at:]
            case "delete":
                token = token[:at] + token[at + len(text) :]
            case "swap":
                token = token[at:] + token[:at]
    if token != TOKEN and len(token.encode(errors="surrogatepass")) <= 2000:
        assert validated(token).denied_by == expected_rule(token)


@pytest.mark.slow
@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]{0,40}(\.[A-Za-z0-9_-]{0,40}){0,4}", fullmatch=True))
def test_arbitrary_text_is_denied_and_validation_never_raises(text: str) -> None:
    result = validated(text)
    assert result.outcome is Outcome.DENY
    assert len(result.rule_results) == len(RULES)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([*c.CHECKS, "nbf", "iat", "crit"]) | st.text(max_size=5)


@pytest.mark.slow
@settings(max_examples=200)
@given(st.dictionaries(NAMES, JSON, max_size=6), st.dictionaries(st.sampled_from(["alg", "typ", "crit", "x"]), JSON))
def test_validation_of_signed_nonsense_never_raises(claims: dict[str, Any], header: dict[str, Any]) -> None:
    """Somebody with the key may sign anything; validation must cope with it."""
    for head in (HEADER, header):
        for given_claims in (claims, {c.CHANNEL_ARN: str(CHANNEL), c.EXP: NOW + 60} | claims):
            token = encode_token(KEY, head, given_claims)
            result = validated(token)
            assert len(result.rule_results) == len(RULES)
            if result.outcome is Outcome.ALLOW:
                assert all(
                    check(given_claims[n]) == given_claims[n] for n, check in c.CHECKS.items() if n in given_claims
                )


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_validation_of_signed_bytes_never_raises(header: bytes, payload: bytes) -> None:
    assert validated(encode_token(KEY, header or b" ", payload or b" ")).outcome is Outcome.DENY


@pytest.mark.parametrize(
    "value", ["1e999", "-1e999", "1" * 400, "1" * 4300, "1e-999", "0.1", "-0", "[" * 900 + "]" * 900]
)
@pytest.mark.parametrize("name", ["exp", "nbf", "iat", c.VIEWER_SESSION_VERSION, c.VIEWER_ID, c.ADS_PLAYER_PARAMS])
def test_validation_of_extreme_numbers_never_raises(name: str, value: str) -> None:
    payload = f'{{"aws:channel-arn":"{CHANNEL}","{name}":{value}}}'.encode()
    assert validated(encode_token(KEY, HEADER, payload)).outcome is Outcome.DENY


@given(st.floats(), st.integers(-(2**63), 2**63 - 1))
def test_validation_of_any_clock_and_expiry_never_raises(now: float, exp: int) -> None:
    token = with_claims(KEY, {c.EXP: exp})
    assert len(validate(PlaybackAttempt(token, now, CHANNEL, KEYS)).rule_results) == len(RULES)


def test_no_message_repeats_content_of_the_token() -> None:
    marks = {c.VIEWER_ID: "hunter2" * 7, c.ALLOW_ORIGIN: "hunter2", c.MAXIMUM_RESOLUTION: "hunter2", "nbf": "hunter2",
             c.CHANNEL_ARN: "hunter2", c.SINGLE_USE_UUID: "hunter2", c.ADS_REPORTING_MODE: "hunter2"}  # fmt: skip
    result = validated(with_claims(KEY, marks))
    assert sum(f.status is RuleStatus.FAIL for f in result.rule_results) >= 6
    assert not any("hunter2" in f.message for f in result.rule_results)
    assert "hunter2" not in result.message
