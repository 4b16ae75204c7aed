"""What differs between two policies, member by member, for people and for audit records.

Invariants
- Members have the names of the policy document: `limits.viewer.per_minute`. A list is one member.
- A policy has no secrets, so its members can be shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tokensvc.callers.policy import CallerPolicy
from tokensvc.callers.policy_document import document_of

NOTHING = ""
"""Stands for a member that a policy does not have."""


class MemberChange(NamedTuple):
    """A member of a policy document before and after, as JSON; NOTHING where it is missing."""

    member: str
    before: str
    after: str


def changed_members(before: CallerPolicy | None, after: CallerPolicy) -> list[MemberChange]:
    """The members that differ, in the document's order. Without `before`, every member that differs from the
    defaults."""
    old = _members(before if before is not None else CallerPolicy(channels=()))
    new = _members(after)
    names = [*new, *(name for name in old if name not in new)]
    found = [MemberChange(name, old.get(name, NOTHING), new.get(name, NOTHING)) for name in names]
    if before is None:
        found = [change._replace(before=NOTHING) for change in found if change.before != change.after]
    return [change for change in found if change.before != change.after]


def _members(policy: CallerPolicy) -> dict[str, str]:
    return {name: json.dumps(value, ensure_ascii=False) for name, value in _leaves(document_of(policy), "")}


def _leaves(document: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
