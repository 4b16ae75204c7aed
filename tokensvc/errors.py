"""Every exception of the service. No HTTP here: `http/problem_details.py` and `cli/` decide how an error is displayed.

    TokensvcError               code · message (safe to show) · detail (for operators) · subject · remedy
    ├─ InvalidRequest           the caller can fix it; `errors` names every bad field
    │  ├─ MalformedRequest         the body is not a JSON object
    │  └─ IdempotencyKeyReused     the key was already used for a different request
    ├─ UnsupportedMediaType     the body is not JSON, or is compressed
    ├─ RequestTooLarge          the body exceeds the limit of the route
    ├─ RequestTimeout           the body did not arrive in time
    ├─ Unauthenticated          no valid credentials
    ├─ NotAllowed               the caller is authenticated, and its policy does not allow the request
    │  ├─ InsufficientScope
    │  ├─ ChannelNotAllowed
    │  ├─ AnonymousViewerNotAllowed
    │  └─ ViewerDenied
    ├─ NotFound
    │  ├─ ChannelNotFound
    │  ├─ KeyNotFound
    │  ├─ RotationNotFound
    │  ├─ CallerNotFound
    │  ├─ RevocationNotFound
    │  └─ DenialNotFound
    ├─ PlaybackUrlUnavailable   the playback URL is required, and IVS has not returned it yet
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
    ├─ StoreError               the database failed
    │  ├─ StoreUnavailable
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
    """(key_ids: the keys that can be deleted, comma-separated; foreign: "true" if other applications have pairs there)"""

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
        alternative = f", or {self.alternative}" if self.alternative else ""
        excluded_by = f" when {self.excluded_by} is given" if self.excluded_by else ""
        return f"{self.rule}{alternative}{excluded_by}"


class TokensvcError(Exception):
    """Base class of every error that the service raises on purpose."""

    code: ClassVar[str] = "error"
    retry_after_seconds: ClassVar[int | None] = None
    """After how many seconds the same request may succeed, if that is known."""

    def __init__(
        self, message: str, *, detail: str = "", subject: Mapping[str, str] = NO_PARAMETERS, remedy: Remedy | None = None
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
    """The request is invalid: `errors` names each bad field and the rule that it breaks."""

    code = "invalid_request"

    def __init__(self, errors: Sequence[FieldError], message: str = "") -> None:
        super().__init__(message or "; ".join(f"{e.field}: {e.message}" for e in errors))
        self.errors = tuple(errors)


class MalformedRequest(InvalidRequest):
    """The body is not JSON, or not a JSON object."""

    code = "malformed_request"

    def __init__(self, message: str) -> None:
        super().__init__((), message)


class UnsupportedMediaType(TokensvcError):
    """The body has a content coding, or its media type is not JSON."""

    code = "unsupported_media_type"


class IdempotencyKeyReused(InvalidRequest):
    """The caller used this idempotency key for a different request within the last 24 hours."""

    code = "idempotency_key_reused"


class RequestTooLarge(TokensvcError):
    """The body is longer than this route accepts."""

    code = "request_too_large"


class RequestTimeout(TokensvcError):
    """The body did not arrive within the time allowed for a request."""

    code = "request_timeout"


class Unauthenticated(TokensvcError):
    """The request has no valid API key. The message never says which part of it was wrong."""

    code = "unauthenticated"


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


class NotFound(TokensvcError):
    """What was named does not exist."""

    code = "not_found"


class ChannelNotFound(NotFound):
    """IVS says that there is no such channel."""

    code = "channel_not_found"


class PlaybackUrlUnavailable(TokensvcError):
    """IVS has not described the channel yet, and the request requires its playback URL."""

    code = "playback_url_unavailable"
    retry_after_seconds = 2


class KeyNotFound(NotFound):
    """The store knows no such key."""

    code = "key_not_found"


class RotationNotFound(NotFound):
    """The store knows no such rotation."""

    code = "rotation_not_found"


class CallerNotFound(NotFound):
    """The store knows no caller of this name."""

    code = "caller_not_found"


class RevocationNotFound(NotFound):
    """There is no such revocation, or none that this caller may see."""

    code = "revocation_not_found"


class DenialNotFound(NotFound):
    """There is no such denial, or none that this caller may see, or it is over."""

    code = "denial_not_found"


class Conflict(TokensvcError):
    """It clashes with what is there."""

    code = "conflict"


class RotationBlocked(TokensvcError):
    """Another process performs what was asked for, and something keeps it back; the message says what it told."""

    code = "rotation_blocked"
    retry_after_seconds = 5


class CallerExists(Conflict):
    """A caller's name is taken for good, disabled or not."""

    code = "caller_exists"


class ConcurrentModification(Conflict):
    """Another process changed the same record first; read it again and decide anew."""

    code = "concurrent_modification"


class ForeignDeployment(Conflict):
    """The store's keys live in another control plane or account than the one at hand."""

    code = "foreign_deployment"


