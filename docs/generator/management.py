"""The reference of the local IVS's management listener, from its operations, models and limits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from docs.generator.fields import fields, request_table
from docs.generator.markdown import anchor, code, table, unwrap
from tokensvc.local_ivs.faults import FaultKind
from tokensvc.local_ivs.http.event_log import KEEPALIVE_SECONDS, MAX_PAGE_SIZE, PAGE_SIZE
from tokensvc.local_ivs.http.management import BODY_MAX_BYTES, OPERATIONS, ManagementOperation
from tokensvc.local_ivs.streams import events

_CHANNEL = "'$CHANNEL'"
EXAMPLES: Mapping[str, tuple[str, Any]] = {
    "GET /": (
        "curl -s $MANAGEMENT/",
        {
            "description": "The management listener of tokensvc's local IVS. This is not AWS.",
            "now": "2026-11-21T10:00:00Z",
            "clockOffsetSeconds": 0.0,
        },
    ),
    "POST /clock": (
        "curl -s $MANAGEMENT/clock -d '{\"advanceSeconds\": 60}'",
        {
            "description": "The management listener of tokensvc's local IVS. This is not AWS.",
            "now": "2026-11-21T10:01:00Z",
            "clockOffsetSeconds": 60.0,
        },
    ),
    "POST /streams/start": (
        f'curl -s $MANAGEMENT/streams/start -d \'{{"channelArn": "{_CHANNEL}"}}\'',
        {"streamId": "st-1NbnQVcB0yXgL7kTqWmZ3a"},
    ),
    "POST /streams/stop": (f'curl -s $MANAGEMENT/streams/stop -d \'{{"channelArn": "{_CHANNEL}"}}\'', None),
    "POST /streams/health": (
        f'curl -s $MANAGEMENT/streams/health -d \'{{"channelArn": "{_CHANNEL}", "health": "STARVING"}}\'',
        None,
    ),
    "POST /streams/ingest": (
        (
            f'curl -s $MANAGEMENT/streams/ingest -d \'{{"channelArn": "{_CHANNEL}", "ingestConfigurations": {{'
            '"videoConfigurations": [{"videoHeight": 720, "videoWidth": 1280, "targetFramerate": 30}], '
            '"audioConfigurations": [{"channels": 2}]}}\''
        ),
        None,
    ),
    "POST /streams/viewers": (
        f'curl -s $MANAGEMENT/streams/viewers -d \'{{"channelArn": "{_CHANNEL}", "count": 1500}}\'',
        None,
    ),
    "GET /sessions": (
        'curl -s "$MANAGEMENT/sessions?maxResults=1"',
        {
            "sessions": [
                {
                    "sessionId": "Zx81bQVcB0yXgL7kTqWmZ3aPq4RsT5uV",
                    "channelArn": "arn:aws:ivs:us-east-1:000000000000:channel/abcdefghijkl",
                    "streamId": "st-1NbnQVcB0yXgL7kTqWmZ3a",
                    "viewerId": "viewer-1",
                    "viewerSessionVersion": 1764000000,
                    "maximumResolution": None,
                    "allowedOrigins": ["https://shop.example"],
                    "strictOriginEnforcement": False,
                    "adsOptOut": False,
                    "mediaId": "ready-made",
                    "startedAt": "2026-11-21T10:00:00Z",
                    "lastSeenAt": "2026-11-21T10:05:00Z",
                }
            ],
            "nextToken": None,
        },
    ),
    "DELETE /sessions/{sessionId}": ("curl -s -X DELETE $MANAGEMENT/sessions/Zx81bQVcB0yXgL7kTqWmZ3aPq4RsT5uV", None),
    "GET /events": (
        'curl -s "$MANAGEMENT/events?after=0&maxResults=1"',
        {
            "events": [
                {
                    "number": 1,
                    "event": {
                        "version": "0",
                        "id": "b2a6c1f0-3f0e-4c8a-9d52-7f6f6f1f2a10",
                        "detail-type": events.STREAM_STATE,
                        "source": "aws.ivs",
                        "account": "000000000000",
                        "time": "2026-11-21T10:00:00Z",
                        "region": "us-east-1",
                        "resources": ["arn:aws:ivs:us-east-1:000000000000:channel/abcdefghijkl"],
                        "detail": {
                            "event_name": "Stream Start",
                            "channel_name": "demo",
                            "stream_id": "st-1NbnQVcB0yXgL7kTqWmZ3a",
                        },
                    },
                }
            ]
        },
    ),
    "GET /faults": ("curl -s $MANAGEMENT/faults", {"faults": []}),
    "POST /faults": (
        'curl -s $MANAGEMENT/faults -d \'{"kind": "drop-after", "operation": "ImportPlaybackKeyPair", "count": 1}\'',
        {
            "number": 1,
            "kind": "drop-after",
            "operation": "ImportPlaybackKeyPair",
            "rate": 1.0,
            "count": 1,
            "delaySeconds": None,
            "seed": 0,
            "drawn": 0,
        },
    ),
    "DELETE /faults": ("curl -s -X DELETE $MANAGEMENT/faults", None),
}
"""A command and its response for each operation."""

_FAULTS = {
    FaultKind.THROTTLE: "IVS's `ThrottlingException` (429), without effect.",
    FaultKind.ERROR: "IVS's `InternalServerException` (500), without effect.",
    FaultKind.DELAY: "The call takes effect, and its response is late by `delaySeconds`.",
    FaultKind.DROP_BEFORE: "The connection is closed without a response, before the effect.",
    FaultKind.DROP_AFTER: "The connection is closed without a response, after the effect.",
    FaultKind.ENTRY_ERROR: "Single entries of a `BatchStartViewerSessionRevocation` become errors of the response, "
    "without effect; `rate` and `count` are of entries.",
}

_INTRODUCTION = f"""\
# The management listener

