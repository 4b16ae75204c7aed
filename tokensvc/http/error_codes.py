"""Every code of a problem document: its status, what happened, what to do, and whether repeating the request helps.

Invariants
- The OpenAPI document and `docs/reference/error-codes.md` are generated from this table. A test compares it with the
  tree in `errors.py`, with the statuses in `problem_details.py`, and with the codes that are written elsewhere.
- A code is never renamed, and never gets another status.
- What the command line alone can fail with is in `cli/error_codes.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class Retry(StrEnum):
    """Whether a client may repeat a request that failed with a code; RETRY_ADVICE says how."""

    NO = "no"
    AFTER_DELAY = "after Retry-After"
    OTHER_WORKER = "on another worker"
    NEW_CONNECTION = "on a new connection"
    OPERATOR = "after an operator has acted"
    ONCE = "once"


RETRY_ADVICE: Mapping[Retry, str] = {
    Retry.NO: "Do not retry. The same request fails again until it, or what it depends on, is changed.",
    Retry.AFTER_DELAY: "Retry after the time in `Retry-After`; it usually succeeds then.",
    Retry.OTHER_WORKER: "Retry on a new connection, which a load balancer may give to another worker, or after the "
    "time in `Retry-After`. Other workers are not affected.",
    Retry.NEW_CONNECTION: "Retry on a new connection: the server closes the old one.",
    Retry.OPERATOR: "It fails on every worker, or on this one, until an operator has acted. Respect `Retry-After`, "
    "stop after a few attempts, and alert.",
    Retry.ONCE: "Retry once. If it fails again, it will keep failing.",
}


class ErrorCode(NamedTuple):
    """A code of a problem document."""

    code: str
    status: int
    meaning: str
    """What happened, as a sentence."""
    remedy: str
    """What to do, for the client's developer or for an operator."""
    retry: Retry


