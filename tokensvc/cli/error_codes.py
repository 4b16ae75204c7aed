"""The codes that the command line alone can fail with: what happened, and what to do.

Invariants
- A command fails with these or with a code of `http/error_codes.py`. With `--json` the code is in `error.code`.
- `exit_code` is the only mapping from an error to an exit code. `docs/reference/error-codes.md` is generated from both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tokensvc.errors import Conflict, InvalidRequest, NotAllowed, SettingsError, TokensvcError

FAILED, WRONG_USAGE, REJECTED = 1, 2, 4


def exit_code(kind: type[TokensvcError]) -> int:
    """The exit code of a command that fails with this kind of error."""
    if issubclass(kind, SettingsError | InvalidRequest):
        return WRONG_USAGE
    return REJECTED if issubclass(kind, Conflict | NotAllowed) else FAILED


class CommandErrorCode(NamedTuple):
    """A code that only commands fail with."""

    code: str
    meaning: str
    remedy: str


_ENTRIES = (
    CommandErrorCode(
        "settings_error",
        "One or more settings are invalid, missing or unknown; the message has a line for each.",
        "Correct the named variables; `tokensvc settings` shows the effective values and where they come from.",
    ),
    CommandErrorCode(
        "invalid_database_url",
        "The database URL is malformed, or names a database that is not supported.",
        "Set `TOKENSVC_DATABASE_URL` to `postgresql://…` or `sqlite:////absolute/path.db`.",
    ),
    CommandErrorCode(
        "service_unreachable",
        "The service at `--url` did not respond within 10 seconds, or the response is not from tokensvc.",
        "Correct the URL; `curl URL/livez` shows whether the service responds.",
    ),
    CommandErrorCode(
        "output_unwritable",
        "Standard output cannot be written, because its disk is full, for example. What the command did remains done.",
        "Free space or redirect the output elsewhere. If the command changes something, look at the present state "
        "before running it again; a caller's API key that was not printed is replaced by `tokensvc callers "
        "rotate-secret`.",
    ),
    CommandErrorCode("caller_not_found", "The store has no caller of this name.", "`tokensvc callers list`."),
    CommandErrorCode(
        "caller_exists",
        "The caller's name is taken. Names are never reused, not even those of disabled callers.",
        "Choose another name, or give the existing caller another API key: `tokensvc callers rotate-secret`.",
    ),
    CommandErrorCode(
        "concurrent_modification",
        "Another process changed the same record first.",
        "Look at the present state, then run the command again if it is still needed.",
    ),
    CommandErrorCode(
        "foreign_deployment",
        "The store's keys belong to another control plane or AWS account than the configured one.",
        "Correct `TOKENSVC_CONTROL_PLANE`, the AWS credentials or `TOKENSVC_DATABASE_URL`.",
    ),
    CommandErrorCode(
        "key_pair_already_imported",
        "IVS already holds this public key, in a key pair that is not (or not certainly) this deployment's.",
        "If the key pair is yours, adopt it as the message says: `tokensvc keys adopt KEY --arn ARN`.",
    ),
    CommandErrorCode(
        "key_pair_not_owned",
        "The key pair belongs to another application or to another key. It is listed and counted, never changed.",
        "Leave it, or have the application that owns it delete it.",
    ),
    CommandErrorCode(
        "key_pair_quota_reached",
        "The account and region already have as many key pairs as IVS allows.",
        "Free a slot as the message says, or wait for a retiring key: `tokensvc keys rotate --wait`.",
    ),
    CommandErrorCode(
        "rotation_blocked",
        "Another process is the rotation leader and cannot complete the rotation request. The request stays pending.",
        "Remove the cause that the message names; the leader retries by itself.",
    ),
    CommandErrorCode(
        "control_plane_denied",
        "The AWS credentials are invalid, or not allowed to call the operation.",
        "Correct the credentials, or add the permission that the message names.",
    ),
    CommandErrorCode(
        "control_plane_throttled",
        "IVS throttles the account.",
        "Run the command again in a minute; find out what else calls IVS in this account.",
    ),
    CommandErrorCode(
        "control_plane_quota_exceeded",
        "The account has as many of these resources as IVS allows.",
        "Delete one, or request a higher quota where AWS offers it (not for playback key pairs).",
    ),
    CommandErrorCode(
        "control_plane_resource_missing",
        "IVS has no such resource in this account and region.",
        "Check the ARN, the region and the credentials.",
    ),
    CommandErrorCode(
        "control_plane_conflict",
        "IVS reports a conflict with an existing resource.",
        "`tokensvc keys list --ivs` shows what IVS holds.",
    ),
    CommandErrorCode(
        "control_plane_rejected",
        "IVS, or the AWS client library, found the request invalid.",
        "The message has IVS's reason; with valid settings this is a bug in tokensvc.",
    ),
    CommandErrorCode(
        "control_plane_unavailable",
        "IVS failed, or could not be reached in time. The operation may have taken effect.",
        "Run the command again: every command may be repeated.",
    ),
    CommandErrorCode(
        "account_unverified",
        "IVS lists none of the deployment's key pairs, so the credentials may belong to another account. Nothing was "
        "deleted.",
        "Check the AWS credentials; `tokensvc doctor`.",
    ),
    CommandErrorCode(
        "private_key_missing",
        "The vault has no private key under this id.",
        "Correct `TOKENSVC_VAULT`, or restore the vault from a backup; otherwise rotate the key.",
    ),
    CommandErrorCode(
        "insecure_key_file",
        "Other users can read a private key's file or write to its directory, or own one of them.",
        "Run the `chmod` or `chown` that the message shows, then consider whether the key has leaked.",
    ),
    CommandErrorCode(
        "vault_error",
        "A private key, or another secret, cannot be stored or read.",
        "The message names the file or the row.",
    ),
)

COMMAND_ERROR_CODES: Mapping[str, CommandErrorCode] = {entry.code: entry for entry in _ENTRIES}
"""By code."""
