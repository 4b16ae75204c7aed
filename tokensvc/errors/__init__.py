"""The tree of failures. No HTTP here: `http/problem_details.py` and `cli/` decide how a failure looks.

    TokensvcError                  code: stable string · message: safe to show · detail: for operators ·
                                   subject: what it is about · remedy: what ends it
    ├─ InvalidRequest              the caller can mend it; `errors` names every bad field
    │  ├─ UnreadableRequest        it is not even JSON of the right form
    │  └─ IdempotencyKeyReused     the key stands for another request
    ├─ NotAuthenticated            no caller stands behind the request
    ├─ NotAllowed                  the caller is known and may not
    │  ├─ ScopeMissing · ChannelNotAllowed · AnonymousViewerNotAllowed · ViewerDenied
    ├─ NotFound                    ChannelNotFound · KeyNotFound · RotationNotFound · CallerNotFound ·
    │                              RevocationNotFound · DenialNotFound
    ├─ Conflict                    CallerExists · LostRace · ForeignDeployment · NoFreeSlot ·
    │                              PolicyCannotHold · PairTaken · ForeignPair
    ├─ PlaybackUrlUnavailable      IVS has not described the channel yet, and its URL is required
    ├─ KeptBack                    whoever performs what was asked for does not get there
    ├─ RequestTooLarge · RequestTooSlow · UnsupportedMediaType
    ├─ CannotSign                  this worker cannot sign now
    │  ├─ NoSigningKey · SnapshotStale · CeilingUnreadable · SubjectKeyLost
    ├─ ControlPlaneError           IVS said no, or nothing; keeps operation, IVS's code, status and request id
    │  ├─ Denied · Throttled · QuotaExceeded · ResourceMissing · NothingShown · ResourceConflict ·
    │     Rejected · Unavailable
    ├─ StoreError                  StoreUnavailable · SchemaMismatch · StoreReplaced · RowUnreadable
    ├─ VaultError                  PrivateKeyMissing · KeyFileTooOpen · WrongPassphrase · InvalidKey
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

from tokensvc.errors.control_plane import (
    ControlPlaneError,
    Denied,
    NothingShown,
    QuotaExceeded,
    Rejected,
    ResourceConflict,
    ResourceMissing,
    Throttled,
    Unavailable,
)
from tokensvc.errors.keeping import (
    InvalidKey,
    KeyFileTooOpen,
    PrivateKeyMissing,
    RowUnreadable,
    SchemaMismatch,
    SettingsError,
    StoreError,
    StoreReplaced,
    StoreUnavailable,
    VaultError,
    WrappingKeyUnavailable,
    WrappingKeyUnknown,
    WrongPassphrase,
)
from tokensvc.errors.remedies import Action, Remedy
from tokensvc.errors.requests import (
    AnonymousViewerNotAllowed,
    CallerExists,
    CallerNotFound,
    ChannelNotAllowed,
    ChannelNotFound,
    Conflict,
    DenialNotFound,
    ForeignDeployment,
    ForeignPair,
    IdempotencyKeyReused,
    InvalidRequest,
    KeptBack,
    KeyNotFound,
    LostRace,
    NoFreeSlot,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    PairTaken,
    PlaybackUrlUnavailable,
    PolicyCannotHold,
    RequestTooLarge,
    RequestTooSlow,
    RevocationNotFound,
    RotationNotFound,
    ScopeMissing,
    UnreadableRequest,
    UnsupportedMediaType,
    ViewerDenied,
)
from tokensvc.errors.root import (
    FieldError,
    TokensvcError,
)
from tokensvc.errors.signing import (
    CannotSign,
    CeilingUnreadable,
    NoSigningKey,
    SnapshotStale,
    SubjectKeyLost,
)

__all__ = [
    "Action",
    "AnonymousViewerNotAllowed",
    "CallerExists",
    "CallerNotFound",
    "CannotSign",
    "CeilingUnreadable",
    "ChannelNotAllowed",
    "ChannelNotFound",
    "Conflict",
    "ControlPlaneError",
    "DenialNotFound",
    "Denied",
    "FieldError",
    "ForeignDeployment",
    "ForeignPair",
    "IdempotencyKeyReused",
    "InvalidKey",
    "InvalidRequest",
    "KeptBack",
    "KeyFileTooOpen",
    "KeyNotFound",
    "LostRace",
    "NoFreeSlot",
    "NoSigningKey",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "NothingShown",
    "PairTaken",
    "PlaybackUrlUnavailable",
    "PolicyCannotHold",
    "PrivateKeyMissing",
    "QuotaExceeded",
    "Rejected",
    "Remedy",
    "RequestTooLarge",
    "RequestTooSlow",
    "ResourceConflict",
    "ResourceMissing",
    "RevocationNotFound",
    "RotationNotFound",
    "RowUnreadable",
    "SchemaMismatch",
    "ScopeMissing",
    "SettingsError",
    "SnapshotStale",
    "StoreError",
    "StoreReplaced",
    "StoreUnavailable",
    "SubjectKeyLost",
    "Throttled",
    "TokensvcError",
    "Unavailable",
    "UnreadableRequest",
    "UnsupportedMediaType",
    "VaultError",
    "ViewerDenied",
    "WrappingKeyUnavailable",
    "WrappingKeyUnknown",
    "WrongPassphrase",
]
