"""What EventBridge would be told: events in its own form, in a log that is bounded.

Rules of the file
- Form and names: IVS user guide, "Using Amazon EventBridge with Amazon IVS". The envelope is EventBridge's version "0".
- An event is written with what it tells of, in one transaction: a change that is undone was never told. IVS's own
  delivery is "best effort" - lost, late or out of order at times; here it is none of that.
- The log keeps the newest MAX_STORED_EVENTS of all accounts and regions together. A number is never given twice, grows, and
  may leave gaps; whoever reads says after which.
- No event holds a stream key, a passphrase or metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs.resource_store import Resource, ResourceTransaction
from tokensvc.local_ivs.transaction import TxContext
from tokensvc.timestamps import rfc3339

STREAM_STATE = "IVS Stream State Change"
STREAM_HEALTH = "IVS Stream Health Change"
LIMIT_BREACH = "IVS Limit Breach"
RECORDING_STATE = "IVS Recording State Change"
AD_BREAK_STATE = "IVS Ad Break State Change"

MAX_STORED_EVENTS = 5000
"""Ours: enough for a long test; no reader is so far behind."""

_SOURCE = "aws.ivs"
_LOG = AccountRegion("", "")
"""Where the log lies: in no account and no region, so that no operation ever finds it."""
_KIND = "event"


class NumberedEvent(NamedTuple):
    """An event and its number in the log."""

    number: int
    event: Mapping[str, Any]


def append(
    moment: TxContext,
    account_region: AccountRegion,
    detail_type: str,
    channel_arn: str,
    detail: Mapping[str, Any],
    *,
    kept: int = MAX_STORED_EVENTS,
) -> None:
    """Add one; what concerns an account as a whole names no channel."""
    event = {
        "version": "0",
        "id": _uuid(moment),
        "detail-type": detail_type,
        "source": _SOURCE,
        "account": account_region.account,
        "time": rfc3339(int(moment.now)),
        "region": account_region.region,
        "resources": [channel_arn] if channel_arn else [],
        "detail": dict(detail),
    }
    moment.transaction.put(Resource(f"{_KIND}/{event['id']}", _LOG, _KIND, "", "", event, moment.now))
    surplus = moment.transaction.count(_LOG, _KIND) - kept
    if surplus > 0:
        for _, old in moment.transaction.page(_LOG, _KIND, after=0, limit=surplus):
            moment.transaction.delete(old.arn)


def events_after(transaction: ResourceTransaction, number: int, limit: int) -> list[NumberedEvent]:
    """The events that follow a number, oldest first."""
    found = transaction.page(_LOG, _KIND, after=number, limit=limit)
    return [NumberedEvent(number, resource.body) for number, resource in found]


def newest_number(transaction: ResourceTransaction) -> int:
    """The number of the newest event; 0 where there is none."""
    found = transaction.page(_LOG, _KIND, after=0, limit=1, newest_first=True)
    return found[0][0] if found else 0


def _uuid(moment: TxContext) -> str:
    """A random UUID, version 4."""
    digits = moment.token("0123456789abcdef", 32)
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
