"""Every exception of the service. No HTTP here: `http/problem_details.py` and `cli/` decide how an error is displayed.

    TokensvcError               code · message (safe to show) · detail (for operators) · subject · remedy
    ├─ InvalidRequest           the caller can fix it; `errors` names every bad field
    │  ├─ MalformedRequest         the body is not a JSON object
    │  ├─ IdempotencyKeyReused     the key was already used for a different request
    │  └─ ClaimRequired            the caller's policy requires a claim that the request does not ask for
    ├─ UnsupportedMediaType     the body is not JSON, or is compressed
    ├─ RequestTooLarge          the body exceeds the limit of the route
    ├─ RequestTimeout           the body did not arrive in time
    ├─ Unauthenticated          no valid credentials
    ├─ NotAllowed               the caller is authenticated, and its policy does not allow the request
    │  ├─ InsufficientScope
    │  ├─ ChannelNotAllowed
    │  ├─ AnonymousViewerNotAllowed
    │  ├─ ViewerDenied
    │  └─ PolicyHookDenied
    ├─ NotFound
    │  ├─ ChannelNotFound
    │  ├─ KeyNotFound
    │  ├─ RotationNotFound
    │  ├─ CallerNotFound
    │  ├─ RevocationNotFound
    │  └─ DenialNotFound
    ├─ PlaybackUrlUnavailable   the playback URL is required, and IVS has not returned it yet
    ├─ RateLimited              a limit of the caller, viewer, channel or address is exhausted
    ├─ Overloaded               this worker already handles as many requests as it may
    ├─ IssuerUnavailable        the keys that verify a bearer token cannot be fetched
    ├─ LimiterUnavailable       the shared rate limiter does not respond
    ├─ PolicyHookUnavailable    the policy hook does not respond
    ├─ RotationBlocked          the rotation leader cannot complete the rotation request
    ├─ Conflict                 the request contradicts the present state
    │  ├─ CallerExists
    │  ├─ ConcurrentModification
    │  ├─ ForeignDeployment
    │  ├─ InvalidRotationPolicy
    │  ├─ KeyPairAlreadyImported
    │  ├─ KeyPairNotOwned
    │  └─ KeyPairQuotaReached
    ├─ CannotSign               this worker cannot sign at the moment
    │  ├─ NoSigningKey
    │  ├─ MaxTtlUnavailable
    │  ├─ SubjectKeyLost
    │  └─ SnapshotStale
    ├─ ControlPlaneError        a call to IVS failed; has the operation, IVS's code, the HTTP status and the request id
    │  ├─ ControlPlaneDenied
    │  ├─ ControlPlaneThrottled
    │  ├─ ControlPlaneQuotaExceeded
    │  ├─ ControlPlaneResourceMissing
    │  ├─ AccountUnverified
    │  ├─ ControlPlaneConflict
    │  ├─ ControlPlaneRejected
    │  └─ ControlPlaneUnavailable
    ├─ ServiceUnreachable       a running service that a command was to ask
    ├─ OutputUnwritable         a command cannot print its result
    ├─ StoreError               the database failed
    │  ├─ StoreUnavailable
    │  ├─ StoreNotFound
    │  ├─ InvalidDatabaseUrl
    │  ├─ SchemaMismatch
    │  ├─ RowUnreadable
    │  └─ StoreReplaced
    ├─ VaultError               a private key, or another secret, cannot be stored or read
    │  ├─ PrivateKeyMissing
    │  ├─ InsecureKeyFile
    │  ├─ WrongPassphrase
    │  ├─ WrappingKeyUnknown
    │  ├─ WrappingKeyUnavailable
    │  └─ InvalidKey
    └─ SettingsError            raised only at start-up; lists every bad variable

Invariants
- Each leaf has a `code` that never changes, and no two leaves share one.
- `message` is shown to callers. `detail` is for operators: the log, the command line, `doctor`. Neither contains a
  secret, a token, a key or a viewer id.
- `subject` and `remedy` are data. No message names a command or an environment variable: the command line and HTTP
  each put the remedy into words.
- The adapter that calls a library converts its exceptions to these. No other code does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, NamedTuple

NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})


class Action(StrEnum):
    """Every kind of remedy, with its parameters in parentheses."""

    DIAGNOSE = "diagnose"
    """Run the diagnostics to find the cause."""

    UPGRADE_SCHEMA = "upgrade_schema"
    CREATE_NEW_STORE = "create_new_store"
    """Move the existing store away and create a new one."""
    UPGRADE_SERVICE = "upgrade_service"
    CORRECT_DATABASE_URL = "correct_database_url"
    REACH_STORE = "reach_store"
    """(target)"""
    RAISE_STORE_TIMEOUT = "raise_store_timeout"
    """(target)"""
    WAIT_FOR_LOCK = "wait_for_lock"
    """(target)"""
    FREE_DISK_SPACE = "free_disk_space"
    """(target)"""
    USE_WRITABLE_STORE = "use_writable_store"
    """(target)"""
    RESTORE_STORE = "restore_store"
    CORRECT_LOGIN = "correct_login"
    """(target)"""
    CREATE_DATABASE = "create_database"
    """(target)"""

    CREATE_DIRECTORY = "create_directory"
    """(path)"""
    PROTECT_FILE = "protect_file"
    """(path)"""
    PROTECT_DIRECTORY = "protect_directory"
    """(path)"""
    TAKE_OWNERSHIP = "take_ownership"
    """(path)"""
    REPLACE_SYMLINK = "replace_symlink"
    """(path, target)"""

    RESTORE_PASSPHRASE = "restore_passphrase"  # noqa: S105 - a word for an action
    """Configure the passphrase that the store's secrets are encrypted with."""
    ADD_PREVIOUS_PASSPHRASE = "add_previous_passphrase"  # noqa: S105 - likewise
    """Configure the previous passphrase as well, for decryption only."""
    ADD_PREVIOUS_KMS_KEY = "add_previous_kms_key"
    """Configure the previous AWS KMS key as well, for decryption only (arn)."""

    CORRECT_AWS_SETTINGS = "correct_aws_settings"
    UNSET_IVS_ENDPOINT = "unset_ivs_endpoint"
    SET_IVS_ENDPOINT = "set_ivs_endpoint"

    REPLACE_SIGNER = "replace_signer"
    """Use another signer on that machine."""

    GENERATE_KEY = "generate_key"
    ROTATE_KEYS = "rotate_keys"
    RECONCILE_KEYS = "reconcile_keys"
    """(key_id)"""
    ACTIVATE_KEY = "activate_key"
    """(key_id)"""
    COMPROMISE_KEY = "compromise_key"
    """(key_id)"""
    ADOPT_KEY_PAIR = "adopt_key_pair"
    """(key_id; arn if exactly one pair matches, or candidates, comma-separated, if several do)"""
    DELETE_KEY_PAIR = "delete_key_pair"
    """(key_id, arn)"""
    FREE_KEY_SLOT = "free_key_slot"
    """(key_ids: the deletable keys, comma-separated; foreign: "true" if other applications have key pairs there)"""

    CONFIGURE_REGION = "configure_region"
    """Configure the region, or cancel its queued revocations (region)."""