Controls of the [local IVS](local-ivs.md) that the real IVS does not have: its clock, streams, sessions, events and
faults. It is a separate HTTP listener on the loopback interface, without authentication. `tokensvc ivs serve` prints
its URL, and `.demo/demo.json` and `--info-file` have it as `managementUrl`; after `. .demo/env` it is `$MANAGEMENT`.

It is for programs on this machine. A page in a browser gets a 403 with the code `not_same_origin`, and so does every
request whose `Host` is a name other than localhost: another site cannot use it through your browser.

Bodies are JSON objects of at most {BODY_MAX_BYTES // 1024} KiB. Errors are [problem documents](error-codes.md), with a
`code` of tokensvc and the invalid fields, or with IVS's own error code, such as `ResourceNotFoundException` or
`ChannelNotBroadcasting`. A status of 204 has no body."""

_EVENTS = ", ".join(
    code(kind)
    for kind in (
        events.STREAM_STATE,
        events.STREAM_HEALTH,
        events.LIMIT_BREACH,
        events.RECORDING_STATE,
        events.AD_BREAK_STATE,
    )
)
_STORED = f"{events.MAX_STORED_EVENTS:,}"
_SECTIONS = f"""\
## The clock

The local IVS's clock is the machine's plus an offset that only grows. The offset is stored before it takes effect, so
it survives a restart like all other state, except with `--memory`. Signatures of requests (SigV4) are checked against
the machine's own clock. tokensvc has its own clock, which does not follow: after an advance, the edge treats the tokens
that it issues as that much older.

## Streams

A stream starts and stops on request only; nothing is ingested. What the edge plays is a picture that repeats. Streams,
their sessions and events survive a restart. At most 100 channels of an account and region are live at once.

## Sessions

A playback session begins when a player gets a multivariant playlist, and counts as one viewer in `viewerCount` and
towards the quota of concurrent views. It ends with its stream, a minute after its last request, or with `DELETE`. An
advance of the clock by more than a minute ends all sessions. Session ids and viewer ids are shown here alone; no log
and no event contains them.

## Events

Events have the form of EventBridge, and are those of IVS's user guide:
{_EVENTS}.
The newest {_STORED} of all accounts and regions are retained. Their numbers increase, may have gaps, and
are never reused. An event is written together with the change that it reports, so none is lost, late or out of order,
as IVS's may be. A Recording End is emitted immediately, not after the reconnect window.

`GET /events` without `after` is an endless stream of server-sent events: from the next event on, or after the number in
`Last-Event-ID`. While nothing happens, a comment is sent every {KEEPALIVE_SECONDS} seconds. Use `curl -sN
$MANAGEMENT/events` to watch it. With `?after=N`, the response is one page of JSON with at most `maxResults` events
after number N, oldest first: 1 to {MAX_PAGE_SIZE:,}, default {PAGE_SIZE}.

## Faults

{{faults}}

If several faults apply to a call, the one that was requested first is injected. Each fault has its own random
generator: the same `seed` and the same calls give the same outcomes, whatever other faults there are. A restart ends
all faults."""


def page() -> str:
    """The whole page."""
    faults = table(["kind", "what goes wrong"], [[code(kind), _FAULTS[kind]] for kind in FaultKind])
    rows = [[_link(o), o.description] for o in OPERATIONS]
    parts = [unwrap(_INTRODUCTION), table(["request", "what it does"], rows), unwrap(_SECTIONS.format(faults=faults))]
    for operation in OPERATIONS:
        parts += _operation(operation)
    return "\n\n".join(parts)


def _operation(o: ManagementOperation) -> Iterator[str]:
    yield f"## {_name(o)}"
    yield o.description
    if o.request is not None:
        schema = o.request.model_json_schema()
        yield request_table(fields(schema, schema.get("$defs", {})))
    command, response = EXAMPLES[_name(o)]
    yield f"```sh\n{command}\n```"
    yield f"**Response:** `{o.status} {HTTPStatus(o.status).phrase}`"
    if response is not None:
        yield f"```json\n{json.dumps(response, indent=2)}\n```"


def _link(o: ManagementOperation) -> str:
    """A link to the operation's heading; from `GET /`, code hosts and the site make different anchors."""
    return code(_name(o)) if o.path == "/" else f"[{code(_name(o))}](#{anchor(_name(o))})"


def _name(o: ManagementOperation) -> str:
    return f"{o.method} {o.path}"
