"""The policy file: which callers there are and what each may request, as TOML.

    [callers.web-backend]
    channels = ["arn:aws:ivs:us-east-1:123456789012:channel/*"]
    limits.viewer.per_minute = 6

Invariants
- A table `[callers.NAME]` has the members of a policy document (`policy_document.py`), and may have `disabled`.
- A file is valid as a whole or not at all. Every error has its line, its member and the rule.
- A plan is what differs between the file and the store; applied twice, the second plan is empty. It never deletes.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from tokensvc.callers.policy import MAX_CONFIGURABLE_TTL_SECONDS, CallerPolicy
from tokensvc.callers.policy_changes import changed_members
from tokensvc.callers.policy_document import parse_policy
from tokensvc.callers.store import CallerChange, CallerRecord
from tokensvc.errors import Conflict, FieldError, InvalidRequest
from tokensvc.toml_positions import line_of

NAME_RULE = "must be 1 to 64 letters, digits, dots, underscores or dashes, not starting with punctuation"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DISABLED = "disabled"
_MAX_ERRORS_WITH_LINES = 50
"""Finding a line takes some parses of the file, so only this many errors are reported, and how many more there are."""


class FileEntry(NamedTuple):
    """A caller in a policy file."""

    policy: CallerPolicy
    disabled: bool | None
    """None: the file leaves open whether it is disabled."""


class _Error(NamedTuple):
    path: tuple[str | int, ...]
    rule: str


def check_name(name: str) -> str:
    """Return the name of a caller. Raises ValueError stating the rule."""
    if not _NAME.fullmatch(name):
        raise ValueError(NAME_RULE)
    return name


def parse_policy_file(text: str) -> dict[str, FileEntry]:
    """The callers of a policy file, by name. Raises InvalidRequest, whose errors name line, member and rule."""
    try:
        document = tomllib.loads(text)
    except ValueError as invalid:  # tomllib's error, and that of an integer with thousands of digits
        rule = str(invalid) if isinstance(invalid, tomllib.TOMLDecodeError) else "a number has too many digits"
        raise InvalidRequest([FieldError("not a TOML file", rule)]) from None
    except RecursionError:
        raise InvalidRequest([FieldError("not a policy file", "its arrays or tables are nested too deeply")]) from None
    tables = document.get("callers", {})
    errors = [
        _Error((name,), "is unknown; callers are tables such as [callers.web-backend]")
        for name in document
        if name != "callers"
    ]
    if not isinstance(tables, dict):
        errors.append(_Error(("callers",), "must be tables such as [callers.web-backend]"))
        tables = {}
    entries: dict[str, FileEntry] = {}
    for name, table in tables.items():
        entry, bad = _parse_entry(name, table)
        errors += bad
        if entry is not None:
            entries[name] = entry
    errors += _duplicate_issuers(entries)
    if errors:
        raise InvalidRequest(_with_lines(text, errors))
    return entries


def plan_changes(
    entries: Mapping[str, FileEntry], records: Sequence[CallerRecord], at: datetime, *, prune: bool = False
) -> list[CallerChange]:
    """What makes the store as the file says, in the order of names. With `prune`, callers that the file does not name
    are disabled at `at`. New backends have no API key yet."""
    by_name = {record.name: record for record in records}
    changes = []
    for name, entry in entries.items():
        before = by_name.get(name)
        was_disabled = before is not None and before.disabled_at is not None
        disabled = was_disabled if entry.disabled is None else entry.disabled
        disabled_at = (before.disabled_at if before is not None and was_disabled else at) if disabled else None
        if before is None or before.damage or was_disabled != disabled or changed_members(before.policy, entry.policy):
            changes.append(CallerChange(name, before, entry.policy, disabled_at))
    if prune:
        changes += [
            CallerChange(record.name, record, record.policy, at)
            for record in records
            if record.name not in entries and record.disabled_at is None and not record.damage
        ]
    return sorted(changes, key=lambda change: change.name)


def check_plan(plan: Sequence[CallerChange], records: Sequence[CallerRecord]) -> None:
    """Raise Conflict for what the store would refuse, so that a plan that is only shown is judged as well: an issuer
    and audience that two enabled callers would have, and a backend that would become a viewer app, or the reverse."""
    after = {record.name: (record.policy, record.disabled_at) for record in records}
    after |= {change.name: (change.policy, change.disabled_at) for change in plan}
    owners: dict[tuple[str, str], str] = {}
    for name, (policy, disabled_at) in sorted(after.items()):
        if policy.bearer is not None and disabled_at is None:
            owner = owners.setdefault((policy.bearer.issuer, policy.bearer.audience), name)
            if owner != name:
                raise Conflict(
                    f"callers {owner} and {name} have the same issuer and audience, which must be one caller's alone"
                )
    for change in plan:
        if change.before is not None and (change.policy.bearer is None) != bool(change.before.newest_key_id):
            raise Conflict(
                f"caller {change.name} cannot become a viewer app or a backend: add a caller with another name"
            )


def _parse_entry(name: str, table: object) -> tuple[FileEntry | None, list[_Error]]:
    """The caller of a table, or its errors."""
    at = ("callers", name)
    if not isinstance(table, dict):
        return None, [_Error(at, "must be a table")]
    errors = []
    if not _NAME.fullmatch(name):
        errors.append(_Error(at, f"is not a valid caller name: {NAME_RULE}"))
    disabled = table.get(_DISABLED)
    if disabled is not None and not isinstance(disabled, bool):
        errors.append(_Error((*at, _DISABLED), "must be true or false"))
    try:
        policy = parse_policy({member: value for member, value in table.items() if member != _DISABLED})
    except InvalidRequest as invalid:
        errors += [_Error((*at, *_path(error.field, table)), error.message) for error in invalid.errors]
        return None, errors
    if (policy.max_ttl_seconds or 0) > MAX_CONFIGURABLE_TTL_SECONDS:
        errors.append(_Error((*at, "max_ttl_seconds"), f"must be at most {MAX_CONFIGURABLE_TTL_SECONDS}"))
    return (FileEntry(policy, disabled), []) if not errors else (None, errors)


def _duplicate_issuers(entries: Mapping[str, FileEntry]) -> list[_Error]:
    """Errors of callers that have the issuer and audience of one before them."""
    first: dict[tuple[str, str], str] = {}
    errors = []
    for name, entry in entries.items():
        bearer = entry.policy.bearer
        if bearer is None or entry.disabled:
            continue
        owner = first.setdefault((bearer.issuer, bearer.audience), name)
        if owner != name:
            rule = f"issuer and audience are also those of {owner}, and must be one caller's alone"
            errors.append(_Error(("callers", name, "bearer", "audience"), rule))
    return errors


def _path(field: str, table: Mapping[str, Any]) -> tuple[str | int, ...]:
    """The path of a member that is written as `bearer.required_claims.plan[0]`. The name of a claim may have dots."""
    path: list[str | int] = []
    value: Any = table
    rest = field
    while rest:
        names = value if isinstance(value, dict) else ()
        name = max((n for n in names if re.match(re.escape(n) + r"($|[.\[])", rest)), key=len, default=None)
        if name is None:
            index = re.match(r"\[(\d+)\]\.?", rest)
            if index is None:
                return (*path, rest)
            path.append(int(index[1]))
            value = value[int(index[1])] if isinstance(value, list) and int(index[1]) < len(value) else None
            rest = rest[index.end() :]
        else:
            path.append(name)
            value = names[name]
            rest = rest[len(name) :].removeprefix(".")
    return tuple(path)


def _with_lines(text: str, errors: Sequence[_Error]) -> list[FieldError]:
    located = [(line_of(text, error.path), error) for error in errors[:_MAX_ERRORS_WITH_LINES]]
    found = sorted(located, key=lambda pair: pair[0])
    fields = [FieldError(f"line {line}: {_dotted(error.path)}", error.rule) for line, error in found]
    if more := len(errors) - len(found):
        fields.append(FieldError("further errors", str(more)))
    return fields


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")
