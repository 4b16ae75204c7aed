"""The tree of failures. No HTTP here: `http/problem_details.py` and `cli/` decide how a failure looks.

    TokensvcError                  code: stable string · message: safe to show · detail: for operators ·
                                   subject: what it is about · remedy: what ends it
    ├─ InvalidRequest              the caller can mend it; `errors` names every bad field
    │  ├─ MalformedRequest        it is not even JSON of the right form
    │  └─ IdempotencyKeyReused     the key stands for another request
    ├─ Unauthenticated            no caller stands behind the request
    ├─ NotAllowed                  the caller is known and may not
    │  ├─ InsufficientScope · ChannelNotAllowed · AnonymousViewerNotAllowed · ViewerDenied
    ├─ NotFound                    ChannelNotFound · KeyNotFound · RotationNotFound · CallerNotFound ·
    │                              RevocationNotFound · DenialNotFound
    ├─ Conflict                    CallerExists · ConcurrentModification · ForeignDeployment · KeyPairQuotaReached ·
    │                              InvalidRotationPolicy · KeyPairAlreadyImported · KeyPairNotOwned
    ├─ PlaybackUrlUnavailable      IVS has not described the channel yet, and its URL is required
    ├─ RotationBlocked                    whoever performs what was asked for does not get there
    ├─ RequestTooLarge · RequestTimeout · UnsupportedMediaType
    ├─ CannotSign                  this worker cannot sign now
    │  ├─ NoSigningKey · SnapshotStale · MaxTtlUnavailable · SubjectKeyLost
    ├─ ControlPlaneError           IVS said no, or nothing; keeps operation, IVS's code, status and request id
    │  ├─ Denied · Throttled · QuotaExceeded · ResourceMissing · AccountUnverified · ResourceConflict ·
    │     Rejected · Unavailable
    ├─ StoreError                  StoreUnavailable · SchemaMismatch · StoreReplaced · RowUnreadable
    ├─ VaultError                  PrivateKeyMissing · InsecureKeyFile · WrongPassphrase · InvalidKey
    │  ├─ WrappingKeyUnknown · WrappingKeyUnavailable
    └─ SettingsError               start-up only; lists every bad variable at once

Rules of the file
- Leaves say what happened and carry a `code` that never changes; two leaves never share one.
- `message` is shown to callers and must hold no secret, token, key or viewer id; `detail` is for
  operators (log, command line, `doctor`), and holds none of these either.
- `subject` and `remedy` are data. No message names a command or a setting's variable: the command line and HTTP each
  put the remedy into words.
- Foreign exceptions become one of these at the adapter that met them and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, NamedTuple

NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})


class Action(StrEnum):
    """Every kind of remedy. In parentheses what its parameters name."""

    DIAGNOSE = "diagnose"
    """Look for the cause with the diagnostics."""

    UPGRADE_SCHEMA = "upgrade_schema"
    CREATE_NEW_STORE = "create_new_store"
    """Leave the store that there is, and create a new one."""
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
    """Encrypt with the passphrase that the store's secrets are under."""
    ADD_PREVIOUS_PASSPHRASE = "add_previous_passphrase"  # noqa: S105 - likewise
    """Accept the former passphrase for decryption, beside the present key."""
    ADD_PREVIOUS_KMS_KEY = "add_previous_kms_key"
    """Likewise of a key of AWS KMS (arn)."""

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
    """(key_id; arn, where only one pair may be meant; candidates, where several may, separated by commas)"""
    DELETE_KEY_PAIR = "delete_key_pair"
    """(key_id, arn)"""
    FREE_KEY_SLOT = "free_key_slot"
    """(key_ids: those that can be deleted, separated by commas; foreign: "true" where others hold pairs there)"""

    CONFIGURE_REGION = "configure_region"
    """Configure the region, or cancel what waits for it (region)."""


class Remedy(NamedTuple):
    """An action, and what it is about."""

    action: Action
    parameters: Mapping[str, str] = NO_PARAMETERS


class FieldError(NamedTuple):
    """One bad field: where it is, as the caller wrote it, and the rule it breaks."""

    field: str
    rule: str
    alternative: str = ""
    """Another field that can be given instead."""
    excluded_by: str = ""
    """Another field that was given, and goes without this one."""

    @property
    def message(self) -> str:
        """The rule in words, with the other field that it is about."""
        alternative = f", or {self.alternative}" if self.alternative else ""
        excluded_by = f" when {self.excluded_by} is given" if self.excluded_by else ""
        return f"{self.rule}{alternative}{excluded_by}"


class TokensvcError(Exception):
    """Anything this service refuses or fails at, in its own words."""

    code: ClassVar[str] = "error"
    retry_after_seconds: ClassVar[int | None] = None
    """After how long the same request may succeed, where that is known."""

    def __init__(
        self, message: str, *, detail: str = "", subject: Mapping[str, str] = NO_PARAMETERS, remedy: Remedy | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.subject = subject
        """What the failure is about, by the kind of thing: `key_id`, `region`, `path`, …"""
        self.remedy = remedy
        """What ends the failure, for operators. None where whoever catches it knows better."""

    @property
    def operator_message(self) -> str:
        """Message and detail, for the log, the command line and `doctor`; never for a caller."""
        return f"{self.message}: {self.detail}" if self.detail else self.message


class InvalidRequest(TokensvcError):
    """The caller can mend this: `errors` names each bad field and its rule."""

    code = "invalid_request"

    def __init__(self, errors: Sequence[FieldError], message: str = "") -> None:
        super().__init__(message or "; ".join(f"{e.field}: {e.message}" for e in errors))
        self.errors = tuple(errors)


class MalformedRequest(InvalidRequest):
    """The body is not JSON, or not an object."""

    code = "malformed_request"

    def __init__(self, message: str) -> None:
        super().__init__((), message)


class UnsupportedMediaType(TokensvcError):
    """The body has a content coding, or is of a media type that is not JSON."""

    code = "unsupported_media_type"


class IdempotencyKeyReused(InvalidRequest):
    """The caller used this idempotency key within its 24 hours for a request that was another one."""

    code = "idempotency_key_reused"


class RequestTooLarge(TokensvcError):
    """The body is longer than this route takes."""

    code = "request_too_large"


class RequestTimeout(TokensvcError):
    """The body did not come in within the time that a request may take."""

    code = "request_timeout"


class Unauthenticated(TokensvcError):
    """No valid API key came with the request. The message never says which part was wrong."""

    code = "unauthenticated"


class NotAllowed(TokensvcError):
    """The caller is known, and its policy does not allow this."""

    code = "not_allowed"


class InsufficientScope(NotAllowed):
    """The caller was not given the scope that this route needs."""

    code = "insufficient_scope"


class ChannelNotAllowed(NotAllowed):
    """No channel pattern of the caller matches the channel."""

    code = "channel_not_allowed"


class AnonymousViewerNotAllowed(NotAllowed):
    """A token without a viewer id cannot be revoked, and the caller may not ask for one."""

    code = "anonymous_viewer_not_allowed"


class ViewerDenied(NotAllowed):
    """The viewer is denied, in this channel or in all; the message says until when."""

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
