"""Finds the key of this deployment that signed a token, from the store's records; for `tokensvc tokens explain`.

Invariants
- Only public keys are read; neither the vault nor IVS is called.
- The store is optional: without settings, or if it cannot be opened, a token is validated without it.
- A signature by no known key proves nothing: others may have imported key pairs into the same account and region.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from tokensvc.aws.arn import AccountRegion
from tokensvc.cli.output import print_progress
from tokensvc.cli.remedies import failure_text
from tokensvc.container.service import open_configured_store
from tokensvc.errors import TokensvcError
from tokensvc.jose.keypair import PublicKey, read_public_der
from tokensvc.keys.lifecycle import KeyPlacement, KeyRecord
from tokensvc.settings import read_settings
from tokensvc.tokens.validation import PlaybackAttempt, RuleStatus, validate


class SigningKeyMatch(NamedTuple):
    """The key of this deployment that signed a token."""

    key_id: str
    key: PublicKey
    placement: KeyPlacement | None
    """The key in the channel's account and region; None if it was never imported there."""


def read_key_records() -> list[KeyRecord] | None:
    """The deployment's keys; None, with a line on standard error, if the store cannot be used."""
    try:
        store = open_configured_store(read_settings(os.environ))
        try:
            return store.keys.list()
        finally:
            store.close()
    except TokensvcError as problem:
        print_progress(f"The store's keys are not used: {failure_text(problem)}")
        return None


def find_signing_key(
    attempt: PlaybackAttempt, account_region: AccountRegion, records: Iterable[KeyRecord]
) -> SigningKeyMatch | None:
    """The key among these whose signature the token carries; None if none matches."""
    for record in records:
        key = read_public_der(record.public_der)
        results = validate(attempt._replace(keys=[key])).rule_results
        if any(r.rule == "signature" and r.status is RuleStatus.PASS for r in results):
            placement = next((p for p in record.placements if p.account_region == account_region), None)
            return SigningKeyMatch(record.id, key, placement)
    return None