class Remedy(NamedTuple):
    """What to do about an error or a problem: an action and its parameters."""

    action: Action
    parameters: Mapping[str, str] = NO_PARAMETERS


class FieldError(NamedTuple):
    """One invalid field: its path as the caller wrote it, and the rule that it breaks."""

    field: str
    rule: str
    alternative: str = ""
    """Another field that can be given instead of this one."""
    excluded_by: str = ""
    """Another field that was given and excludes this one."""

    @property
    def message(self) -> str:
        """The rule as text, including the other field that it refers to."""
        alternative = f" if {self.alternative} is not given" if self.alternative else ""
        excluded_by = f" when {self.excluded_by} is given" if self.excluded_by else ""
        return f"{self.rule}{alternative}{excluded_by}"


class TokensvcError(Exception):
    """Base class of every error that the service raises on purpose."""

    code: ClassVar[str] = "error"
    retry_after_seconds: ClassVar[int | None] = None
    """After how many seconds the same request may succeed, if that is known."""

    def __init__(
        self,
        message: str,
        *,
        detail: str = "",
        subject: Mapping[str, str] = NO_PARAMETERS,
        remedy: Remedy | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.subject = subject
        """What the error is about, by kind: `key_id`, `region`, `path`, …"""
        self.remedy = remedy
        """What operators can do about it. None if only the code that catches the error can tell."""

    @property
    def operator_message(self) -> str:
        """Message and detail, for the log, the command line and `doctor`; never shown to a caller."""
        return f"{self.message}: {self.detail}" if self.detail else self.message


class InvalidRequest(TokensvcError):
    """The request is invalid: `errors` names each bad field and the rule that it breaks. `by_policy`: it asks for what
    the caller's policy does not let it have, such as another viewer or a longer lifetime, which is on record."""

    code = "invalid_request"

    def __init__(self, errors: Sequence[FieldError], message: str = "", *, by_policy: bool = False) -> None:
        super().__init__(message or "; ".join(f"{e.field}: {e.message}" for e in errors))
        self.errors = tuple(errors)
        self.by_policy = by_policy


class MalformedRequest(InvalidRequest):
    """The body is not JSON, or not a JSON object."""

    code = "malformed_request"

    def __init__(self, message: str) -> None:
        super().__init__((), message)


class IdempotencyKeyReused(InvalidRequest):
    """The caller used this idempotency key for a different request within the last 24 hours."""

    code = "idempotency_key_reused"


class ClaimRequired(InvalidRequest):
    """The caller's policy requires something of the token that the request does not ask for."""

    code = "claim_required"


class UnsupportedMediaType(TokensvcError):
    """The body has a content coding, or its media type is not JSON."""

    code = "unsupported_media_type"


class RequestTooLarge(TokensvcError):
    """The body is longer than this route accepts."""

    code = "request_too_large"


class RequestTimeout(TokensvcError):
    """The body did not arrive within the time allowed for a request."""

    code = "request_timeout"


class Unauthenticated(TokensvcError):
    """The request has no valid API key. The message never says which part of it was wrong."""

    code = "unauthenticated"

    def __init__(
        self,
        message: str,
        *,
        detail: str = "",
        credentials_sent: bool = False,
        reason: str = "",
        key_id: str = "",
        caller: str = "",
    ) -> None:
        super().__init__(message, detail=detail)
        self.credentials_sent = credentials_sent
        """Whether the request had credentials, which were not valid."""
        self.reason = reason
        """For the log: which check failed."""
        self.key_id = key_id
        """For the log: the public id of the API key that was presented; "" if it has not the form of one."""
        self.caller = caller
        """For the log: whose credentials they are; "" unless they were proven."""
        self.required_scope = ""
        """The scope that the operation requires, for the client."""


class NotAllowed(TokensvcError):
    """The caller is authenticated, and its policy does not allow the request."""

    code = "not_allowed"


class InsufficientScope(NotAllowed):
    """The caller does not have the scope that this route requires."""

    code = "insufficient_scope"


class ChannelNotAllowed(NotAllowed):
    """None of the caller's channel patterns matches the channel."""

    code = "channel_not_allowed"


class AnonymousViewerNotAllowed(NotAllowed):
    """The request names no viewer. Such a token cannot be revoked, and the caller's policy does not allow it."""

    code = "anonymous_viewer_not_allowed"


class ViewerDenied(NotAllowed):
    """The viewer is denied in this channel or in all channels; the message says until when."""

    code = "viewer_denied"


class PolicyHookDenied(NotAllowed):
    """The operator's policy hook denied the token."""

    code = "policy_hook_denied"


class NotFound(TokensvcError):
    """The requested resource does not exist."""

    code = "not_found"


class ChannelNotFound(NotFound):
    """IVS has no such channel."""

    code = "channel_not_found"


class KeyNotFound(NotFound):
    """The store has no such key."""

    code = "key_not_found"


class RotationNotFound(NotFound):
    """The store has no such rotation request."""

    code = "rotation_not_found"


class CallerNotFound(NotFound):
    """The store has no caller of this name."""

    code = "caller_not_found"


class RevocationNotFound(NotFound):
    """There is no such revocation, or this caller may not see it."""

    code = "revocation_not_found"


class DenialNotFound(NotFound):
    """There is no such denial, or it has expired, or this caller may not see it."""

    code = "denial_not_found"


class PlaybackUrlUnavailable(TokensvcError):
    """The request requires the channel's playback URL, and IVS has not returned it yet."""

    code = "playback_url_unavailable"
    retry_after_seconds = 2


class RateLimited(TokensvcError):
    """A limit of the caller, the viewer, the channel or the client's address is reached."""

    code = "rate_limited"

    def __init__(self, message: str, *, limit: str, policy: str, retry_after_seconds: int) -> None:
        super().__init__(message, subject={"limit": limit})
        self.limit = limit
        """`caller`, `viewer`, `channel` or `address`."""
        self.policy = policy
        """The limit's rate, as the value of a `RateLimit-Policy` header."""
        self.retry_after_seconds = retry_after_seconds  # type: ignore[misc] # differs from error to error


class Overloaded(TokensvcError):
    """This worker has as many requests in flight as it may have, or batches of this caller; nothing was done for the
    request."""

    code = "overloaded"
    retry_after_seconds = 1


class IssuerUnavailable(TokensvcError):
    """The keys of the bearer token's issuer cannot be fetched, and none are cached."""

    code = "issuer_unavailable"
    retry_after_seconds = 5


class LimiterUnavailable(TokensvcError):
    """The shared rate limiter did not respond, and the deployment is set to reject requests then."""

    code = "limiter_unavailable"
    retry_after_seconds = 1


class PolicyHookUnavailable(TokensvcError):
    """The operator's policy hook did not give a valid decision in time."""

    code = "policy_hook_unavailable"
    retry_after_seconds = 1


class RotationBlocked(TokensvcError):
    """The rotation leader, another process, cannot complete the rotation request; the message gives its reason."""

    code = "rotation_blocked"
    retry_after_seconds = 5


class Conflict(TokensvcError):
    """The request contradicts the present state."""

    code = "conflict"


class CallerExists(Conflict):
    """The caller's name is taken. Names are never reused, not even those of disabled callers."""

    code = "caller_exists"


class ConcurrentModification(Conflict):
    """Another process changed the same record first; read it again before retrying."""

    code = "concurrent_modification"


class ForeignDeployment(Conflict):
    """The store's keys belong to another control plane or account than the configured one."""

    code = "foreign_deployment"


class InvalidRotationPolicy(Conflict):
    """The rotation policy contradicts itself, or needs more key slots than are free; the message has the figures."""

    code = "invalid_rotation_policy"


class KeyPairAlreadyImported(Conflict):
    """This public key is already imported, under a key pair that is not (or not certainly) this deployment's."""

    code = "key_pair_already_imported"


class KeyPairNotOwned(Conflict):
    """The key pair belongs to another application: it is listed and counted, never changed."""

    code = "key_pair_not_owned"


class KeyPairQuotaReached(Conflict):
    """The account and region already have as many key pairs as IVS allows."""

    code = "key_pair_quota_reached"


class CannotSign(TokensvcError):
    """This worker cannot sign at the moment. Another worker can, or this one shortly."""

    code = "cannot_sign"
    retry_after_seconds = 1


class NoSigningKey(CannotSign):
    """The deployment has no usable active key in the channel's account and region."""

    code = "no_signing_key"


class MaxTtlUnavailable(CannotSign):
    """The store has no valid maximum TTL for the deployment, so no TTL is known to be safe."""

    code = "max_ttl_unavailable"


class SubjectKeyLost(CannotSign):
    """The store has lost the key that derives viewer ids from subjects. A new key would give every subject another
    viewer id, and viewers that were denied or revoked by subject would be let in."""

    code = "subject_key_lost"


class SnapshotStale(CannotSign):
    """The worker has not refreshed its snapshot within the lease, or its clock is wrong."""

    code = "snapshot_stale"


class ControlPlaneError(TokensvcError):
    """IVS rejected a call or did not respond. `ivs_code` is the error code of IVS, or of the transport."""

    code = "control_plane_error"

    def __init__(
        self, message: str, *, operation: str, ivs_code: str, status: int = 0, request_id: str = "", detail: str = ""
    ) -> None:
        super().__init__(message, detail=detail, subject={"operation": operation, "ivs_code": ivs_code})
        self.operation = operation
        self.ivs_code = ivs_code
        self.status = status
        self.request_id = request_id


class ControlPlaneDenied(ControlPlaneError):
    """The credentials are invalid, or not allowed to call this operation."""

    code = "control_plane_denied"


class ControlPlaneThrottled(ControlPlaneError):
    """The account's request rate is exceeded; retry later."""

    code = "control_plane_throttled"


class ControlPlaneQuotaExceeded(ControlPlaneError):
    """The account has as many of these resources as IVS allows."""

    code = "control_plane_quota_exceeded"


class ControlPlaneResourceMissing(ControlPlaneError):
    """IVS has no such resource, or the channel is not broadcasting."""

    code = "control_plane_resource_missing"


class AccountUnverified(ControlPlaneError):
    """IVS lists none of the deployment's resources: the credentials may belong to another account."""

    code = "account_unverified"


class ControlPlaneConflict(ControlPlaneError):
    """IVS reports a conflict with an existing resource."""

    code = "control_plane_conflict"


class ControlPlaneRejected(ControlPlaneError):
    """IVS, or the client library, found the request invalid."""

    code = "control_plane_rejected"


class ControlPlaneUnavailable(ControlPlaneError):
    """IVS failed, or could not be reached in time. The operation may or may not have taken effect."""

    code = "control_plane_unavailable"


class ServiceUnreachable(TokensvcError):
    """A running service that a command is to ask did not respond, or the response is not from tokensvc."""

    code = "service_unreachable"


class OutputUnwritable(TokensvcError):
    """A command cannot write its result to standard output: the disk is full, for example."""

    code = "output_unwritable"


class StoreError(TokensvcError):
    """The database failed."""

    code = "store_error"
    retry_after_seconds = 5


class StoreUnavailable(StoreError):
    """The store did not respond in time, is locked, full or unreachable. Nothing was acknowledged."""

    code = "store_unavailable"


class StoreNotFound(StoreError):
    """There is no store at the database URL: the file does not exist, or is not a SQLite database."""

    code = "store_not_found"


class InvalidDatabaseUrl(StoreError):
    """The database URL is malformed, or names a database that is not supported."""

    code = "invalid_database_url"


class SchemaMismatch(StoreError):
    """The store's schema is not the one that this release requires."""

    code = "schema_mismatch"


class RowUnreadable(StoreError):
    """A row has a value that no release of this service writes; the message names the row and the column."""

    code = "row_unreadable"


class StoreReplaced(StoreError):
    """The snapshot is not part of the store's history: the store was replaced, or restored from a backup."""

    code = "store_replaced"


class VaultError(TokensvcError):
    """A private key, or another secret, cannot be stored or read."""

    code = "vault_error"


class PrivateKeyMissing(VaultError):
    """The vault has no private key under this id."""

    code = "private_key_missing"


class InsecureKeyFile(VaultError):
    """Other users can read a private key's file or write to its directory, or own one of them."""

    code = "insecure_key_file"


class WrongPassphrase(VaultError):
    """The passphrase is not the one that the secret, or the store's secrets, are encrypted with."""

    code = "wrong_passphrase"


class WrappingKeyUnknown(VaultError):
    """A secret is encrypted with a wrapping key that is not configured."""

    code = "wrapping_key_unknown"


class WrappingKeyUnavailable(VaultError):
    """AWS KMS did not respond, or rejected the call: data keys can be neither generated nor decrypted."""

    code = "wrapping_key_unavailable"
    retry_after_seconds = 5


class InvalidKey(VaultError):
    """The input is not a readable P-384 key; the message says what it is."""

    code = "invalid_key"


class SettingsError(TokensvcError):
    """The settings are invalid; `errors` lists every bad variable."""

    code = "settings_error"

    def __init__(self, errors: Sequence[FieldError], *, remedy: Remedy | None = None) -> None:
        super().__init__("\n".join(f"{e.field}: {e.message}" for e in errors), remedy=remedy)
        self.errors = tuple(errors)
