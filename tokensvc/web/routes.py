"""Every operation of the HTTP interface, in one table; /openapi.json is generated from it.

Invariants
- The description of a listener has exactly the operations that the listener serves. An admin listener that serves only
  metrics and probes has no description.
- The routes of the local IVS and its edge are in `local_ivs/http/`, which `serve` never mounts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from starlette.types import Receive, Scope

from tokensvc.audit.views import AuditPage, AuditQuery
from tokensvc.diagnostics.status import StatusView
from tokensvc.http.body import header
from tokensvc.http.problem_details import Response
from tokensvc.keys.requests import CompromiseRequest, KeyQuery, RotateKeysRequest
from tokensvc.keys.views import CompromiseView, KeyDetailView, KeyPage, RotationView
from tokensvc.metrics import Metrics
from tokensvc.revocations.acceptance import TARGETS_MAX
from tokensvc.revocations.requests import (
    DenialQuery,
    DenialRequest,
    RevocationBatchRequest,
    RevocationQuery,
    RevocationRequest,
)
from tokensvc.revocations.views import (
    AcceptedRevocationView,
    CreatedDenialsView,
    DenialPage,
    RevocationPage,
    RevocationView,
)
from tokensvc.tokens.explain_request import ExplainRequest, ExplanationView
from tokensvc.tokens.request import TokenRequest
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.web import examples
from tokensvc.web.context import RequestContext, Routes
from tokensvc.web.endpoints import audit, authorize, keys, revocations, status, token_parts
from tokensvc.web.endpoints import explain as explain_endpoint
from tokensvc.web.endpoints.audit import AuditRoute
from tokensvc.web.endpoints.authorize import AuthorizeRoute
from tokensvc.web.endpoints.denials import DenialRoutes
from tokensvc.web.endpoints.explain import ExplainRoute
from tokensvc.web.endpoints.health import BackgroundReadiness, Readiness, livez
from tokensvc.web.endpoints.jwks import JwksRoute
from tokensvc.web.endpoints.keys import KeyRoutes
from tokensvc.web.endpoints.revocations import RevocationRoutes
from tokensvc.web.endpoints.status import StatusRoute
from tokensvc.web.endpoints.tokens import TokenRoutes
from tokensvc.web.openapi import OpenApiRoute
from tokensvc.web.operations import BoundOperation, Operation, Tag, bind_all, routes_of
from tokensvc.web.schemas import (
    JwkSet,
    LivenessResponse,
    ReadinessResponse,
    RevocationBatchResponse,
    TokenBatchRequest,
    TokenBatchResponse,
    TokenResponse,
)

_CALLER = ("unauthenticated", "insufficient_scope", "rate_limited", "snapshot_stale")
_VIEWER_APP = (*_CALLER, "issuer_unavailable")
"""Operations that accept bearer tokens."""
_BODY = ("malformed_request", "request_timeout", "request_too_large", "unsupported_media_type", "invalid_request")
_STORE = ("store_unavailable", "store_not_found", "schema_mismatch", "row_unreadable", "store_error")
_SUBJECT = ("wrapping_key_unknown", "wrong_passphrase", "invalid_key", "subject_key_lost", "wrapping_key_unavailable")
"""Only requests with `subject` need the key that derives viewer ids."""
_TOKEN = (
    "channel_not_allowed",
    "anonymous_viewer_not_allowed",
    "viewer_denied",
    "claim_required",
    "policy_hook_denied",
    "limiter_unavailable",
    "policy_hook_unavailable",
    "channel_not_found",
    "no_signing_key",
    "playback_url_unavailable",
    "max_ttl_unavailable",
    "subject_key_lost",
)
_REVOCATION = (*_CALLER, *_BODY, "idempotency_key_reused", *_SUBJECT, *_STORE)
_BY_VIEWER = (*_CALLER, "channel_not_allowed", "invalid_request", *_SUBJECT, *_STORE)

_IDEMPOTENCY_KEY = (
    "Idempotency-Key",
    (
        "1 to 255 printable ASCII characters, valid for 24 hours for this caller: the same request gets the first "
        "response again, a different one is rejected with `idempotency_key_reused`"
    ),
)


async def _livez(_owner: None, scope: Scope, receive: Receive, context: RequestContext) -> Response:
    return await livez(scope, receive, context)


async def _metrics(metrics: Metrics, scope: Scope, _receive: Receive, _context: RequestContext) -> Response:
    body, content_type = metrics.exposition(header(scope, b"accept"))
    return Response(200, body, ((b"content-type", content_type.encode()),), "ok")


TOKENS: tuple[Operation[TokenRoutes], ...] = (
    Operation(
        "POST",
        "/v1/tokens",
        TokenRoutes.single,
        "Issue a token",
        operation_id="issueToken",
        tag=Tag.TOKENS,
        description="""\
