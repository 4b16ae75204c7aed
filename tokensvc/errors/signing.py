"""Why this worker cannot sign at the moment."""

from __future__ import annotations

from tokensvc.errors.root import TokensvcError


class CannotSign(TokensvcError):
    """This worker cannot sign at the moment; another, or the same a little later, can."""

    code = "cannot_sign"
    retry_after_seconds = 1


class NoSigningKey(CannotSign):
    """No key of ours is active, and readable, in the channel's account and region."""

    code = "no_signing_key"


class CeilingUnreadable(CannotSign):
    """The deployment's longest life of a token is not what the store can hold, so no life is safe."""

    code = "ceiling_unreadable"


class SubjectKeyLost(CannotSign):
    """The store had a key that turns subjects into viewer ids and has it no more. A new one would give every subject
    another viewer id, and viewers that were denied or revoked by subject would be let in."""

    code = "subject_key_lost"


class SnapshotStale(CannotSign):
    """The worker has not heard from the store for longer than its lease, or its clock is off."""

    code = "snapshot_stale"
