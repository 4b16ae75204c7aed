"""Viewer-session revocation: which session versions of a viewer can no longer play a channel.

Invariants
- Sources: API reference, StartViewerSessionRevocation and BatchStartViewerSessionRevocation; IVS user guide, "Start a
  Viewer Session Revocation".
- Viewer ids are stored as digests.
- What is stored is the history of the highest revoked version, since a revocation reaches the edge later than the API
  (`propagation.py`). It has one entry that is older than HISTORY_SECONDS at most.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from tokensvc.local_ivs.errors import BATCH_NOT_FOUND_CODE, IvsError
from tokensvc.local_ivs.rate_limits import RateLimit
from tokensvc.local_ivs.resource_store import Resource, ResourceTransaction
from tokensvc.local_ivs.transaction import Body, Handler, OperationCall
from tokensvc.tokens.validation import NOTHING_REVOKED

KIND = "viewer-session-revocation"
"""The kind under which revocations are stored, as children of their channel."""
DEFAULT_VERSION = 0
HISTORY_SECONDS = 600
"""How long an entry stays after a higher version was revoked; no propagation delay is longer."""
_HISTORY = "history"
"""The member that holds (version, time of its revocation), both ascending."""
ENTRY_FAULT_CODE = "InternalServerException"
"""INFERRED: A viewer in a batch of revocations that fails inside IVS has the error's name as its `code`."""


def start(call: OperationCall, request: Mapping[str, Any]) -> Body:
    """All session versions of the viewer up to the given one, by default 0, are revoked on the channel.

    INFERRED: A revocation takes effect after the propagation delay, lasts as long as the channel, and does not require
    that the viewer was seen before.

    INFERRED: The highest version that was revoked counts: a later revocation of a lower version undoes nothing.
    """
    channel = call.require(request["channelArn"], "channel")
    version = request.get("viewerSessionVersionsLessThanOrEqualTo", DEFAULT_VERSION)
    key = _key(channel.arn, request["viewerId"])
    before = call.transaction.get(key)
    history: list[list[float]] = before.body[_HISTORY] if before else []
    if not history or history[-1][0] < version:
        settled = [entry for entry in history if entry[1] <= call.now - HISTORY_SECONDS]
        history = [*history[max(len(settled) - 1, 0) :], [version, call.now]]
        call.transaction.put(Resource(key, call.account_region, KIND, channel.arn, "", {_HISTORY: history}, call.now))
    return {}


def start_batch(call: OperationCall, request: Mapping[str, Any]) -> Body:
    """Entries are independent: one whose channel does not exist becomes an entry of `errors`, and the others succeed.

    So does one to which an injected fault applies.

    INFERRED: The response to a batch of revocations has no `errors` if every entry succeeds.
    """
    errors: list[Body] = []
    for entry in request["viewerSessions"]:
        session = {"channelArn": entry["channelArn"], "viewerId": entry["viewerId"]}
        if call.entry_fails():
            errors.append({**session, "code": ENTRY_FAULT_CODE, "message": "Internal failure (an injected fault)"})
            continue
        try:
            start(call, entry)
        except IvsError as error:
            errors.append({**session, "code": BATCH_NOT_FOUND_CODE, "message": error.message})
    return {"errors": errors or None}


def revoked_version(transaction: ResourceTransaction, channel_arn: str, viewer_id: str, until: float) -> int:
    """The highest session version of a viewer of a channel that was revoked up to this time, or NOTHING_REVOKED."""
    found = transaction.get(_key(channel_arn, viewer_id))
    if found is None:
        return NOTHING_REVOKED
    return next((version for version, at in reversed(found.body[_HISTORY]) if at <= until), NOTHING_REVOKED)


def _key(channel_arn: str, viewer_id: str) -> str:
    return f"{channel_arn}/{KIND}/{hashlib.sha256(viewer_id.encode(errors='surrogatepass')).hexdigest()}"


HANDLERS: Mapping[str, Handler] = {
    "StartViewerSessionRevocation": Handler(start, writes=True, rate_limits=(RateLimit(10),)),
    "BatchStartViewerSessionRevocation": Handler(start_batch, writes=True, rate_limits=(RateLimit(2),)),
}
