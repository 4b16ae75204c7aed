"""The keyring: a key signs in its own account and region, and errors say what to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tokens import CHANNEL, NOW, Prepared, keyring_of
from tokensvc.aws.arn import AccountRegion
from tokensvc.errors import Action, InvalidRequest, NoSigningKey, Remedy
from tokensvc.jose.keypair import PrivateKey
from tokensvc.tokens.keyring import EMPTY_KEYRING, Keyring, RegionKeys, SigningKey, retiring_key_not_after

ELSEWHERE = (AccountRegion("123456789012", "eu-west-1"), AccountRegion("999999999999", "us-east-1"))


def test_the_active_key_of_the_account_and_region_signs(private_key: PrivateKey) -> None:
    assert keyring_of(private_key).signing_key(CHANNEL.account_region, NOW).key_id == "k1"


@pytest.mark.parametrize("account_region", ELSEWHERE)
def test_a_key_never_signs_in_another_region_or_account(private_key: PrivateKey, account_region: AccountRegion) -> None:
    with pytest.raises(InvalidRequest) as refused:
        keyring_of(private_key).signing_key(account_region, NOW)
    assert [e.field for e in refused.value.errors] == ["channelArn"]
    assert account_region.account in refused.value.message
    assert account_region.region in refused.value.message


def test_without_any_key_the_error_names_the_remedy() -> None:
    with pytest.raises(NoSigningKey) as refused:
        EMPTY_KEYRING.signing_key(CHANNEL.account_region, NOW)
    assert refused.value.remedy == Remedy(Action.GENERATE_KEY)


def test_a_region_without_an_active_key_cannot_sign(private_key: PrivateKey) -> None:
    keyring = Keyring({CHANNEL.account_region: RegionKeys(None, {"k1": private_key.public_key()})})
    with pytest.raises(NoSigningKey, match="no key is active in account 123456789012, region us-east-1"):
        keyring.signing_key(CHANNEL.account_region, NOW)


def test_the_problem_of_a_region_is_reported() -> None:
    keyring = Keyring(
        {CHANNEL.account_region: RegionKeys(None, {}, problem="this worker cannot decrypt the active key k1")}
    )
    with pytest.raises(NoSigningKey, match="cannot decrypt the active key k1"):
        keyring.signing_key(CHANNEL.account_region, NOW)


def test_a_problem_in_one_region_does_not_affect_another(private_key: PrivateKey) -> None:
    keyring = Keyring({**keyring_of(private_key).region_keys, ELSEWHERE[0]: RegionKeys(None, {}, problem="x")})
    assert keyring.signing_key(CHANNEL.account_region, NOW).key_id == "k1"


def test_a_key_does_not_sign_after_its_limit() -> None:
    key = SigningKey("k1", Prepared(lambda data: data), 600, not_after=float(NOW))
    keyring = Keyring(
        {CHANNEL.account_region: RegionKeys(key, {}, problem="this worker cannot decrypt the active key k2")}
    )
    assert keyring.signing_key(CHANNEL.account_region, NOW) is key
    with pytest.raises(NoSigningKey, match="cannot decrypt the active key k2"):
        keyring.signing_key(CHANNEL.account_region, NOW + 0.001)


SECONDS = st.integers(0, 86_400)


@given(
    max_staleness=st.integers(10, 90_000), skew=st.integers(0, 10), life=SECONDS, longer=SECONDS, error=st.floats(-1, 1)
)
def test_tokens_of_a_retiring_key_expire_before_its_pair_may_be_deleted(
    max_staleness: int, skew: int, life: int, longer: int, error: float
) -> None:
    """For every token lifetime up to the longest, and every clock that is off by at most the skew."""
    retiring_at = datetime.fromtimestamp(NOW, UTC)
    deleted_at = retiring_at + timedelta(seconds=max_staleness + (life + longer) + skew)
    signed_at = retiring_key_not_after(retiring_at, max_staleness, skew) + error * skew  # by the store's clock
    assert signed_at + life + skew <= deleted_at.timestamp()