_ENTRIES = (
    ErrorCode(
        "malformed_request",
        400,
        "The body is empty, not JSON or not a JSON object, or the request is not valid HTTP. `detail` names the rule.",
        "Send one JSON object in UTF-8. If the rule is about HTTP (a repeated `Host` or `Authorization` header, a "
        "`Transfer-Encoding` with HTTP/1.0), correct the client or the proxy that sent it.",
        Retry.NO,
    ),
    ErrorCode(
        "unauthenticated",
        401,
        "The API key is missing, unknown, disabled or expired, or the bearer token is not accepted. Which of these is "
        "not disclosed; the log has it.",
        "Send `Authorization: Bearer tsk_…` with a valid API key. An operator lists callers with `tokensvc callers "
        "list`, and issues another API key with `tokensvc callers rotate-secret`. A new or changed API key is accepted "
        "by every worker within two seconds.",
        Retry.NO,
    ),
    ErrorCode(
        "playback_unauthenticated",
        401,
        "A player asked a proxy for a file that tokensvc guards, without a token and without the cookie of a running "
        "session.",
        "Start playback with a token: the query parameter `token`, or `Authorization: Bearer`. A player that has "
        "started and is then refused keeps no cookies, or paused for over ten minutes, or played for twelve hours.",
        Retry.NO,
    ),
    ErrorCode(
        "insufficient_scope",
        403,
        "The caller does not have the scope that this operation requires. `detail` and the `WWW-Authenticate` header "
        "name the scope.",
        "Use the API key of a caller that has the scope. An operator adds such a caller with `tokensvc callers add "
        "NAME --scope SCOPE`.",
        Retry.NO,
    ),
    ErrorCode(
        "channel_not_allowed",
        403,
        "None of the caller's channel patterns matches the channel, or one of the channels.",
        "Check the ARN: account, region and channel id. An operator sees a caller's patterns with `tokensvc callers "
        "list`, and adds a caller for other channels with `tokensvc callers add NAME --channels PATTERN`.",
        Retry.NO,
    ),
    ErrorCode(
        "anonymous_viewer_not_allowed",
        403,
        "The token request has neither `viewerId` nor `subject`, and the caller's policy requires one: a token without "
        "a viewer cannot be revoked.",
        "Send `viewerId` or `subject`. Where viewers are meant to be anonymous, an operator adds a caller with "
        "`--allow-anonymous-viewers`.",
        Retry.NO,
    ),
    ErrorCode(
        "viewer_denied",
        403,
        "The viewer has been revoked or denied in this channel, or in all channels. `detail` says until when.",
        "Do not give the viewer another token before that time. To admit the viewer earlier, remove the denial: "
        "`DELETE /v1/denials/{id}`, or `tokensvc denials remove`.",
        Retry.NO,
    ),
    ErrorCode(
        "playback_denied",
        403,
        "A player asked a proxy for a file that tokensvc guards, and one of the playback rules refused it. `detail` "
        "and the header `Tokensvc-Rule` name the rule.",
        "`tokensvc tokens explain` says what to change in the token. `path`, `original-request` and `one-token` are "
        "about the request: see the guide to `/authorize`.",
        Retry.NO,
    ),
    ErrorCode(
        "policy_hook_denied",
        403,
        "The operator's policy hook denied this token to this viewer.",
        "`detail` has the hook's reason if it gave one; otherwise ask the operator of the hook.",
        Retry.NO,
    ),
    ErrorCode(
        "channel_not_found",
        404,
        "IVS has no such channel. The answer is cached for a minute.",
        "Check the ARN. A channel that was created just now is found within a minute.",
        Retry.NO,
    ),
    ErrorCode(
        "revocation_not_found",
        404,
        "There is no such revocation, it was completed more than 90 days ago, or one of its channels does not match "
        "the caller's patterns.",
        "Check the id; `GET /v1/revocations` lists those that this caller may see.",
        Retry.NO,
    ),
    ErrorCode(
        "denial_not_found",
        404,
        "There is no such denial in force, or its channel does not match the caller's patterns.",
        "Nothing, if you wanted to remove it: it has expired or been removed. Otherwise check the id; `GET "
        "/v1/denials` lists those that this caller may see.",
        Retry.NO,
    ),
    ErrorCode(
        "key_not_found",
        404,
        "The deployment has no key with this id.",
        "Check the id; `GET /v1/keys` and `tokensvc keys list` list all keys.",
        Retry.NO,
    ),
    ErrorCode(
        "rotation_not_found",
        404,
        "There is no such rotation request.",
        "Use the `Location` of the response to `POST /v1/keys/rotate`.",
        Retry.NO,
    ),
    ErrorCode(
        "route_not_found",
        404,
        "The path is not one of this listener's. With `TOKENSVC_ADMIN_PORT`, `/metrics`, `/v1/status`, `/v1/audit` "
        "and `/v1/keys…` are served by the admin listener only.",
        "Check path and port; `/openapi.json` describes the operations of the listener that serves it.",
        Retry.NO,
    ),
    ErrorCode(
        "method_not_allowed",
        405,
        "The path does not support this method.",
        "Use a method that the `Allow` header lists.",
        Retry.NO,
    ),
    ErrorCode(
        "request_timeout",
        408,
        "The body did not arrive within the time allowed for it.",
        "Send the request again on a new connection. If this happens often, look for a proxy that forwards bodies "
        "slowly.",
        Retry.NEW_CONNECTION,
    ),
    ErrorCode(
        "conflict",
        409,
        "The request contradicts the present state. Over HTTP: a simultaneous request changed the same data.",
        "Read the present state, then decide whether to send the request again. On the command line, the message says "
        "what to do first.",
        Retry.ONCE,
    ),
    ErrorCode(
        "invalid_rotation_policy",
        409,
        "The deployment's rotation policy contradicts itself, for example because keys must be replaced before the "
        "tokens of the previous one have expired. `detail` shows the calculation.",
        "An operator changes the policy: `TOKENSVC_KEY_MAX_AGE_DAYS`, `TOKENSVC_KEY_PROPAGATION_SECONDS` or "
        "`TOKENSVC_MAX_TTL_SECONDS`, with `tokensvc db upgrade`.",
        Retry.NO,
    ),
    ErrorCode(
        "request_too_large",
        413,
        "The body exceeds this operation's limit: 16 KiB for a single request, 1 MiB for a batch, and 2 MiB for any "
        "request, framing included.",
        "Split a batch. A single request that is too large has a field that is not meant to be so long.",
        Retry.NO,
    ),
    ErrorCode(
        "unsupported_media_type",
        415,
        "The body has a content coding, or it is not JSON and its `Content-Type` says so.",
        "Send uncompressed JSON: without `Content-Encoding`, and with `Content-Type: application/json`.",
        Retry.NO,
    ),
    ErrorCode(
        "invalid_request",
        422,
        "One or more fields, or parameters of the query string, are invalid. `errors` names each with its rule.",
        "Correct the named fields. Unknown, repeated and mutually exclusive fields are errors, too. If no signing key "
        "is configured for the channel's account and region, correct the ARN, or add the region to "
        "`TOKENSVC_REGIONS`.",
        Retry.NO,
    ),
    ErrorCode(
        "idempotency_key_reused",
        422,
        "This caller used the `Idempotency-Key` for a different request within the last 24 hours.",
        "Generate a new key for each request, and repeat it only with the identical request.",
        Retry.NO,
    ),
    ErrorCode(
        "claim_required",
        422,
        "The caller's policy requires tokens with a property that the request does not ask for. `errors` names each "
        "field with its rule.",
        "Send the named fields. An operator sees the policy with `tokensvc callers show NAME`, and may have the rule "
        "applied silently by moving it from `require` to `force`.",
        Retry.NO,
    ),
    ErrorCode(
        "rate_limited",
        429,
        "A limit is reached: of the caller, of the viewer, of the channel, or of failed authentications from the "
        "client's address. `detail` and the `RateLimit` header name it.",
        "Wait for the time in `Retry-After`. A backend that asks for many tokens of one viewer should reuse a token "
        "until `refreshAfter`. An operator changes the limits with `tokensvc callers update`.",
        Retry.AFTER_DELAY,
    ),
    ErrorCode(
        "headers_too_large",
        431,
        "Request line and headers together exceed 16 KiB.",
        "Send fewer or shorter headers; forward no cookies to tokensvc.",
        Retry.NO,
    ),
    ErrorCode(
        "internal_error",
        500,
        "A bug in tokensvc. The response does not contain its cause.",
        "Search the worker's log for the request id that `detail` and `X-Request-Id` contain, and report it.",
        Retry.ONCE,
    ),
    ErrorCode(
        "wrapping_key_unknown",
        500,
        "The key that derives viewer ids from subjects is encrypted with a passphrase or KMS key that this worker is "
        "not configured with. Only revocations, denials and lists by `subject` fail; tokens are still issued.",
        "Configure the worker with both the present and the previous passphrase or KMS key, and restart it; `tokensvc "
        "doctor` names what is missing.",
        Retry.OPERATOR,
    ),
    ErrorCode(
        "wrong_passphrase",
        500,
        "As `wrapping_key_unknown`, where the secret does not name its wrapping key.",
        "Configure the worker with the passphrase that the store's secrets are encrypted with; run `tokensvc doctor`.",
        Retry.OPERATOR,
    ),
    ErrorCode(
        "invalid_key",
        500,
        "The key that derives viewer ids from subjects is damaged in the store. Only revocations, denials and lists by "
        "`subject` fail.",
        "Restore the store's table of subject keys from a backup; run `tokensvc doctor`.",
        Retry.OPERATOR,
    ),
    ErrorCode(
        "transfer_coding_not_supported",
        501,
        "The request has a `Transfer-Encoding` other than `chunked`.",
        "Send `Transfer-Encoding: chunked` or a `Content-Length`.",
        Retry.NO,
    ),
    ErrorCode(
        "no_signing_key",
        503,
        "No key can sign in the channel's account and region, or the deployment has no key yet. If only other "
        "accounts or regions have keys, the request is rejected with 422 `invalid_request` instead.",
        "In a new deployment: `tokensvc keys generate`. After a compromise without a standby, the next key takes over "
        "as soon as its propagation delay has passed. Otherwise `tokensvc doctor` names the cause.",
        Retry.OPERATOR,
    ),
    ErrorCode(
        "overloaded",
        503,
        "This worker has as many requests in flight as `TOKENSVC_MAX_IN_FLIGHT` allows, or the batches of this caller "
        "are a sixteenth of these already, or four are of this viewer. Nothing was issued or changed.",
        "Send the request again after the time in `Retry-After`. If it lasts, add workers or machines, or send fewer "
        "batches at once.",
        Retry.OTHER_WORKER,
    ),
    ErrorCode(
        "issuer_unavailable",
        503,
        "The public keys of the bearer token's issuer cannot be fetched, and this worker has none from before.",
        "Send the request again. An operator checks that the workers reach the issuer; the worker's log has the cause.",
        Retry.AFTER_DELAY,
    ),
    ErrorCode(
        "limiter_unavailable",
        503,
        "The shared rate limiter (`TOKENSVC_LIMITER_URL`) did not respond, and `TOKENSVC_LIMITER_FAILS` is `closed`.",
        "Send the request again. An operator restores the limiter, or sets `TOKENSVC_LIMITER_FAILS=open`.",
        Retry.AFTER_DELAY,
    ),
    ErrorCode(
        "policy_hook_unavailable",
        503,
        "The operator's policy hook did not respond in time, or its response was not valid.",
        "Send the request again. An operator restores the hook; the worker's log has the cause.",
        Retry.AFTER_DELAY,
    ),
    ErrorCode(
        "playback_url_unavailable",
        503,
        "The token request has `requirePlaybackUrl`, and IVS has not described the channel yet.",
        "Send the request again. If it keeps failing, IVS is unavailable or throttles the account: see `/readyz` and "
        "`tokensvc_ivs_requests_total`.",
        Retry.AFTER_DELAY,
    ),
    ErrorCode(
        "snapshot_stale",
        503,
        "This worker does not sign: it has not reached the store for longer than its snapshot lease, or its clock is "
        "wrong or has jumped.",
        "Use another worker; a load balancer that checks `/readyz` does this by itself. If all workers return it, the "
        "store has been gone for longer than the lease. An operator restores the worker's connection to the store, or "
        "its clock.",
        Retry.OTHER_WORKER,
    ),
    ErrorCode(
        "draining",
        503,
        "Only from `/readyz`: this worker is shutting down. It still serves other requests.",
        "Send new requests to other workers.",
        Retry.OTHER_WORKER,
    ),
    ErrorCode(
        "max_ttl_unavailable",
        503,
        "The deployment's limit on token lifetimes is damaged in the store, so no lifetime is known to be safe.",
        "Set it again: `TOKENSVC_MAX_TTL_SECONDS=3600 tokensvc db upgrade`, with your own limit.",
        Retry.OPERATOR,
    ),
    ErrorCode(
        "subject_key_lost",
        503,
        "The key that derives viewer ids from subjects is missing from the store. A new key would admit viewers that "
        "were denied by `subject`, so none is created.",
        "Restore the store's table of subject keys from a backup; `tokensvc doctor` says what is missing. Requests "
        "with `viewerId` are not affected, but `/readyz` is.",
        Retry.OPERATOR,
    ),
    ErrorCode(
        "wrapping_key_unavailable",
        503,
        "AWS KMS cannot decrypt the key that derives viewer ids from subjects. Only revocations, denials and lists by "
        "`subject` fail; tokens are still issued.",
        "Send the request again. If it keeps failing, check the KMS key and the permissions on it; run "
        "`tokensvc doctor`.",
        Retry.AFTER_DELAY,
    ),
    ErrorCode(
        "store_unavailable",
        503,
        "The store did not respond in time, cannot be reached, or is locked, full or read-only. It has not confirmed "
        "that anything was stored. Tokens are still issued, until the snapshot lease ends.",
        "Send the request again, a revocation with the same `Idempotency-Key`. An operator restores the store; the "
        "worker's log has the cause.",
        Retry.AFTER_DELAY,
    ),
    ErrorCode(
        "store_not_found",
        503,
        "The database file is not a SQLite database any more.",
        "Restore the store from a backup, or correct `TOKENSVC_DATABASE_URL`; run `tokensvc doctor`.",
        Retry.OPERATOR,
    ),
    ErrorCode(
        "schema_mismatch",
        503,
        "The store's schema belongs to another version of tokensvc.",
        "Upgrade the store with `tokensvc db upgrade`, or the service to the version that created the store. A store "
        "of a development version (schemas 0001 to 0008, 0001_initial) cannot be upgraded and must be created anew.",
        Retry.OPERATOR,
    ),
    ErrorCode(
        "row_unreadable",
        503,
        "A row that this request needs is damaged. `detail` says which.",
        "Restore the row from a backup; `tokensvc doctor` lists all damaged rows.",
        Retry.OPERATOR,
    ),
    ErrorCode(
        "store_error",
        503,
        "The store failed in another way.",
        "Send the request again. If it keeps failing, see the worker's log.",
        Retry.AFTER_DELAY,
    ),
    ErrorCode(
        "http_version_not_supported",
        505,
        "The request is not HTTP/1.1 or HTTP/1.0.",
        "Send HTTP/1.1. Terminate HTTP/2 at a proxy: a connection that starts with the preface of HTTP/2 gets 400 "
        "`malformed_request`.",
        Retry.NO,
    ),
)

ERROR_CODES: Mapping[str, ErrorCode] = {entry.code: entry for entry in _ENTRIES}
"""By code, in the order of their statuses."""
