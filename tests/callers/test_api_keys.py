"""API keys: which `Authorization` headers identify a caller."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clocks import ManualClock
from tokensvc.callers.api_keys import KnownSecret, authenticate, key_digest, key_id_of
from tokensvc.callers.policy import Caller, CallerPolicy
from tokensvc.errors import Unauthenticated

CLOCK = ManualClock()
POLICY = CallerPolicy(channels=("*",))
GOOD = "tsk_abc123_Sec_ret-of-this_key"
OLD = "tsk_old456_another"
SECRETS = {
    "abc123": KnownSecret(key_digest(GOOD), None, Caller("shop", POLICY)),
    "old456": KnownSecret(key_digest(OLD), CLOCK.at() + timedelta(seconds=60), Caller("shop", POLICY)),
}


@pytest.mark.parametrize("header", [f"Bearer {GOOD}", f"bearer {GOOD}", f"BEARER {GOOD}"])
def test_a_known_key_identifies_its_caller(header: str) -> None:
    assert authenticate(header, SECRETS, CLOCK.now()) == Caller("shop", POLICY)


WRONG = [
    "",
    "Bearer",
    "Bearer ",
    GOOD,
    f"Basic {GOOD}",
    f"Bearer  {GOOD}",
    f"Bearer {GOOD} ",
    f"Bearer {GOOD}x",
    f"Bearer {GOOD[:-1]}",
    "Bearer tsk_abc123_wrong",
    "Bearer tsk_abc123_",
    "Bearer tsk_abc123",
    "Bearer tsk__",
    "Bearer tsk_nobody_secret",
    f"Bearer xxx{GOOD[3:]}",
    f"Bearer {GOOD.upper()}",
    "Bearer tsk_old456_Sec_ret-of-this_key",
    "Bearer \xff\xfe",
]


@pytest.mark.parametrize("header", WRONG)
def test_every_other_header_gets_the_same_error(header: str) -> None:
    """Somebody who guesses keys must not learn which part was wrong."""
    with pytest.raises(Unauthenticated) as raised:
        authenticate(header, SECRETS, CLOCK.now())
    assert raised.value.message == "API key missing, unknown, expired or disabled"


@given(st.text())
def test_any_text_is_rejected_without_another_error(text: str) -> None:
    with pytest.raises(Unauthenticated):
        authenticate(text, SECRETS, CLOCK.now())


@given(st.binary())
def test_any_bytes_are_rejected_without_another_error(raw: bytes) -> None:
    with pytest.raises(Unauthenticated):
        authenticate(f"Bearer tsk_abc123_{raw.decode('latin-1')}", SECRETS, CLOCK.now())


def test_a_replaced_key_works_until_it_expires() -> None:
    assert authenticate(f"Bearer {OLD}", SECRETS, CLOCK.now() + 59.9).name == "shop"
    with pytest.raises(Unauthenticated, match="API key missing, unknown, expired or disabled"):
        authenticate(f"Bearer {OLD}", SECRETS, CLOCK.now() + 60)


def test_the_key_id_is_the_middle_part() -> None:
    assert key_id_of("tsk_abc_s_e_c") == "abc"
    assert key_id_of("tsk_abc") == key_id_of("abc_abc_abc") == key_id_of("") == ""


@pytest.mark.parametrize(
    ("header", "reason", "key_id", "caller"),
    [
        ("", "missing", "", ""),
        ("Bearer tsk_nobody_secret", "unknown", "nobody", ""),
        ("Bearer tsk_abc123_wrong", "unknown", "abc123", ""),
        ("Bearer tsk_{a password}_secret", "unknown", "", ""),
        (f"Bearer {OLD}", "expired", "old456", "shop"),
        ("Bearer tsk_gone_secret", "disabled", "gone", "former"),
    ],
)
def test_operators_learn_which_check_failed(header: str, reason: str, key_id: str, caller: str) -> None:
    """The caller's name only where the whole key was right."""
    gone = KnownSecret(key_digest("tsk_gone_secret"), None, Caller("former", POLICY), disabled=True)
    with pytest.raises(Unauthenticated) as raised:
        authenticate(header, {**SECRETS, "gone": gone}, CLOCK.now() + 60)
    error = raised.value
    assert (error.reason, error.key_id, error.caller) == (reason, key_id, caller)
