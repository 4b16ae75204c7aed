"""How planned changes of callers are shown."""

from __future__ import annotations

import json
from typing import Any

from tokensvc.callers.policy import CallerPolicy
from tokensvc.callers.policy_changes import NOTHING, changed_members
from tokensvc.callers.store import CallerChange


def change_lines(change: CallerChange) -> list[str]:
    """A change as text: the caller, and a line for each member that differs."""
    members = changed_members(_policy_before(change), change.policy)
    lines = [f"{_verb(change)} {change.name}"]
    lines += [f"    {m.member}: {m.before or '(none)'} -> {m.after or '(none)'}" for m in members]
    if _is_disabled_by(change) is not None:
        lines.append(f"    disabled: {_json(not _is_disabled_by(change))} -> {_json(bool(_is_disabled_by(change)))}")
    return lines


def change_view(change: CallerChange) -> dict[str, Any]:
    """A change as JSON; the value of a missing member is null."""
    return {
        "name": change.name,
        "isNew": change.before is None,
        "disabled": _is_disabled_by(change),
        "members": [
            {"member": member.member, "before": _parsed(member.before), "after": _parsed(member.after)}
            for member in changed_members(_policy_before(change), change.policy)
        ],
    }


def _parsed(text: str) -> Any:
    return json.loads(text) if text != NOTHING else None


def _verb(change: CallerChange) -> str:
    if change.before is None:
        return "add"
    return {None: "change", True: "disable", False: "enable"}[_is_disabled_by(change)]


def _policy_before(change: CallerChange) -> CallerPolicy | None:
    return change.before.policy if change.before is not None else None


def _is_disabled_by(change: CallerChange) -> bool | None:
    """Whether the change disables (True) or enables (False) the caller; None if it does neither."""
    was_disabled = change.before is not None and change.before.disabled_at is not None
    is_disabled = change.disabled_at is not None
    return is_disabled if was_disabled != is_disabled else None


def _json(value: bool) -> str:
    return "true" if value else "false"