Issues one token for one viewer of one channel, signed with the active key of the channel's account and region. Nothing
is stored, so the request may be repeated: each response has another token.

**Lifetime.** The server sets `exp`, in whole seconds; clients cannot supply it. `expiresAt` is authoritative: a token
with a viewer or for a single use expires after 590 seconds at most, even if `ttlSeconds` is 591 to 600. Playback must
*start* before `expiresAt`; once started, it continues.

**Refreshing.** Playback that starts anew after `refreshAfter`, because of a reload or a reconnect, needs another token:
request it then, and load its `playbackUrl`. Do not interrupt a running playback for it.

**`playbackUrl` may be missing**, while IVS has not described the channel yet: possible for the first requests for a
channel, and while IVS is unavailable. The token is valid all the same. The response then has
`playbackUrlRetryAfterSeconds`: request a token again after that time, or append `?token=` and the token to a playback
URL that you have. A client that cannot use a token without its URL sends `"requirePlaybackUrl": true` and gets 503
`playback_url_unavailable` with `Retry-After` instead. Lookups are shared fairly among callers, so the URL is there
within seconds, whatever other callers request.""",
        scope=token_parts.SCOPE,
        request=TokenRequest,
        status=201,
        response=TokenResponse,
        errors=(*_VIEWER_APP, *_BODY, *_TOKEN),
        example=examples.TOKEN,
        handle_nowait=TokenRoutes.single_nowait,
    ),
    Operation(
        "POST",
        "/v1/tokens/batch",
        TokenRoutes.batch,
        "Issue up to 500 tokens",
        operation_id="issueTokenBatch",
        tag=Tag.TOKENS,
        description="""\
Handles each request as `POST /v1/tokens` does, independently of the others. The response is 200 if the batch itself is
valid, and has one result for each request, in the same order: a token, or the `problem` of that request, with its own
`status`, `code` and `retryAfterSeconds`. Repeat only the requests that failed.""",
        scope=token_parts.SCOPE,
        request=TokenBatchRequest,
        response=TokenBatchResponse,
        errors=(*_VIEWER_APP, *_BODY),
        item_errors=(*_CALLER, "invalid_request", *_TOKEN),
        example=examples.TOKEN_BATCH,
    ),
)
EXPLAIN: Operation[ExplainRoute] = Operation(
    "POST",
    "/v1/tokens/explain",
    ExplainRoute.explain,
    "Explain a token",
    operation_id="explainToken",
    tag=Tag.TOKENS,
    description="""\
Applies every rule of the IVS playback edge to a token of any issuer, or to the token in a playback URL, and says for
each what was found and what to change. It calls nothing and stores nothing: a single-use token is not spent.

The signature is verified with this deployment's public keys, and a token with a viewer is judged by this deployment's
own revocations and denials. What only IVS knows is `unknown`: whether a single-use token was used, whether a signature
that is not this deployment's is by another key pair of the channel's region, and the channel's restriction policy.

