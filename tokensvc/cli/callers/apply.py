"""`tokensvc callers apply`: makes the store's callers those of a policy file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tokensvc.callers.policy_file import FileEntry, check_plan, parse_policy_file, plan_changes
from tokensvc.callers.store import CallerChange, CallerRecord
from tokensvc.cli.callers.context import act, open_callers
from tokensvc.cli.callers.differences import change_lines, change_view
from tokensvc.cli.connection_info import create_private_file
from tokensvc.cli.help import examples
from tokensvc.cli.output import AsJson, DryRun, Yes, confirm, count_of, print_progress, print_result
from tokensvc.container.api_keys import new_api_key
from tokensvc.errors import FieldError, InvalidRequest, StoreUnavailable, TokensvcError

_MAX_BYTES = 16 * 1024 * 1024


@examples(
    ("What a policy file would change", "tokensvc callers apply callers.toml --dry-run"),
    ("Add and change callers; API keys of new backends are printed", "tokensvc callers apply callers.toml"),
    (
        "Write the API keys of new backends to files instead",
        "tokensvc callers apply callers.toml --keys-dir .",
    ),
    ("Also disable the callers that the file does not name", "tokensvc callers apply callers.toml --prune --yes"),
)
def apply(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The policy file, in TOML; - for standard input.")],
    dry_run: DryRun = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Disable the callers that the file does not name. None is deleted.")
    ] = False,
    keys_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write new API keys to DIR/NAME.key, with mode 0600, and print none."),
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Make the callers match a policy file, all or nothing. Applied again, the same file changes nothing.

    The API keys of new backends are printed, and shown only once, or written with --keys-dir. Existing keys stay as
    they are.
    """
    if keys_dir is not None and not keys_dir.is_dir():
        raise InvalidRequest([FieldError("--keys-dir", "must be a directory")])
    entries = parse_policy_file(_read(file))
    at = datetime.now(UTC)
    with open_callers() as store:
        records = store.list()
        plan = plan_changes(entries, records, at, prune=prune)
        check_plan(plan, records)
        _warn_of_disabled(entries, records)
        pruned = [change.name for change in plan if change.name not in entries]
        if pruned and not dry_run:
            confirm(
                f"Disable {count_of(len(pruned), 'caller')} that the file does not name ({', '.join(pruned)})?", yes
            )
        keys: dict[str, str] = {}
        if plan and not dry_run:
            changes = [_with_key(change, keys) for change in plan]
            with _written_keys(keys_dir, keys):
                store.apply(changes, at, act("apply"))
    lines = [line for change in plan for line in change_lines(change)]
    done = "to make" if dry_run else "made"
    lines.append(f"{count_of(len(plan), 'change')} {done}." if plan else "Nothing to change.")
    if keys_dir is not None:
        lines += [f"API key of {name}: {keys_dir / name}.key" for name in keys]
        keys = {}
    if keys:
        lines += ["", *(f"{name}  {key}" for name, key in keys.items()), ""]
        lines.append("These are the API keys of the new backends. You will not see them again.")
    print_result(
        {"changes": [change_view(change) for change in plan], "dryRun": dry_run, "apiKeys": keys}, as_json, *lines
    )


@contextmanager
def _written_keys(folder: Path | None, keys: dict[str, str]) -> Iterator[None]:
    """The API keys in files while the block makes them valid, so that none is lost; without them if it is refused. If
    the store does not respond, it may have made them valid, so they stay. No file that is there already is replaced or
    removed."""
    created: list[Path] = []
    try:
        if folder is not None:
            for name, key in keys.items():
                file = folder / f"{name}.key"
                _create(file, key)
                created.append(file)
        yield
    except StoreUnavailable:
        if created:
            print_progress(
                f"Warning: it is not known whether the keys in {folder} are valid. Compare with `tokensvc callers "
                "list`: keep the files of callers that it shows, and delete the others before you apply the file again."
            )
        raise
    except TokensvcError:
        for file in created:
            file.unlink(missing_ok=True)
        raise


def _create(file: Path, key: str) -> None:
    """Write a key to a new file. Raises InvalidRequest."""
    try:
        create_private_file(file, f"{key}\n".encode())
    except FileExistsError:
        rule = f"already has {file.name}, which is not replaced; move it away or name another directory"
    except OSError as error:
        rule = f"cannot be written: {error.strerror}"
    else:
        return
    raise InvalidRequest([FieldError("--keys-dir", rule)])


def _with_key(change: CallerChange, keys: dict[str, str]) -> CallerChange:
    """The change with an API key if it adds a backend; the key is added to `keys`."""
    if change.before is not None or change.policy.bearer is not None:
        return change
    key, secret = new_api_key()
    keys[change.name] = key
    return change._replace(secret=secret)


def _warn_of_disabled(entries: dict[str, FileEntry], records: list[CallerRecord]) -> None:
    for record in records:
        entry = entries.get(record.name)
        if entry is not None and entry.disabled is None and record.disabled_at is not None:
            print_progress(f"Warning: {record.name} stays disabled; `disabled = false` in the file would enable it.")


def _read(file: str) -> str:
    """The text of the file. Raises InvalidRequest."""
    try:
        with nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as stream:
            octets = stream.read(_MAX_BYTES + 1)
        if len(octets) <= _MAX_BYTES:
            return octets.decode("utf-8")
        reason = f"is longer than {_MAX_BYTES:,} bytes"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        reason = "is not UTF-8"
    raise InvalidRequest([FieldError("FILE", reason)])
