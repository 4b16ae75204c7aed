"""`tokensvc callers list` and `show`."""

from __future__ import annotations

from datetime import datetime

from tokensvc.callers.policy_changes import changed_members
from tokensvc.cli.callers.context import Name, caller_view, kind_of, open_callers
from tokensvc.cli.help import examples
from tokensvc.cli.output import AsJson, format_table, instant_or_none, print_result


@examples(
    ("Names, states, scopes and channels", "tokensvc callers list"),
    ("With whole policies, API key ids and their last use, for a script", "tokensvc callers list --json"),
)
def list_(as_json: AsJson = False) -> None:
    """List all callers."""
    with open_callers() as store:
        records = store.list()
    rows = [
        (
            r.name,
            "disabled" if r.disabled_at else "enabled",
            ",".join(sorted(r.policy.scopes)),
            ",".join(r.policy.channels),
        )
        for r in records
    ]
    print_result(
        {"callers": [caller_view(r) for r in records]},
        as_json,
        *format_table(("NAME", "STATE", "SCOPES", "CHANNELS"), rows),
    )


@examples(
    ("Its policy, and when each API key was last used", "tokensvc callers show web-backend"),
    ("The same, for a script", "tokensvc callers show web-backend --json"),
)
def show(name: Name, as_json: AsJson = False) -> None:
    """Show a caller's policy and API keys.

    The policy is printed as in a policy file. A key's last use is known to the minute, and about a minute late.
    """
    with open_callers() as store:
        record = store.get(name)
    state = f"disabled since {instant_or_none(record.disabled_at)}" if record.disabled_at else "enabled"
    lines = [f"Caller {record.name}: {kind_of(record)}, {state}, created {instant_or_none(record.created_at)}", ""]
    lines += [f"{change.member} = {change.after}" for change in changed_members(None, record.policy)]
    lines += [f"Cannot be read: {problem}" for problem in record.problems()]
    if record.secrets:
        rows = [
            (s.key_id, _time(s.created_at), _time(s.expires_at), _time(s.last_used_at), s.last_used_from or "-")
            for s in record.secrets
        ]
        lines += ["", *format_table(("API KEY", "CREATED", "EXPIRES", "LAST USED", "FROM"), rows)]
    print_result(caller_view(record), as_json, *lines)


def _time(at: datetime | None) -> str:
    return instant_or_none(at) or "-"