Only channels that match the caller's patterns are judged, both the one that is asked for and the one that the token
claims. Never send a private key: a request that contains one is rejected with the name of the field.""",
    scope=explain_endpoint.SCOPE,
    request=ExplainRequest,
    response=ExplanationView,
    errors=(*_VIEWER_APP, *_BODY, "channel_not_allowed"),
    example=examples.EXPLANATION,
)
AUTHORIZE: Operation[AuthorizeRoute] = Operation(
    "GET",
    authorize.PATH,
    AuthorizeRoute.authorize,
    "Authorize a player's request",
    operation_id="authorizePlayback",
    tag=Tag.PLAYBACK,
    description="""\
For proxies in front of HLS files of any origin: nginx's `auth_request`, Caddy's `forward_auth`, Envoy's `ext_authz`
over HTTP. Served only with `TOKENSVC_AUTHORIZE=on`. The proxy serves the file if the response is 204, and refuses with
the status of any other response.

The original request is named by `X-Original-URI`, by `X-Forwarded-Uri`, or by the path below `/authorize`, as Envoy's
`path_prefix` sends it; requests of this last form are admitted with 200, the only status that Envoy takes for consent.
Its path says which channel it is for, by `TOKENSVC_AUTHORIZE_FOLDERS`.

The token is in the query parameter `token` of the original URI, or in `Authorization: Bearer`. It is validated by the
rules of the IVS playback edge, with this deployment's keys, revocations and denials, and its single use is spent. The
response then sets a cookie for the channel's folder, with which the player continues without a token; the proxy passes
it on. A decision on a running session may be cached for the time in `Cache-Control`.""",
    request_headers=(
        ("X-Original-URI", "Path and query of the player's request, as it was sent (nginx)"),
        ("X-Original-Method", "The method of the player's request (nginx); without it, that of this request"),
        ("X-Forwarded-Uri", "As `X-Original-URI` (Caddy)"),
        ("X-Forwarded-Method", "As `X-Original-Method` (Caddy)"),
    ),
    status=204,
    response_headers=(
        ("Set-Cookie", "The session of the player, when it starts and once a minute"),
        ("Cache-Control", "For how long the proxy may reuse the decision, or `no-store`"),
        ("Access-Control-Allow-Origin", "The player's origin, if the token allows it; `*` if the token names none"),
    ),
    errors=("playback_unauthenticated", "playback_denied", "snapshot_stale", "subject_key_lost", *_STORE),
    example=examples.AUTHORIZE,
    covers_subpaths=True,
)
REVOCATIONS: tuple[Operation[RevocationRoutes], ...] = (
    Operation(
        "POST",
        "/v1/revocations",
        RevocationRoutes.add,
        "Revoke a viewer",
        operation_id="revokeViewer",
        tag=Tag.REVOCATIONS,
        description="""\
Revokes one viewer in 1 to 50 channels: IVS ends the viewer's sessions and rejects its tokens, tokensvc issues no new
ones, and `readmitAfter` says when the viewer may return.

202 means that the revocation is stored. It is delivered to IVS at least once, with retries until IVS accepts or
permanently rejects it, even if this service restarts; `GET /v1/revocations/{id}` shows the progress. IVS accepts 50
viewers a second per account and region, of which tokensvc uses `TOKENSVC_REVOCATION_RATE_FRACTION`. Single revocations
take precedence over those of a batch, and a viewer that is already queued is not queued twice.

Send an `Idempotency-Key`, so that the request may be repeated after a timeout.""",
        scope=revocations.WRITE,
        request=RevocationRequest,
        request_headers=(_IDEMPOTENCY_KEY,),
        status=202,
        response=AcceptedRevocationView,
        errors=(*_REVOCATION, "channel_not_allowed"),
        example=examples.REVOCATION,
    ),
    Operation(
        "GET",
        "/v1/revocations",
        RevocationRoutes.list,
        "List revocations, newest first",
        operation_id="listRevocations",
        tag=Tag.REVOCATIONS,
        description="""\
