"""What the store of this deployment knows about a token, for `tokensvc tokens explain`: who signed it, whom it denies.

Invariants
- Only public keys are read; neither the vault nor IVS is called, and nothing is written.
- The store is optional, and opened when a fact of it is needed: without settings, or if it cannot be opened, a token is
  explained without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from tokensvc.aws.arn import AccountRegion, parse_arn
from tokensvc.callers.policy import ALL_CHANNELS
from tokensvc.cli.output import print_progress
from tokensvc.cli.remedies import failure_text
from tokensvc.container.store import open_configured_store
from tokensvc.errors import TokensvcError
from tokensvc.jose.keypair import read_public_der
from tokensvc.keys.lifecycle import KeyRecord
from tokensvc.settings import read_settings
from tokensvc.settings_file import CONFIG_VARIABLE
from tokensvc.storage.denials import read_rows
from tokensvc.storage.engine import read_transaction
from tokensvc.storage.store import Store
from tokensvc.tokens.denylist import ViewerRestriction, viewer_digest
from tokensvc.tokens.explanation import DeploymentFacts, KnownKey

_NO_KEYS = "the public keys imported in IVS are unknown here: pass --public-key, or set the deployment's settings"
_MAY_NAME_A_STORE = {"TOKENSVC_DATABASE_URL", "TOKENSVC_DATABASE_URL_FILE", CONFIG_VARIABLE}
_NOT_OURS = "not signed by a key of this deployment: pass --public-key for key pairs that others imported"


class StoreFacts:
    """The facts of the store that the settings name, read when they are needed."""

    def __init__(self) -> None:
        self._store: Store | None = None
        self._records: list[KeyRecord] = []
        self._tried = False

    def facts(self) -> DeploymentFacts:
        """What the store knows."""
        return DeploymentFacts(self._keys, self._restriction, _NO_KEYS, _NOT_OURS)

    def no_facts(self) -> DeploymentFacts:
        """Those of somebody who does not ask the store."""
        return DeploymentFacts(no_keys_message=_NO_KEYS, not_ours_message=_NOT_OURS)

    def close(self) -> None:
        """Close the store if it was opened."""
        if self._store is not None:
            self._store.close()

    def _keys(self, account_region: AccountRegion) -> Iterable[KnownKey] | None:
        if self._open() is None:
            return None
        return [_known_key(record, account_region) for record in self._records]

    def _restriction(self, channel_arn: str, viewer_id: str) -> ViewerRestriction | None:
        store, served = self._open(), parse_arn(channel_arn, "channel").account_region
        if store is None or not any(p.account_region == served for r in self._records for p in r.placements):
            return None  # another deployment's channel, or none at all
        own, everywhere = (viewer_digest(channel, viewer_id) for channel in (channel_arn, ALL_CHANNELS))
        with read_transaction(store.engine) as connection:
            rows = read_rows(connection, [own, everywhere])
        found = {digest: row.restriction for digest, row in rows.items()}
        return found.get(own, ViewerRestriction()).including(found.get(everywhere, ViewerRestriction()))

    def _open(self) -> Store | None:
        """The store; None, with one line on standard error, if it cannot be used."""
        if self._tried or not _MAY_NAME_A_STORE & os.environ.keys():
            return self._store
        self._tried = True
        try:
            store = open_configured_store(read_settings(os.environ))
            try:
                self._records = store.keys.list()
            except BaseException:
                store.close()
                raise
            self._store = store
        except TokensvcError as problem:
            print_progress(f"The store's keys are not used: {failure_text(problem)}")
        return self._store


def _known_key(record: KeyRecord, account_region: AccountRegion) -> KnownKey:
    placement = next((p for p in record.placements if p.account_region == account_region), None)
    state = placement.state.value if placement is not None else ""
    return KnownKey(
        record.id, read_public_der(record.public_der), state, placement is not None and placement.is_imported
    )
