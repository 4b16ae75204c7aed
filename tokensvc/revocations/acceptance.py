"""Accepts revocations: checks them, and stores them durably.

Invariants
- Durable first: `accept_revocations` returns once the store has committed; delivery (`revocations/dispatcher.py`) then
  needs nothing else.
- A channel's region is untrusted input, and each region costs threads, a lease and an IVS client: revocations for a
  region that this deployment does not serve are not accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tokensvc.audit.record import AuditEvent
from tokensvc.aws.arn import AccountRegion, parse_arn
from tokensvc.callers.policy import Caller
from tokensvc.deployment.record import DeploymentStore
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.keys.store import KeyStore
from tokensvc.revocations.model import Priority
from tokensvc.revocations.store import AcceptedRevocation, IdempotencyKey, NewRevocation, RevocationStore
from tokensvc.tokens import claims
from tokensvc.tokens.denylist import MAX_SESSION_VERSION
from tokensvc.tokens.viewer_ids import check_viewer_id

TARGETS_MAX = 5000
"""Pairs of viewer and channel in one request: what the store writes in one transaction well within its timeout."""


def accept_revocations(
    store: RevocationStore,
    caller: Caller,
    revocations: Sequence[NewRevocation],
    now: float,
    max_staleness_seconds: float,
    is_served: IsServed,
    idempotency: IdempotencyKey | None = None,
    *,
    events: Sequence[AuditEvent],
) -> list[AcceptedRevocation]:
    """Store a caller's revocations durably. A single one has priority INTERACTIVE, several have BULK.
    `events` are recorded in the same transaction.

    Raises InvalidRequest naming each bad field, ChannelNotAllowed or IdempotencyKeyReused.
    """
    check_revocations(caller, revocations, now, is_served)
    priority = Priority.INTERACTIVE if len(revocations) == 1 else Priority.BULK
    return store.accept(caller.name, revocations, priority, max_staleness_seconds, idempotency, events=events)


def check_revocations(caller: Caller, revocations: Sequence[NewRevocation], now: float, is_served: IsServed) -> None:
    """Validate as `accept_revocations` does, without writing. Raises InvalidRequest or ChannelNotAllowed."""
    if not revocations:
        raise InvalidRequest([FieldError("revocations", "must not be empty")])
    paths = [""] if len(revocations) == 1 else [f"revocations[{number}]." for number in range(len(revocations))]
    if errors := [
        error for revocation, path in zip(revocations, paths, strict=True) for error in _errors(revocation, now, path)
    ]:
        raise InvalidRequest(errors)
    if sum(len(revocation.channel_arns) * len(revocation.viewer_ids) for revocation in revocations) > TARGETS_MAX:
        raise InvalidRequest([], f"a request may revoke at most {TARGETS_MAX} pairs of viewer and channel")
    caller.require_channels(channel for revocation in revocations for channel in revocation.channel_arns)
    errors = [
        error._replace(field=f"{path}{error.field}")
        for revocation, path in zip(revocations, paths, strict=True)
        for error in unserved_channel_errors(revocation.channel_arns, is_served)
    ]
    if errors:
        raise InvalidRequest(errors)


IsServed = Callable[[AccountRegion], bool]
"""Whether this deployment serves an account and region. Raises StoreError."""


class ServedRegions:
    """The accounts and regions that this deployment serves: those of its keys in any state, and the configured regions
    in its own account."""

    def __init__(self, keys: KeyStore, deployment: DeploymentStore, configured: Callable[[], Sequence[str]]) -> None:
        """`configured` returns the configured regions; it is called only for a region that has no key."""
        self._keys = keys
        self._deployment = deployment
        self._configured = configured
        self._known: frozenset[AccountRegion] = frozenset()

    def checker(self) -> IsServed:
        """A predicate for one request or one run of a task. It reads the keys, and then the deployment, at most once,
        and only for a region that is not known yet.

        A region that was once served stays known: its viewers may be revoked after its keys are deleted.
        """
        account_independent: Sequence[str] | None = None
        has_read_keys = False

        def is_served(account_region: AccountRegion) -> bool:
            nonlocal account_independent, has_read_keys
            if account_region in self._known:
                return True
            if not has_read_keys:
                self._read_keys()
                has_read_keys = True
                if account_region in self._known:
                    return True
            if account_independent is None:
                account_independent = self._read_configured()
            return account_region in self._known or account_region.region in account_independent

        return is_served

    def _read_keys(self) -> None:
        self._known |= {there.account_region for record in self._keys.list() for there in record.placements}

    def _read_configured(self) -> Sequence[str]:
        """Read the configured regions. Returns those that count for every account: none once the account is known."""
        account, configured = self._deployment.read().account, self._configured()
        if account is None:
            return configured
        self._known |= {AccountRegion(account, region) for region in configured}
        return ()


def unserved_channel_errors(channel_arns: Sequence[str], is_served: IsServed) -> list[FieldError]:
    """An error for each account and region of these channels that this deployment does not serve."""
    account_regions = dict.fromkeys(parse_arn(arn, "channel").account_region for arn in channel_arns)
    return [
        FieldError("channelArns", f"no signing key is configured for account {found.account}, region {found.region}")
        for found in account_regions
        if not is_served(found)
    ]


def _errors(revocation: NewRevocation, now: float, path: str) -> list[FieldError]:
    """The errors in one revocation, with fields as JSON names them."""
    errors = []
    for name, values, check in (
        ("channelArns", revocation.channel_arns, claims.check_channel_arn),
        ("viewerIds", revocation.viewer_ids, check_viewer_id),
    ):
        if not values:
            errors.append(FieldError(f"{path}{name}", "must not be empty"))
        for value in values:
            try:
                check(value)
            except ValueError as error:
                errors.append(FieldError(f"{path}{name}", str(error)))
    if revocation.issued_before is not None and not 0 <= revocation.issued_before <= now:
        errors.append(FieldError(f"{path}issuedBefore", "must not be in the future or before 1970"))
    if revocation.deny_seconds is not None and not 0 <= revocation.deny_seconds <= MAX_SESSION_VERSION - now:
        errors.append(FieldError(f"{path}denySeconds", "must be at least 0 and end before 2038"))
    return errors
