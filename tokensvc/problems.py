"""Problems of a running service that operators should know of: a code with parameters.

Invariants
- A problem is data until it is displayed: it is stored, compared and filtered by its code and region, and converted to
  text (`problem_text`) only in an HTTP response, by a command or in a log line.
- Parameters contain no secret, no token, no key and no viewer id.
- A code that this release does not know (stored by a newer release) is displayed as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tokensvc.errors import Remedy


class ProblemCode(StrEnum):
    """Every kind of problem. The texts below name the parameters of each."""

    NO_ACTIVE_KEY = "no_active_key"
    ACTIVE_KEY_NOT_IN_IVS = "active_key_not_in_ivs"
    ACTIVE_KEY_UNVERIFIED = "active_key_unverified"
    ACTIVE_KEY_LOST = "active_key_lost"
    ROTATION_FAILED = "rotation_failed"
    ROTATION_BLOCKED = "rotation_blocked"
    ROTATION_NOT_RUNNING = "rotation_not_running"
    INVALID_ROTATION_POLICY = "invalid_rotation_policy"
    TOO_FEW_KEY_SLOTS = "too_few_key_slots"

    COMPROMISE_UNRECORDED = "compromise_unrecorded"
    IMPORT_UNRECORDED = "import_unrecorded"
    KEY_UNREADABLE = "key_unreadable"
    DELETED_KEY_PAIR_IN_IVS = "deleted_key_pair_in_ivs"
    KEY_PAIR_OF_UNKNOWN_KEY = "key_pair_of_unknown_key"
    KEY_PAIR_OF_UNREADABLE_KEY = "key_pair_of_unreadable_key"
    SECOND_KEY_PAIR = "second_key_pair"
    PRIVATE_KEY_DAMAGED = "private_key_damaged"
    PRIVATE_KEY_MISSING = "private_key_missing"
    KEY_NOT_IN_IVS = "key_not_in_ivs"
    FINGERPRINT_DIFFERS = "fingerprint_differs"

    REVOCATIONS_UNSERVED = "revocations_unserved"
    REVOCATIONS_LATE = "revocations_late"
    REVOCATIONS_REJECTED = "revocations_rejected"

    SIGNER_FAILED = "signer_failed"
    HEARTBEAT_UNREADABLE = "heartbeat_unreadable"


@dataclass(frozen=True)
class Problem:
    """One problem."""

    code: str
    """A `ProblemCode`, or a code of a newer release."""
    region: str = ""
    """Empty for a problem that does not concern one region."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    remedy: Remedy | None = None

    def __hash__(self) -> int:
        return hash((self.code, self.region, tuple(sorted(self.parameters.items()))))


C = ProblemCode
BLOCKS_ISSUING = frozenset({C.NO_ACTIVE_KEY, C.ACTIVE_KEY_NOT_IN_IVS, C.ACTIVE_KEY_UNVERIFIED, C.ACTIVE_KEY_LOST})
"""IVS rejects the tokens of the region, or no token can be signed."""

BLOCKS_ROTATION = BLOCKS_ISSUING | {C.ROTATION_FAILED, C.ROTATION_BLOCKED}
"""The rotation of the region cannot continue."""

TEXTS: Mapping[str, str] = {
    C.NO_ACTIVE_KEY: "{region}: there is no active key, so no token can be issued",
    C.ACTIVE_KEY_NOT_IN_IVS: "{region}: IVS reports that it does not hold key {key_id}, which is active; another key "
    "takes over if a second check confirms it",
    C.ACTIVE_KEY_UNVERIFIED: "{region}: IVS reports that it does not hold key {key_id}, which is active, but it lists "
    "no other key pair of this account either: check the credentials and the endpoint",
    C.ACTIVE_KEY_LOST: "{region}: the private key of the active key {key_id} is lost or damaged",
    C.ROTATION_FAILED: "{region}: {reason}",
    C.ROTATION_BLOCKED: "{region}: {reason}",
    C.ROTATION_NOT_RUNNING: "rotation is not running: {reason}",
    C.INVALID_ROTATION_POLICY: "{reason}",
    C.TOO_FEW_KEY_SLOTS: "{reason}",
    C.COMPROMISE_UNRECORDED: "a key pair of key {key_id} in {region} is tagged as compromised, which is not recorded "
    "yet",
    C.IMPORT_UNRECORDED: "IVS holds key {key_id} in {region} as {arn}, which is not recorded yet",
    C.KEY_UNREADABLE: "key {key_id} cannot be read and is not changed: {reason}",
    C.DELETED_KEY_PAIR_IN_IVS: "IVS holds {arn} in {region}, which is recorded as deleted",
    C.KEY_PAIR_OF_UNKNOWN_KEY: "IVS holds {arn} in {region} with this deployment's tag, for a key that the store does "
    "not have: {key_id}",
    C.KEY_PAIR_OF_UNREADABLE_KEY: "IVS holds {arn} in {region} for key {key_id}, which cannot be read: {reason}",
    C.SECOND_KEY_PAIR: "IVS holds key {key_id} in {region} as {arn}, and the store has it as {recorded_arn}",
    C.PRIVATE_KEY_DAMAGED: "the private key of key {key_id} cannot sign: {reason}",
    C.PRIVATE_KEY_MISSING: "the private key of key {key_id} is not in the vault",
    C.KEY_NOT_IN_IVS: "IVS no longer holds key {key_id} in {region}",
    C.FINGERPRINT_DIFFERS: "IVS reports another fingerprint for key {key_id} in {region} than the store: check {arn}",
    C.REVOCATIONS_UNSERVED: "{region}: {queued} revocations are queued for account {account}, where this deployment "
    "has no key",
    C.REVOCATIONS_LATE: "{region}: {queued} revocations are queued, the oldest for {oldest_age_seconds} s",
    C.REVOCATIONS_REJECTED: "{region}: IVS rejects all revocations: {ivs_codes}",
    C.SIGNER_FAILED: "worker {worker_id}: {reason}",
    C.HEARTBEAT_UNREADABLE: "this worker's heartbeat cannot be read",
}
"""The text of each code, in English."""


def problem_text(problem: Problem) -> str:
    """The problem as text, without its remedy."""
    text = TEXTS.get(problem.code)
    if text is None:
        return f"{problem.region}: {problem.code}" if problem.region else str(problem.code)
    try:
        return text.format_map({"region": problem.region, **problem.parameters})
    except KeyError:  # stored by a release with other parameters
        return f"{problem.region}: {problem.code}" if problem.region else str(problem.code)