The revocations whose channels all match the caller's patterns, with the state of each. Completed revocations are
retained for 90 days.""",
        scope=revocations.READ,
        query=RevocationQuery,
        response=RevocationPage,
        errors=_BY_VIEWER,
        example=examples.REVOCATION_LIST,
    ),
    Operation(
        "POST",
        "/v1/revocations/batch",
        RevocationRoutes.add_batch,
        "Revoke up to 1,000 viewers",
        operation_id="revokeViewerBatch",
        tag=Tag.REVOCATIONS,
        description=f"""\
Handles each item as `POST /v1/revocations` does, independently of the others: one result for each, in the same order,
accepted or with its own `problem`. The accepted ones are stored in one transaction. A batch has at most {TARGETS_MAX}
pairs of viewer and channel. Its revocations are delivered after single ones.""",
        scope=revocations.WRITE,
        request=RevocationBatchRequest,
        request_headers=(_IDEMPOTENCY_KEY,),
        status=202,
        response=RevocationBatchResponse,
        errors=_REVOCATION,
        item_errors=("invalid_request", "channel_not_allowed"),
        example=examples.REVOCATION_BATCH,
    ),
    Operation(
        "GET",
        "/v1/revocations/{id}",
        RevocationRoutes.show,
        "Get a revocation",
        operation_id="getRevocation",
        tag=Tag.REVOCATIONS,
        description="The state, IVS's error code and message, attempts and times, for each viewer id and channel.",
        scope=revocations.READ,
        response=RevocationView,
        errors=(*_CALLER, "revocation_not_found", *_STORE),
        example=examples.ONE_REVOCATION,
    ),
    Operation(
        "POST",
        "/v1/revocations/{id}/retry",
        RevocationRoutes.retry,
        "Retry a revocation",
        operation_id="retryRevocation",
        tag=Tag.REVOCATIONS,
        description="""\
Queues the failed targets of a revocation again; others are not affected. Useful once the cause is removed, for example
a missing AWS permission. The request has no body and may be repeated.""",
        scope=revocations.WRITE,
        response=RevocationView,
        errors=(*_CALLER, "revocation_not_found", *_STORE),
        example=examples.ONE_REVOCATION,
    ),
    Operation(
        "POST",
        "/v1/revocations/{id}/cancel",
        RevocationRoutes.cancel,
        "Cancel a revocation",
        operation_id="cancelRevocation",
        tag=Tag.REVOCATIONS,
        description="""\
Cancels what has not been sent to IVS yet, except what other revocations also need. What IVS has accepted cannot be
undone, and the denial stays until it ends or is deleted. Tokens from before the revocation stay revoked for
`/authorize` and explanations. The request has no body and may be repeated.""",
        scope=revocations.WRITE,
        response=RevocationView,
        errors=(*_CALLER, "revocation_not_found", *_STORE),
        example=examples.ONE_REVOCATION,
    ),
)
DENIALS: tuple[Operation[DenialRoutes], ...] = (
    Operation(
        "POST",
        "/v1/denials",
        DenialRoutes.add,
        "Deny a viewer tokens",
        operation_id="denyViewer",
        tag=Tag.DENIALS,
        description="""\
Blocks a viewer within tokensvc only: token requests for the viewer are rejected with `viewer_denied`, for one channel,
several or all, until a time. Running sessions continue, and tokens that were issued before stay valid. To end sessions,
too, revoke the viewer: `POST /v1/revocations`.

A denial takes effect within two seconds on every worker that reaches the store, and ends by itself. A denial in force
that ends later stays as it is, so the request may be repeated.""",
        scope=revocations.WRITE,
        request=DenialRequest,
        status=201,
        response=CreatedDenialsView,
        errors=(*_CALLER, *_BODY, "channel_not_allowed", *_SUBJECT, *_STORE),
        example=examples.DENIAL,
    ),
    Operation(
        "GET",
        "/v1/denials",
        DenialRoutes.list,
        "List the denials in force, newest first",
        operation_id="listDenials",
        tag=Tag.DENIALS,
        description="""\