class InvalidRotationPolicy(Conflict):
    """The rotation policy contradicts itself, or what others leave free; the message has the arithmetic."""

    code = "invalid_rotation_policy"


class KeyPairAlreadyImported(Conflict):
    """IVS holds this public half already, under a pair that is not (or not certainly) this deployment's."""

    code = "key_pair_already_imported"


class KeyPairNotOwned(Conflict):
    """The key pair belongs to others: it is listed and counted, never touched."""

    code = "key_pair_not_owned"


class KeyPairQuotaReached(Conflict):
    """IVS holds as many key pairs as it takes in that account and region."""

    code = "key_pair_quota_reached"


class CannotSign(TokensvcError):
    """This worker cannot sign at the moment; another, or the same a little later, can."""

    code = "cannot_sign"
    retry_after_seconds = 1


class NoSigningKey(CannotSign):
    """No key of ours is active, and readable, in the channel's account and region."""

    code = "no_signing_key"


class MaxTtlUnavailable(CannotSign):
    """The deployment's longest life of a token is not what the store can hold, so no life is safe."""

    code = "max_ttl_unavailable"


class SubjectKeyLost(CannotSign):
    """The store had a key that turns subjects into viewer ids and has it no more. A new one would give every subject
    another viewer id, and viewers that were denied or revoked by subject would be let in."""

    code = "subject_key_lost"


class SnapshotStale(CannotSign):
    """The worker has not heard from the store for longer than its lease, or its clock is off."""

    code = "snapshot_stale"


class ControlPlaneError(TokensvcError):
    """IVS refused a call or did not answer. `ivs_code` is IVS's own error name, or the transport's."""

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
    """IVS does not know these credentials, or they may not do this."""

    code = "control_plane_denied"


class ControlPlaneThrottled(ControlPlaneError):
    """The account's call rate is used up; try again later."""

    code = "control_plane_throttled"


class ControlPlaneQuotaExceeded(ControlPlaneError):
    """The account holds as many of these as IVS allows."""

    code = "control_plane_quota_exceeded"


class ControlPlaneResourceMissing(ControlPlaneError):
    """IVS knows no such resource, or it is not broadcasting."""

    code = "control_plane_resource_missing"


class AccountUnverified(ControlPlaneError):
    """IVS shows nothing at all, so what is to be changed there may be in another account."""

    code = "account_unverified"


class ControlPlaneConflict(ControlPlaneError):
    """IVS says that it clashes with what is there."""

    code = "control_plane_conflict"


class ControlPlaneRejected(ControlPlaneError):
    """IVS, or the client before it, found the request itself at fault."""

    code = "control_plane_rejected"


class ControlPlaneUnavailable(ControlPlaneError):
    """IVS failed, or could not be reached in time. The effect may or may not have happened."""

    code = "control_plane_unavailable"


class StoreError(TokensvcError):
    """The store failed us."""

    code = "store_error"
    retry_after_seconds = 5


class StoreUnavailable(StoreError):
    """The store did not answer in time, is locked, full or away. Nothing was acknowledged."""

    code = "store_unavailable"


class SchemaMismatch(StoreError):
    """The store's schema is not the one that this version reads and writes."""

    code = "schema_mismatch"


class RowUnreadable(StoreError):
    """A row of the store holds what no version of this service wrote; the message names the row and the column."""

    code = "row_unreadable"


class StoreReplaced(StoreError):
    """What was read from the store is not part of its history: it was replaced, or restored from a backup."""

    code = "store_replaced"


class VaultError(TokensvcError):
    """A private key cannot be kept or read."""

    code = "vault_error"


class PrivateKeyMissing(VaultError):
    """The vault has no private half for this key."""

    code = "private_key_missing"


class InsecureKeyFile(VaultError):
    """A private key's file can be read, or its directory be written to, by other users, or one of them owns it."""

    code = "insecure_key_file"


class WrongPassphrase(VaultError):
    """The passphrase is not the one that the store's secrets are wrapped with."""

    code = "wrong_passphrase"


class WrappingKeyUnknown(VaultError):
    """A secret is wrapped by a key that the settings do not give."""

    code = "wrapping_key_unknown"


class WrappingKeyUnavailable(VaultError):
    """AWS KMS did not answer, or refused: what its key wraps can neither be opened nor made."""

    code = "wrapping_key_unavailable"
    retry_after_seconds = 5


class InvalidKey(VaultError):
    """It is not a P-384 key that can be read; the message says what it is."""

    code = "invalid_key"


class SettingsError(TokensvcError):
    """The settings do not hold; every bad variable is listed."""

    code = "settings_error"

    def __init__(self, errors: Sequence[FieldError], *, remedy: Remedy | None = None) -> None:
        super().__init__("\n".join(f"{e.field}: {e.message}" for e in errors), remedy=remedy)
        self.errors = tuple(errors)
