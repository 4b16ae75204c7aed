"""The codes of problems, and whether a request that failed with one may be repeated.

Generated from `http/error_codes.py` by `make reference`. To change it, change that table.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Retry(StrEnum):
    """Whether to repeat a request that failed with a code."""

    NO = "no"
    AFTER_DELAY = "after Retry-After"
    OTHER_WORKER = "on another worker"
    NEW_CONNECTION = "on a new connection"
    OPERATOR = "after an operator has acted"
    ONCE = "once"


class ProblemCode(StrEnum):
    """What happened. docs/reference/error-codes.md says what to do."""

    MALFORMED_REQUEST = "malformed_request"
    UNAUTHENTICATED = "unauthenticated"
    PLAYBACK_UNAUTHENTICATED = "playback_unauthenticated"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    CHANNEL_NOT_ALLOWED = "channel_not_allowed"
    ANONYMOUS_VIEWER_NOT_ALLOWED = "anonymous_viewer_not_allowed"
    VIEWER_DENIED = "viewer_denied"
    PLAYBACK_DENIED = "playback_denied"
    POLICY_HOOK_DENIED = "policy_hook_denied"
    CHANNEL_NOT_FOUND = "channel_not_found"
    REVOCATION_NOT_FOUND = "revocation_not_found"
    DENIAL_NOT_FOUND = "denial_not_found"
    KEY_NOT_FOUND = "key_not_found"
    ROTATION_NOT_FOUND = "rotation_not_found"
    ROUTE_NOT_FOUND = "route_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_TIMEOUT = "request_timeout"
    CONFLICT = "conflict"
    INVALID_ROTATION_POLICY = "invalid_rotation_policy"
    REQUEST_TOO_LARGE = "request_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    INVALID_REQUEST = "invalid_request"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    CLAIM_REQUIRED = "claim_required"
    RATE_LIMITED = "rate_limited"
    HEADERS_TOO_LARGE = "headers_too_large"
    INTERNAL_ERROR = "internal_error"
    WRAPPING_KEY_UNKNOWN = "wrapping_key_unknown"
    WRONG_PASSPHRASE = "wrong_passphrase"  # noqa: S105 - a code
    INVALID_KEY = "invalid_key"
    TRANSFER_CODING_NOT_SUPPORTED = "transfer_coding_not_supported"
    NO_SIGNING_KEY = "no_signing_key"
    OVERLOADED = "overloaded"
    ISSUER_UNAVAILABLE = "issuer_unavailable"
    LIMITER_UNAVAILABLE = "limiter_unavailable"
    POLICY_HOOK_UNAVAILABLE = "policy_hook_unavailable"
    PLAYBACK_URL_UNAVAILABLE = "playback_url_unavailable"
    SNAPSHOT_STALE = "snapshot_stale"
    DRAINING = "draining"
    MAX_TTL_UNAVAILABLE = "max_ttl_unavailable"
    SUBJECT_KEY_LOST = "subject_key_lost"
    WRAPPING_KEY_UNAVAILABLE = "wrapping_key_unavailable"
    STORE_UNAVAILABLE = "store_unavailable"
    STORE_NOT_FOUND = "store_not_found"
    SCHEMA_MISMATCH = "schema_mismatch"
    ROW_UNREADABLE = "row_unreadable"
    STORE_ERROR = "store_error"
    HTTP_VERSION_NOT_SUPPORTED = "http_version_not_supported"


RETRIES: Mapping[ProblemCode, Retry] = {
    ProblemCode.MALFORMED_REQUEST: Retry.NO,
    ProblemCode.UNAUTHENTICATED: Retry.NO,
    ProblemCode.PLAYBACK_UNAUTHENTICATED: Retry.NO,
    ProblemCode.INSUFFICIENT_SCOPE: Retry.NO,
    ProblemCode.CHANNEL_NOT_ALLOWED: Retry.NO,
    ProblemCode.ANONYMOUS_VIEWER_NOT_ALLOWED: Retry.NO,
    ProblemCode.VIEWER_DENIED: Retry.NO,
    ProblemCode.PLAYBACK_DENIED: Retry.NO,
    ProblemCode.POLICY_HOOK_DENIED: Retry.NO,
    ProblemCode.CHANNEL_NOT_FOUND: Retry.NO,
    ProblemCode.REVOCATION_NOT_FOUND: Retry.NO,
    ProblemCode.DENIAL_NOT_FOUND: Retry.NO,
    ProblemCode.KEY_NOT_FOUND: Retry.NO,
    ProblemCode.ROTATION_NOT_FOUND: Retry.NO,
    ProblemCode.ROUTE_NOT_FOUND: Retry.NO,
    ProblemCode.METHOD_NOT_ALLOWED: Retry.NO,
    ProblemCode.REQUEST_TIMEOUT: Retry.NEW_CONNECTION,
    ProblemCode.CONFLICT: Retry.ONCE,
    ProblemCode.INVALID_ROTATION_POLICY: Retry.NO,
    ProblemCode.REQUEST_TOO_LARGE: Retry.NO,
    ProblemCode.UNSUPPORTED_MEDIA_TYPE: Retry.NO,
    ProblemCode.INVALID_REQUEST: Retry.NO,
    ProblemCode.IDEMPOTENCY_KEY_REUSED: Retry.NO,
    ProblemCode.CLAIM_REQUIRED: Retry.NO,
    ProblemCode.RATE_LIMITED: Retry.AFTER_DELAY,
    ProblemCode.HEADERS_TOO_LARGE: Retry.NO,
    ProblemCode.INTERNAL_ERROR: Retry.ONCE,
    ProblemCode.WRAPPING_KEY_UNKNOWN: Retry.OPERATOR,
    ProblemCode.WRONG_PASSPHRASE: Retry.OPERATOR,
    ProblemCode.INVALID_KEY: Retry.OPERATOR,
    ProblemCode.TRANSFER_CODING_NOT_SUPPORTED: Retry.NO,
    ProblemCode.NO_SIGNING_KEY: Retry.OPERATOR,
    ProblemCode.OVERLOADED: Retry.OTHER_WORKER,
    ProblemCode.ISSUER_UNAVAILABLE: Retry.AFTER_DELAY,
    ProblemCode.LIMITER_UNAVAILABLE: Retry.AFTER_DELAY,
    ProblemCode.POLICY_HOOK_UNAVAILABLE: Retry.AFTER_DELAY,
    ProblemCode.PLAYBACK_URL_UNAVAILABLE: Retry.AFTER_DELAY,
    ProblemCode.SNAPSHOT_STALE: Retry.OTHER_WORKER,
    ProblemCode.DRAINING: Retry.OTHER_WORKER,
    ProblemCode.MAX_TTL_UNAVAILABLE: Retry.OPERATOR,
    ProblemCode.SUBJECT_KEY_LOST: Retry.OPERATOR,
    ProblemCode.WRAPPING_KEY_UNAVAILABLE: Retry.AFTER_DELAY,
    ProblemCode.STORE_UNAVAILABLE: Retry.AFTER_DELAY,
    ProblemCode.STORE_NOT_FOUND: Retry.OPERATOR,
    ProblemCode.SCHEMA_MISMATCH: Retry.OPERATOR,
    ProblemCode.ROW_UNREADABLE: Retry.OPERATOR,
    ProblemCode.STORE_ERROR: Retry.AFTER_DELAY,
    ProblemCode.HTTP_VERSION_NOT_SUPPORTED: Retry.NO,
}
