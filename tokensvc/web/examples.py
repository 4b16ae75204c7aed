"""An example of each operation's request and response, for /openapi.json and the reference.

Invariants
- Each example is valid by its model's schema, and works in this order: tests send the requests to a demo.
- The channel is CHANNEL, which the tests and the reference replace by one that exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

CHANNEL = "arn:aws:ivs:us-east-1:123456789012:channel/abcdefghijkl"
_NONE: Mapping[str, str] = MappingProxyType({})
_ACCOUNT, _REGION = "123456789012", "us-east-1"
_TOKEN = "eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCJ9.eyJhd3M6Y2hhbm5l…"  # noqa: S105 - shortened, and not signed
_PLAYBACK_URL = f"https://1a2b3c4d5e6f.{_REGION}.playback.live-video.net/api/video/v1/{_REGION}.{_ACCOUNT}.channel.abcdefghijkl.m3u8"
_KEY, _NEXT_KEY, _ROTATION = "k3fa4c07d12e9", "k81d5be20f6a4", "k7702c94d3b1f"
_REVOCATION, _DENIAL = "r1f0c2d9a83b7e644", "0c5d9a2f7b814e36a1d2c3b4e5f60718"
_WORKER = "tokens-1:4711:9c41d0e2"


class Example(NamedTuple):
    """A request and the response to it."""

    request: Mapping[str, Any] | None = None
    response: Mapping[str, Any] | None = None
    path: Mapping[str, str] = _NONE
    """The parameters in the path."""
    query: Mapping[str, str] = _NONE
    headers: Mapping[str, str] = _NONE


NO_EXAMPLE = Example()

_TOKEN_RESPONSE = {
    "token": _TOKEN,
    "expiresAt": "2026-11-21T10:02:00Z",
    "refreshAfter": "2026-11-21T10:01:36Z",
    "requiresOriginHeader": False,
    "playbackUrl": f"{_PLAYBACK_URL}?token={_TOKEN}",
    "viewerId": "viewer-17",
    "viewerSessionVersion": 1795255200,
}
AUTHORIZE = Example(
    headers={"X-Original-URI": f"/live/{_REGION}.{_ACCOUNT}.channel.abcdefghijkl/index.m3u8?token={_TOKEN[:-1]}"}
)
_TARGET = {
    "channelArn": CHANNEL,
    "viewerId": "viewer-17",
    "viewerSessionVersionsLessThanOrEqualTo": 1795256110,
    "state": "sent",
    "attempts": 1,
    "finishedAt": "2026-11-21T10:00:01Z",
    "code": None,
    "message": None,
}
_REVOCATION_VIEW = {
    "id": _REVOCATION,
    "state": "sent",
    "caller": "moderation",
    "reason": "shares its token",
    "acceptedAt": "2026-11-21T10:00:00Z",
    "readmitAfter": "2026-11-21T10:15:10Z",
    "targets": [_TARGET],
}
_DENIAL_VIEW = {
    "id": _DENIAL,
    "channelArn": CHANNEL,
    "until": "2026-11-22T10:00:00Z",
    "reason": "banned for a day",
    "caller": "moderation",
    "createdAt": "2026-11-21T10:00:00Z",
}
_ARN = f"arn:aws:ivs:{_REGION}:{_ACCOUNT}:playback-key/mn0pqrstuvwx"
_KEY_VIEW = {
    "id": _KEY,
    "fingerprint": "04:cf:42:47:23:61:e0:9e:0a:9b:1e:39:a2:0b:99:71",
    "createdAt": "2026-11-20T08:00:00Z",
    "compromisedAt": None,
    "damage": None,
    "placements": [
        {
            "account": _ACCOUNT,
            "region": _REGION,
            "state": "active",
            "since": "2026-11-20T08:00:31Z",
            "ageSeconds": 93569,
            "arn": _ARN,
            "importedAt": "2026-11-20T08:00:01Z",
            "activatedAt": "2026-11-20T08:00:31Z",
            "retiringAt": None,
            "drainsAt": None,
            "retiredAt": None,
            "compromisedAt": None,
            "longestTtlSeconds": 3600,
            "fingerprintDiffers": False,
        }
    ],
}
_STEP = {
    "step": "activate",
    "region": _REGION,
    "reason": "its propagation delay has passed",
    "startedAt": "2026-11-20T08:00:31Z",
    "finishedAt": "2026-11-20T08:00:31Z",
    "outcome": "done",
}
_ROTATION_VIEW = {
    "id": _ROTATION,
    "requestedAt": "2026-11-21T10:00:00Z",
    "requestedBy": "caller operations",
    "done": False,
    "regions": [{"region": _REGION, "previousKeyId": _KEY, "activeKeyId": None}],
}
_LEADER = {"workerId": _WORKER, "leaseSecondsLeft": 17.2}

_EXPIRY_IN_MILLISECONDS = (  # 1795255500000, that is 2026-11-21T10:05:00Z
    "eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCJ9.eyJhd3M6Y2hhbm5lbC1hcm4iOiJhcm46YXdzOml2czp1cy1lYXN0LTE6MTIzNDU"
    "2Nzg5MDEyOmNoYW5uZWwvYWJjZGVmZ2hpamtsIiwiYXdzOmFjY2Vzcy1jb250cm9sLWFsbG93LW9yaWdpbiI6Imh0dHBzOi8vYXB"
    "wLmV4YW1wbGUuY29tL3dhdGNoIiwiZXhwIjoxNzk1MjU1NTAwMDAwfQ.VKWbnyKwuAiA2EJ-VIt8I6vYc0huHwNdzpzWl-hRdQM8"
    "qojm1XvDXvrgta_TFF8xmKkGGCzc-x6060cRdgD2iVji3dFAJItHmE9L3mWHuJyCFcPaiVozbpStGso5AVxA"
)
_IN_MILLISECONDS = (
    "exp is in milliseconds, as JavaScript's Date.now() returns them; IVS expects seconds: divide it by 1000"
)


def _rule(rule: str, result: str, message: str = "", *, reason: str = "", remedy: str = "") -> dict[str, str]:
    return {"rule": rule, "result": result, "reason": reason, "message": message, "remedy": remedy}


INVALID_FIELD = {"field": "ttlSeconds", "message": "must be at most 600 with viewerId, subject or singleUse"}
TOKEN = Example({"channelArn": CHANNEL, "viewerId": "viewer-17", "ttlSeconds": 120}, _TOKEN_RESPONSE)
TOKEN_BATCH = Example(
    {
        "requests": [
            {"channelArn": CHANNEL, "viewerId": "viewer-17", "ttlSeconds": 120},
            {"channelArn": CHANNEL, "viewerId": "viewer-18", "ttlSeconds": 900},
        ]
    },
    {
        "results": [
            _TOKEN_RESPONSE,
            {
                "problem": {
                    "type": "urn:tokensvc:problem:invalid_request",
                    "title": "invalid request",
                    "status": 422,
                    "detail": f"{INVALID_FIELD['field']}: {INVALID_FIELD['message']}",
                    "code": "invalid_request",
                    "errors": [INVALID_FIELD],
                }
            },
        ]
    },
)
EXPLANATION = Example(
    {"token": _EXPIRY_IN_MILLISECONDS, "at": "2026-11-21T10:00:00Z"},
    {
        "outcome": "deny",
        "deniedBy": "expiry",
        "reason": "milliseconds",
        "unless": [],
        "message": _IN_MILLISECONDS,
        "signedBy": None,
        "rules": [
            _rule("size", "pass", "384 bytes"),
            _rule("segments", "pass", "header, payload and signature"),
            _rule("encoding", "pass", "base64url without padding"),
            _rule("header", "pass", "a JSON object"),
            _rule("algorithm", "pass", "ES384"),
            _rule(
                "signature",
                "unknown",
                "not signed by a key of this deployment, and others may have imported key pairs, too",
                remedy="validate the token where the public key is known",
            ),
            _rule("payload", "pass", "a JSON object"),
            _rule("channel", "pass", "a channel ARN"),
            _rule(
                "expiry",
                "fail",
                _IN_MILLISECONDS,
                reason="milliseconds",
                remedy="divide it by 1000: IVS expects whole seconds (Date.now() in JavaScript returns milliseconds)",
            ),
            _rule("not-yet", "not_applicable"),
            _rule("ten-minutes", "not_applicable"),
            _rule("viewer", "not_applicable"),
            _rule("revoked", "not_applicable"),
            _rule("single-use", "not_applicable"),
            _rule(
                "origins",
                "fail",
                "aws:access-control-allow-origin has an entry with a path or a trailing slash; an origin is "
                "scheme://host[:port]",
                reason="origin_with_path",
                remedy="write scheme://host[:port] as a browser sends it, without a path and without a trailing slash",
            ),
            _rule("strict-origin", "not_applicable"),
            _rule("resolution", "not_applicable"),
            _rule("ads", "not_applicable"),
            _rule("country", "not_applicable"),
        ],
    },
)
REVOCATION = Example(
    {"channelArn": CHANNEL, "viewerId": "viewer-17", "reason": "shares its token"},
    {"id": _REVOCATION, "state": "queued", "readmitAfter": "2026-11-21T10:15:10Z"},
    headers={"Idempotency-Key": "ban-4711"},
)
REVOCATION_BATCH = Example(
    {
        "revocations": [
            {"channelArn": CHANNEL, "viewerId": "viewer-18"},
            {"channelArn": CHANNEL, "subject": "eve@example.com"},
        ]
    },
    {
        "results": [
            {"id": "r5e2b7a90c4d8f113-0", "state": "queued", "readmitAfter": "2026-11-21T10:15:10Z"},
            {"id": "r5e2b7a90c4d8f113-1", "state": "queued", "readmitAfter": "2026-11-21T10:15:10Z"},
        ]
    },
    headers={"Idempotency-Key": "ban-4712"},
)
REVOCATION_LIST = Example(
    response={"revocations": [_REVOCATION_VIEW], "nextToken": None}, query={"viewerId": "viewer-17", "maxResults": "10"}
)
ONE_REVOCATION = Example(response=_REVOCATION_VIEW, path={"id": _REVOCATION})
DENIAL = Example(
    {"channelArn": CHANNEL, "viewerId": "viewer-17", "denySeconds": 86400, "reason": "banned for a day"},
    {"denials": [_DENIAL_VIEW]},
)
DENIAL_LIST = Example(
    response={"denials": [_DENIAL_VIEW], "nextToken": None}, query={"channelArn": CHANNEL, "viewerId": "viewer-17"}
)
ONE_DENIAL = Example(path={"id": _DENIAL})
AUDIT_LIST = Example(
    response={
        "records": [
            {
                "number": 4711,
                "at": "2026-11-21T10:00:00Z",
                "actor": {"kind": "caller", "name": "moderation", "keyId": "4f1c0a9e27b3"},
                "action": "revocations.accept",
                "target": _REVOCATION,
                "outcome": "done",
                "code": None,
                "rule": None,
                "requestId": "9c41d0e23a17-2b",
                "viewer": "6f0f5cf0a4d1f7a8c1b2a3d4e5f60718",
                "occurrences": 1,
                "details": {"channels": CHANNEL, "reason": "shares its token"},
            }
        ],
        "nextToken": None,
    },
    query={"action": "revocations", "viewerId": "viewer-17", "maxResults": "10"},
)
STATUS = Example(
    response={
        "deploymentId": "0afdc637-84c5-40cc-bebd-8904f0920109",
        "controlPlane": "aws",
        "account": _ACCOUNT,
        "keysVersion": 6,
        "problems": [],
        "leader": _LEADER,
        "workers": [
            {
                "workerId": _WORKER,
                "host": "tokens-1",
                "pid": 4711,
                "startedAt": "2026-11-20T08:00:00Z",
                "lastHeartbeatAt": "2026-11-21T09:59:57Z",
                "unresponsive": False,
                "isLeader": True,
                "leaseSeconds": 900.0,
                "keysVersion": 6,
                "inSync": True,
                "undecryptableKeys": [],
                "signer": "multibuffer",
                "fallbackReason": None,
                "problems": [],
            }
        ],
        "staleWorkers": [],
        "revocations": [
            {"account": _ACCOUNT, "region": _REGION, "queued": 0, "oldestAgeSeconds": 0, "leader": _LEADER}
        ],
        "regions": [
            {
                "region": _REGION,
                "activeKeyId": _KEY,
                "activeSeconds": 93569,
                "keys": [{"id": _KEY, "state": "active", "arn": _ARN}],
                "slots": {"ours": 2, "foreign": 0, "limit": 3},
                "nextAction": None,
                "nextActionAt": None,
                "observedAt": "2026-11-21T09:59:41Z",
            }
        ],
    }
)
KEY_LIST = Example(response={"keys": [_KEY_VIEW], "nextToken": None})
ONE_KEY = Example(
    response={**_KEY_VIEW, "history": [_STEP], "staleWorkers": [], "workersUnableToDecrypt": []}, path={"id": _KEY}
)
ROTATION_REQUEST = Example({"regions": [_REGION]}, _ROTATION_VIEW)
ROTATION = Example(
    response={
        **_ROTATION_VIEW,
        "done": True,
        "regions": [{"region": _REGION, "previousKeyId": _KEY, "activeKeyId": _NEXT_KEY}],
    },
    path={"id": _ROTATION},
)
COMPROMISE = Example(
    {"includeStandby": False},
    {
        "id": _KEY,
        "compromisedAt": "2026-11-21T10:00:00Z",
        "regions": [
            {
                "region": _REGION,
                "wasActive": True,
                "successor": _NEXT_KEY,
                "outageSeconds": 0.0,
                "affectedTokenSeconds": 3600,
            }
        ],
        "staleWorkers": [
            {
                "workerId": _WORKER,
                "host": "tokens-1",
                "pid": 4711,
                "lastHeartbeatAt": "2026-11-21T09:59:57Z",
                "until": "2026-11-21T10:15:10Z",
            }
        ],
    },
    path={"id": _KEY},
)
LIVENESS = Example(response={"status": "alive"})
READINESS = Example(response={"status": "ready", "warnings": []})
JWKS = Example(
    response={
        "keys": [
            {
                "kty": "EC",
                "crv": "P-384",
                "use": "sig",
                "alg": "ES384",
                "kid": _KEY,
                "x": "1_wTHm4O4hvbXYaqSOCzI3QGuEMbtLKOwqnEE6mfWaIm4Re0JI5yfwO7wHaAH_3d",
                "y": "BAZX4h0gVWgwtIOXADNPQq9qlxFrLQyOgL9CfX4fQ27JhTdJXzgztVq7iwNhjaaU",
            }
        ]
    }
)
