"""What the store knows of the deployment's key pairs: their public halves and their state in each place.

Every method may raise StoreUnavailable, and then nothing was acknowledged, or SchemaMismatch.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from tokensvc.aws.arn import AccountRegion
from tokensvc.keys.lifecycle import KeyPlacement, KeyRecord


class KeyStore(Protocol):
    """Records of key pairs. Each change raises the `keys` version in its own transaction."""

    def add(
        self, key_id: str, fingerprint: str, public_der: bytes, created_at: datetime, longest_ttl_seconds: int = 0
    ) -> KeyRecord:
        """Record a new key pair, in no place yet; `longest_ttl_seconds` of tokens that others minted with it count in
        every place. Doing it again changes nothing but that, which is only ever raised.

        Raises Conflict when the id or the public half is another's.
        """
        ...

    def list(self) -> list[KeyRecord]:
        """All records, oldest first."""
        ...

    def record_import(
        self,
        key_id: str,
        account_region: AccountRegion,
        arn: str,
        at: datetime,
        *,
        fingerprint_differs: bool = False,
        may_have_signed: bool = False,
    ) -> KeyRecord:
        """Note that IVS holds the key pair in that place: it is prepared there, or compromised when the key is.

        `may_have_signed`: this may be an import that a restored store has forgotten, so the longest life is raised to
        the deployment's ceiling, and the drain counts from `at`.
        Doing it again with the same ARN changes nothing, whatever the key is there by now. Where IVS held the key and
        no longer does, another ARN is an import that came about too late: it is noted as about to be deleted. Any other
        second ARN for a place, or an ARN that another key has, raises ConcurrentModification. Raises KeyNotFound.
        """
        ...

    def activate(
        self,
        key_id: str,
        account_region: AccountRegion,
        at: datetime,
        longest_ttl_seconds: int,
        *,
        retiring_since: datetime | None = None,
        temporary: bool = False,
    ) -> KeyRecord:
        """Make this prepared key the active one of the place; the one that was active is retiring from then on.

        With `retiring_since` it may also be one that retires since exactly then, as whoever decided it saw; as
        `temporary`, it is to be replaced as soon as another can sign.

        One transaction. The key's longest life becomes the greatest of what it was, `longest_ttl_seconds` and the
        deployment's ceiling, which may have been raised since the caller read it. Doing it again changes nothing but
        that. Raises ConcurrentModification when the key is anything else there, or is being deleted; KeyNotFound.
        """
        ...

    def start_deletion(self, placement: KeyPlacement, at: datetime) -> KeyRecord:
        """Note that the pair is about to be deleted: from then on it cannot become active. Again changes nothing.

        `placement` is what the decision was made on. Raises ConcurrentModification when the key is active there by now, or
        is retiring and was not, or its drain has begun anew since: its tokens live longer than was thought. Also when
        it was never known to be there. Raises KeyNotFound.
        """
        ...

    def record_deletion(
        self, key_id: str, account_region: AccountRegion, at: datetime, *, others_may_have_signed: bool = False
    ) -> KeyRecord:
        """Note that IVS no longer holds this pair there: it is retired, or stays compromised. Again changes nothing.

        With `others_may_have_signed`, drains and longest lives there change as by `record_absence`. Raises
        ConcurrentModification when the key is active there, or was never known to be there; KeyNotFound.
        """
        ...

    def record_absence(
        self,
        placement: KeyPlacement,
        at: datetime,
        propagation_seconds: float,
        *,
        unable: Collection[str] = frozenset(),
    ) -> KeyRecord:
        """Note that IVS is proven not to hold this pair: it is retired, or stays compromised, and never signs again.

        One transaction: where the key was active, the best key that IVS holds there takes over, as after a compromise;
        keys that are `unable` to sign never do. That IVS lost the active key shows that something happened which the
        store does not know of, so any other key there may have signed meanwhile: the drain of each retiring key starts
        anew, that of each prepared key starts, and each longest life is raised as `activate` does. Doing it again
        changes nothing. Raises ConcurrentModification when another pair is recorded there by now, or none ever was;
        KeyNotFound.
        """
        ...

    def compromise(
        self,
        key_id: str,
        at: datetime,
        propagation_seconds: float,
        *,
        include_standby: bool,
        unable: Collection[str] = frozenset(),
        others_may_have_signed: bool = False,
    ) -> KeyRecord:
        """Never sign with this key again, anywhere.

        One transaction: in each place the key becomes compromised, and where it was active the best key that IVS
        already holds there takes over (`lifecycle.successor`), with its longest life raised as `activate` does. With
        `include_standby` every other key that has never signed is compromised too, before a successor is chosen. Keys
        that are `unable` to sign never take over. With `others_may_have_signed`, since the store was restored from
        before the compromise, drains and longest lives change as by `record_absence` wherever the key was.
        Doing it again changes nothing. Raises KeyNotFound.
        """
        ...

    def discard(self, key_id: str) -> None:
        """Forget a record that is in no place; nothing happens when there is none.

        Raises ConcurrentModification when it is, or was, in one.
        """
        ...