The denials of channels that match the caller's patterns, including those that came with a revocation. Lists show no
viewer ids; to find a viewer's denials, name the channel and the viewer.""",
        scope=revocations.READ,
        query=DenialQuery,
        response=DenialPage,
        errors=_BY_VIEWER,
        example=examples.DENIAL_LIST,
    ),
    Operation(
        "DELETE",
        "/v1/denials/{id}",
        DenialRoutes.remove,
        "Remove a denial",
        operation_id="removeDenial",
        tag=Tag.DENIALS,
        description="""\
The viewer gets tokens again within two seconds. If the denial came with a revocation, a worker that is not in sync may
until the revocation's `readmitAfter` issue a token that IVS rejects.""",
        scope=revocations.WRITE,
        status=204,
        errors=(*_CALLER, "denial_not_found", *_STORE),
        example=examples.ONE_DENIAL,
    ),
)
STATUS: Operation[StatusRoute] = Operation(
    "GET",
    "/v1/status",
    StatusRoute.status,
    "Get the status of the deployment",
    operation_id="getStatus",
    tag=Tag.MONITORING,
    description="""\
For operators and dashboards: the workers and which of them are not in sync, the rotation leader, problems, the
revocation queue of each account and region and who dispatches it, and for each region its keys, slots and next action.
It is read from the store, never from IVS.""",
    scope=status.SCOPE,
    response=StatusView,
    errors=(*_CALLER, *_STORE),
    example=examples.STATUS,
)
KEYS: tuple[Operation[KeyRoutes], ...] = (
    Operation(
        "GET",
        "/v1/keys",
        KeyRoutes.page,
        "List key pairs",
        operation_id="listKeys",
        tag=Tag.KEYS,
        description="The deployment's key pairs, oldest first: state, age and end of life in each region.",
        scope=keys.READ,
        query=KeyQuery,
        response=KeyPage,
        errors=(*_CALLER, "invalid_request", *_STORE),
        example=examples.KEY_LIST,
    ),
    Operation(
        "POST",
        "/v1/keys/rotate",
        KeyRoutes.rotate,
        "Rotate keys",
        operation_id="rotateKeys",
        tag=Tag.KEYS,
        description="""\
Stores a rotation request, which the rotation leader carries out: it imports the next key where there is no standby,
waits for the propagation delay, and activates it. Tokens of the previous key stay valid until they expire. `Location`
shows the progress.""",
        scope=keys.ADMIN,
        request=RotateKeysRequest,
        status=202,
        response=RotationView,
        errors=(*_CALLER, *_BODY, "invalid_rotation_policy", *_STORE),
        response_headers=(("Location", "The path of the rotation request"),),
        example=examples.ROTATION_REQUEST,
    ),
    Operation(
        "GET",
        "/v1/keys/{id}",
        KeyRoutes.show,
        "Get a key pair",
        operation_id="getKey",
        tag=Tag.KEYS,
        description="The key with its history, the workers that are not in sync, and those that cannot decrypt it.",
        scope=keys.READ,
        response=KeyDetailView,
        errors=(*_CALLER, "invalid_request", "key_not_found", *_STORE),
        example=examples.ONE_KEY,
    ),
    Operation(
        "POST",
        "/v1/keys/{id}/compromise",
        KeyRoutes.compromise,
        "Mark a key as compromised",
        operation_id="compromiseKey",
        tag=Tag.KEYS,
        description="""\
For a private key that has leaked. In one transaction, the key stops signing and the best key that IVS already holds
takes over in every region: the standby, else the retiring key. Workers that reach the store follow within two seconds;
one that is cut off stops when its snapshot lease ends. Then the key pairs are deleted from IVS, with retries until that
succeeds: nobody can start playback with a token of the key any more, while running playback continues.

The response says how long the affected tokens would have lived, and for how many seconds each region has no key, during
which token requests get `no_signing_key`. This cannot be undone; the request may be repeated.""",
        scope=keys.ADMIN,
        request=CompromiseRequest,
        status=202,
        response=CompromiseView,
        errors=(*_CALLER, *_BODY, "key_not_found", *_STORE),
        example=examples.COMPROMISE,
    ),
    Operation(
        "GET",
        "/v1/keys/rotations/{id}",
        KeyRoutes.rotation,
        "Get the progress of a rotation",
        operation_id="getRotation",
        tag=Tag.KEYS,
        description="""\
`done`, and for each region the previous and the new active key. What a pending rotation waits for is in `nextAction` of
`GET /v1/status`.""",
        scope=keys.READ,
        response=RotationView,
        errors=(*_CALLER, "invalid_request", "rotation_not_found", *_STORE),
        example=examples.ROTATION,
    ),
)
AUDIT: Operation[AuditRoute] = Operation(
    "GET",
    "/v1/audit",
    AuditRoute.page,
    "List audit records, newest first",
    operation_id="listAuditRecords",
    tag=Tag.AUDIT,
    description="""\
Who did what, and what was refused: administrative acts of callers, operators and the service, refusals of authenticated
callers, and the issued tokens of callers whose policy asks for it. Records concern all channels, so the caller's
patterns must include `*`. A viewer appears as a keyed digest.""",
    scope=audit.SCOPE,
    query=AuditQuery,
    response=AuditPage,
    errors=(*_CALLER, "channel_not_allowed", "invalid_request", *_STORE),
    example=examples.AUDIT_LIST,
)
LIVEZ: Operation[None] = Operation(
    "GET",
    "/livez",
    _livez,
    "Liveness probe",
    operation_id="getLiveness",
    tag=Tag.MONITORING,
    description="The process responds. It does not say whether this worker can sign: that is `GET /readyz`.",
    response=LivenessResponse,
    logs_success=False,
    example=examples.LIVENESS,
)
READYZ: Operation[Readiness] = Operation(
    "GET",
    "/readyz",
    Readiness.readyz,
    "Readiness probe",
    operation_id="getReadiness",
    tag=Tag.MONITORING,
    description="""\
Whether this worker can sign tokens now: it signs and validates a probe token with the active key of each region, at
most once a second. If it can in no region, the response is 503 with the reason, and a load balancer should send
requests to other workers. Problems that all workers share (a failing rotation, a store outage that is shorter than the
lease) are `warnings` and never cause a 503.""",
    response=ReadinessResponse,
    errors=("no_signing_key", "snapshot_stale", "draining", "max_ttl_unavailable", "subject_key_lost"),
    example=examples.READINESS,
    logs_success=False,
)
WORKER_READYZ: Operation[BackgroundReadiness] = Operation(
    "GET",
    "/readyz",
    BackgroundReadiness.readyz,
    "Readiness probe",
    operation_id="getReadiness",
    tag=Tag.MONITORING,
    description="""\
Whether this process, which only runs background tasks, reaches the store. `warnings` has the problems that the
background tasks of all workers report.""",
    response=ReadinessResponse,
    errors=("store_unavailable",),
    example=examples.READINESS,
    logs_success=False,
)
JWKS: Operation[JwksRoute] = Operation(
    "GET",
    "/.well-known/jwks.json",
    JwksRoute.jwks,
    "Get the public keys",
    operation_id="getPublicKeys",
    tag=Tag.MONITORING,
    description="""\
The public keys that current tokens verify with, as a JWK Set (RFC 7517), for your own verification; IVS does not use
it. It has the prepared, active and retiring keys, so that tokens verify throughout a rotation. Tokens have no `kid`:
try each key. The response may be cached for 60 seconds.""",
    response=JwkSet,
    example=examples.JWKS,
)
OPENAPI: Operation[OpenApiRoute] = Operation(
    "GET",
    "/openapi.json",
    OpenApiRoute.openapi,
    "Get the OpenAPI document",
    operation_id="getOpenApiDocument",
    tag=Tag.MONITORING,
    description="The description of this listener's operations as OpenAPI 3.1, generated from the models that validate "
    "requests.",
    other_response=("application/json", {"type": "object", "additionalProperties": True}),
)
METRICS: Operation[Metrics] = Operation(
    "GET",
    "/metrics",
    _metrics,
    "Get metrics",
    operation_id="getMetrics",
    tag=Tag.MONITORING,
    description="The metrics of all workers on this machine, in the Prometheus text format.",
    other_response=("text/plain", {"type": "string"}),
    logs_success=False,
)

