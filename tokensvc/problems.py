"""What keeps the service from its work and operators should know of: a code and what it is about.

Invariants
- A problem is data from where it is noticed to where it is shown: it is stored, compared and filtered by its code and
  region, and put into words (`problem_text`) by what shows it: an HTTP response, a command, a log line.
- Parameters hold no secret, no token, no key and no viewer id.
- A code that is not known here (stored by a newer version) is shown as it is.
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
    """One problem: what it is, where, and what it is about."""

    code: str
    """A `ProblemCode`, or that of a newer version."""
    region: str = ""
    """"" where it is no region's."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    remedy: Remedy | None = None

    def __hash__(self) -> int:
        return hash((self.code, self.region, tuple(sorted(self.parameters.items()))))


C = ProblemCode
BLOCKS_ISSUING = frozenset({C.NO_ACTIVE_KEY, C.ACTIVE_KEY_NOT_IN_IVS, C.ACTIVE_KEY_UNVERIFIED, C.ACTIVE_KEY_LOST})
"""Tokens of the region are refused by IVS, or cannot be signed."""

BLOCKS_ROTATION = BLOCKS_ISSUING | {C.ROTATION_FAILED, C.ROTATION_BLOCKED}
"""Why the rotation of a region goes no further."""

TEXTS: Mapping[str, str] = {
    C.NO_ACTIVE_KEY: "{region}: no key signs, so no token can be issued",
    C.ACTIVE_KEY_NOT_IN_IVS: "{region}: IVS says that it does not hold key {key_id}, which signs; it is asked again "
    "before another key takes over",
    C.ACTIVE_KEY_UNVERIFIED: "{region}: IVS says that it does not hold key {key_id}, which signs; but it shows no pair "
    "of this account either: see that credentials and endpoint are the right ones",
    C.ACTIVE_KEY_LOST: "{region}: the private half of key {key_id}, which signs, is lost or damaged",
    C.ROTATION_FAILED: "{region}: {reason}",
    C.ROTATION_BLOCKED: "{region}: {reason}",
    C.ROTATION_NOT_RUNNING: "rotation does not run: {reason}",
    C.INVALID_ROTATION_POLICY: "{reason}",
    C.TOO_FEW_KEY_SLOTS: "{reason}",
    C.COMPROMISE_UNRECORDED: "a pair of key {key_id} in {region} is tagged as compromised, and the store does not know "
    "of it yet",
    C.IMPORT_UNRECORDED: "IVS holds key {key_id} in {region} as {arn}, which is not recorded yet",
    C.KEY_UNREADABLE: "key {key_id} cannot be read and is left as it is: {reason}",
    C.DELETED_KEY_PAIR_IN_IVS: "IVS holds {arn} in {region}, which is recorded as gone",
    C.KEY_PAIR_OF_UNKNOWN_KEY: "IVS holds {arn} in {region} under our tag for a key that the store does not know: "
    "{key_id}",
    C.KEY_PAIR_OF_UNREADABLE_KEY: "IVS holds {arn} in {region} for key {key_id}, which cannot be read: {reason}",
    C.SECOND_KEY_PAIR: "IVS holds key {key_id} in {region} as {arn}, and the store knows it as {recorded_arn}",
    C.PRIVATE_KEY_DAMAGED: "the private half of key {key_id} cannot sign: {reason}",
    C.PRIVATE_KEY_MISSING: "the private half of key {key_id} is not in the vault",
    C.KEY_NOT_IN_IVS: "IVS does not hold key {key_id} in {region} any more",
    C.FINGERPRINT_DIFFERS: "IVS shows another fingerprint for key {key_id} in {region} than ours: look at {arn}",
    C.REVOCATIONS_UNSERVED: "{region}: {queued} revocations wait for account {account}, where this deployment has no "
    "key",
    C.REVOCATIONS_LATE: "{region}: {queued} revocations wait for IVS, the oldest for {oldest_seconds} s",
    C.REVOCATIONS_REJECTED: "{region}: IVS takes no revocations: {ivs_codes}",
    C.SIGNER_FAILED: "worker {worker_id}: {reason}",
    C.HEARTBEAT_UNREADABLE: "this worker's heartbeat cannot be read",
}
"""Each in English, by code."""


def problem_text(problem: Problem) -> str:
    """The problem in words, without its remedy."""
    text = TEXTS.get(problem.code)
    if text is None:
        return f"{problem.region}: {problem.code}" if problem.region else str(problem.code)
    try:
        return text.format_map({"region": problem.region, **problem.parameters})
    except KeyError:  # a version with other parameters stored it
        return f"{problem.region}: {problem.code}" if problem.region else str(problem.code)
