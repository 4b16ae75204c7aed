"""The events that IVS would send to EventBridge, in EventBridge's form, in a bounded log.

Invariants
- Form and names: IVS user guide, "Using Amazon EventBridge with Amazon IVS". The envelope is EventBridge's version "0".
- An event is written in the transaction of the change that it reports, so a change that is rolled back is not reported.
  IVS delivers "best effort", so events may be lost, late or out of order; here they never are.
- The log keeps the newest MAX_STORED_EVENTS of all accounts and regions together. Event numbers increase, may have
  gaps, and are never reused; a reader asks for the events after a number.
- No event contains a stream key, a passphrase or metadata.
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
"""Our own limit: enough for a long test, and for any reader to keep up with."""

_SOURCE = "aws.ivs"
_LOG = AccountRegion("", "")
"""Where the log is stored: in no account and no region, so that no operation can find it."""
_KIND = "event"


class NumberedEvent(NamedTuple):
    """An event and its number in the log."""

    number: int
    event: Mapping[str, Any]


def append(
    context: TxContext,
    account_region: AccountRegion,
    detail_type: str,
    channel_arn: str,
    detail: Mapping[str, Any],
    *,
    max_events: int = MAX_STORED_EVENTS,
) -> None:
    """Add an event. `channel_arn` is "" if it concerns the whole account."""
    event = {
        "version": "0",
        "id": _uuid(context),
        "detail-type": detail_type,
        "source": _SOURCE,
        "account": account_region.account,
        "time": rfc3339(int(context.now)),
        "region": account_region.region,
        "resources": [channel_arn] if channel_arn else [],
        "detail": dict(detail),
    }
    context.transaction.put(Resource(f"{_KIND}/{event['id']}", _LOG, _KIND, "", "", event, context.now))
    surplus = context.transaction.count(_LOG, _KIND) - max_events
    if surplus > 0:
        for _, old in context.transaction.page(_LOG, _KIND, after=0, limit=surplus):
            context.transaction.delete(old.arn)


def events_after(transaction: ResourceTransaction, number: int, limit: int) -> list[NumberedEvent]:
    """The events that follow a number, oldest first."""
    found = transaction.page(_LOG, _KIND, after=number, limit=limit)
    return [NumberedEvent(number, resource.body) for number, resource in found]


def newest_number(transaction: ResourceTransaction) -> int:
    """The number of the newest event; 0 if there is none."""
    found = transaction.page(_LOG, _KIND, after=0, limit=1, newest_first=True)
    return found[0][0] if found else 0


def _uuid(context: TxContext) -> str:
    """A random UUID, version 4."""
    digits = context.random_string("0123456789abcdef", 32)
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