ADMIN: tuple[Operation[Any], ...] = (METRICS, STATUS, AUDIT, *KEYS)
"""The operations that the admin listener has, if there is one; otherwise the public listener has them."""
EVERYWHERE: tuple[Operation[Any], ...] = (LIVEZ, READYZ, OPENAPI)
"""The operations that both listeners have."""
OPERATIONS: tuple[Operation[Any], ...] = (
    *TOKENS,
    EXPLAIN,
    AUTHORIZE,
    *REVOCATIONS,
    *DENIALS,
    *KEYS,
    AUDIT,
    STATUS,
    *EVERYWHERE,
    JWKS,
    METRICS,
)
"""All operations of the service."""


def public_routes(
    token_routes: TokenRoutes,
    explain_route: ExplainRoute,
    revocation_routes: RevocationRoutes,
    denial_routes: DenialRoutes,
    authorize_route: AuthorizeRoute | None,
    readiness: Readiness,
    snapshot: Callable[[], Snapshot],
    admin: Sequence[BoundOperation],
) -> Routes:
    """The routes of the public listener; `admin` is empty when the admin routes have their own listener, and
    `authorize_route` is None where no proxy asks."""
    return _with_description(
        [
            *bind_all(_token_operations(token_routes), token_routes),
            EXPLAIN.bind(explain_route),
            *bind_all(REVOCATIONS, revocation_routes),
            *bind_all(DENIALS, denial_routes),
            *([] if authorize_route is None else [AUTHORIZE.bind(authorize_route)]),
            LIVEZ.bind(None),
            READYZ.bind(readiness),
            JWKS.bind(JwksRoute(snapshot)),
            *admin,
        ]
    )


