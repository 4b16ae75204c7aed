"""Viewer-session revocation: which session versions of a viewer may play a channel no more.

Rules of the file
- API reference, StartViewerSessionRevocation and BatchStartViewerSessionRevocation; IVS user guide, "Start a Viewer
  Session Revocation". All versions less than or equal to the given one are revoked; without one, 0.
- Per channel and viewer the highest version stays: a lower one later takes nothing back (INFERRED).
- INFERRED: it lasts as long as the channel, holds at once, and a viewer need not have been seen before. It also refuses
  new tokens of a revoked version, for what is revoked is a version, not a token.
- In a batch each entry stands alone; one for a channel that is not there becomes an entry of `errors`, and so does one
  that goes wrong on request.
- Viewer ids are kept as digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from tokensvc.local_ivs.errors import BATCH_NOT_FOUND_CODE, IvsError
from tokensvc.local_ivs.resource_store import Resource, ResourceTransaction
from tokensvc.local_ivs.transaction import Body, OperationCall, Handler
from tokensvc.tokens.validation import NOTHING_REVOKED

KIND = "viewer-session-revocation"
DEFAULT_VERSION = 0
FAILED_CODE = "InternalServerException"
"""INFERRED, like BATCH_NOT_FOUND_CODE: an entry's `code` for a failure of IVS itself."""


def start(call: OperationCall, request: Mapping[str, Any]) -> Body:
    """Revoke for one viewer of one channel."""
    channel = call.existing(request["channelArn"], "channel")
    version = request.get("viewerSessionVersionsLessThanOrEqualTo", DEFAULT_VERSION)
    name = _name(channel.arn, request["viewerId"])
    before = call.transaction.get(name)
    if before is None or before.body["version"] < version:
        body = {"version": version, "revokedAt": call.now}
        call.transaction.put(Resource(name, call.account_region, KIND, channel.arn, "", body, call.now))
    return {}


def start_batch(call: OperationCall, request: Mapping[str, Any]) -> Body:
    """Revoke for each of several; `errors` is absent when there is none."""
    errors: list[Body] = []
    for entry in request["viewerSessions"]:
        who = {"channelArn": entry["channelArn"], "viewerId": entry["viewerId"]}
        if call.entry_fails():
            errors.append({**who, "code": FAILED_CODE, "message": "Internal failure; it was asked for"})
            continue
        try:
            start(call, entry)
        except IvsError as missing:
            errors.append({**who, "code": BATCH_NOT_FOUND_CODE, "message": missing.message})
    return {"errors": errors or None}


def revoked_version(transaction: ResourceTransaction, channel_arn: str, viewer_id: str) -> int:
    """The highest version that is revoked for a viewer of a channel."""
    found = transaction.get(_name(channel_arn, viewer_id))
    return int(found.body["version"]) if found else NOTHING_REVOKED


def _name(channel_arn: str, viewer_id: str) -> str:
    return f"{channel_arn}/{KIND}/{hashlib.sha256(viewer_id.encode(errors='surrogatepass')).hexdigest()}"


HANDLERS: Mapping[str, Handler] = {
    "StartViewerSessionRevocation": Handler(start, writes=True),
    "BatchStartViewerSessionRevocation": Handler(start_batch, writes=True),
}