def _token_operations(token_routes: TokenRoutes) -> Iterable[Operation[TokenRoutes]]:
    if token_routes.supports_nowait:
        return TOKENS
    return [replace(operation, handle_nowait=None) for operation in TOKENS]


def admin_routes(admin: Iterable[BoundOperation], readiness: Readiness) -> Routes:
    """The routes of the admin listener, with the probes and the description that every listener has."""
    return _with_description([*admin, LIVEZ.bind(None), READYZ.bind(readiness)])


def monitoring_routes(metrics: Metrics, readiness: Readiness) -> Routes:
    """The routes of an admin listener that only monitoring may use: metrics and probes, without a description."""
    return routes_of([METRICS.bind(metrics), LIVEZ.bind(None), READYZ.bind(readiness)])


def worker_routes(metrics: Metrics, readiness: BackgroundReadiness, *, is_described: bool) -> Routes:
    """The routes of a process that runs only background tasks; `is_described`: the description is one of them."""
    served = [LIVEZ.bind(None), WORKER_READYZ.bind(readiness), METRICS.bind(metrics)]
    return _with_description(served) if is_described else routes_of(served)


def admin_operations(
    metrics: Metrics, status_route: StatusRoute, audit_route: AuditRoute, key_routes: KeyRoutes
) -> list[BoundOperation]:
    """The operations for operators' tools."""
    return [
        METRICS.bind(metrics),
        STATUS.bind(status_route),
        AUDIT.bind(audit_route),
        *bind_all(KEYS, key_routes),
    ]


def _with_description(bound: Iterable[BoundOperation]) -> Routes:
    """The routes of a listener, and the description of exactly these."""
    served = list(bound)
    description = OpenApiRoute([*(operation for operation, _ in served), OPENAPI])
    return routes_of([*served, OPENAPI.bind(description)])
