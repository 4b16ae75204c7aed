"""Puts remedies, failures and problems into words for the command line.

Invariants
- A command is one shell command line, then, where needed, a note in parentheses after three spaces. A word in capitals
  (FILE, URL, NAME) is for the reader to fill in.
- Parameters are shell-quoted in commands and unquoted in notes and hints.
- Every action has a command; a test checks that.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import NamedTuple

from tokensvc.errors import Action, FieldError, InvalidRequest, Remedy, SettingsError, TokensvcError
from tokensvc.problems import Problem, problem_text
from tokensvc.settings import Settings, variable_name

RECONCILE = Remedy(Action.RECONCILE_KEYS)
_URL = "export TOKENSVC_DATABASE_URL=URL"


class _Wording(NamedTuple):
    command: str
    note: str = ""
    hint: str = ""
    """Text appended to the failure's message; "" if the message is enough by itself."""


_WORDINGS: Mapping[Action, _Wording] = {
    Action.DIAGNOSE: _Wording("tokensvc doctor", hint="; run `tokensvc doctor`"),
    Action.UPGRADE_SCHEMA: _Wording("tokensvc db upgrade", hint="; run `tokensvc db upgrade`"),
    Action.CREATE_NEW_STORE: _Wording(
        _URL,
        "of a new, empty database, or move the old database away; then run tokensvc db upgrade",
        ": move the old database away, then run `tokensvc db upgrade` to create a new one",
    ),
    Action.UPGRADE_SERVICE: _Wording(
        "pip install --upgrade tokensvc", "to the release that created the store, or a later one"
    ),
    Action.CORRECT_DATABASE_URL: _Wording(_URL, "of the store"),
    Action.REACH_STORE: _Wording(_URL, "or start the server: {target}; for a file, give this user access to it"),
    Action.RAISE_STORE_TIMEOUT: _Wording(
        "export TOKENSVC_STORE_TIMEOUT_SECONDS=20", "or find out what keeps the server busy: {target}"
    ),
    Action.WAIT_FOR_LOCK: _Wording(
        "tokensvc doctor",
        "again, once the process that holds the lock has ended; for a file, `fuser FILE` shows it: {target}",
    ),
    Action.FREE_DISK_SPACE: _Wording("df -h", "and free space where the store is: {target}"),
    Action.USE_WRITABLE_STORE: _Wording(
        _URL, "of the primary, not of a replica; for a file, give this user write access: {target}"
    ),
    Action.RESTORE_STORE: _Wording(_URL, "of the store, restored from a backup to a healthy disk"),
    Action.CORRECT_LOGIN: _Wording(_URL, "with a role and a password that the server accepts: {target}"),
    Action.CREATE_DATABASE: _Wording(
        _URL,
        "of an existing database; if this one was lost, restore its backup; for a new deployment create it with "
        "createdb: {target}; then run tokensvc db upgrade",
    ),
    Action.CREATE_DIRECTORY: _Wording("mkdir -p {path}"),
    Action.PROTECT_FILE: _Wording("chmod 600 {path}", hint="; fix it with: chmod 600 {path}"),
    Action.PROTECT_DIRECTORY: _Wording("chmod 700 {path}", hint="; fix it with: chmod 700 {path}"),
    Action.TAKE_OWNERSHIP: _Wording('chown "$(id -un)" {path}', "as root"),
    Action.REPLACE_SYMLINK: _Wording("cp --remove-destination {target} {path} && chmod 600 {path}"),
    Action.RESTORE_PASSPHRASE: _Wording(
        "unset TOKENSVC_PASSPHRASE; export TOKENSVC_PASSPHRASE_FILE=FILE",
        "which contains the old passphrase",
        ". To switch to it, set the old one as TOKENSVC_PREVIOUS_PASSPHRASE",
    ),
    Action.ADD_PREVIOUS_PASSPHRASE: _Wording(
        "unset TOKENSVC_PREVIOUS_PASSPHRASE; export TOKENSVC_PREVIOUS_PASSPHRASE_FILE=FILE",
        "which contains the old passphrase; for a KMS key, export TOKENSVC_PREVIOUS_KMS_KEY_ARN=ARN",
        "; also set the old one, as TOKENSVC_PREVIOUS_PASSPHRASE or TOKENSVC_PREVIOUS_KMS_KEY_ARN",
    ),
    Action.ADD_PREVIOUS_KMS_KEY: _Wording(
        "export TOKENSVC_PREVIOUS_KMS_KEY_ARN={arn}",
        hint="; also set the old key, as TOKENSVC_PREVIOUS_KMS_KEY_ARN",
    ),
    Action.CORRECT_AWS_SETTINGS: _Wording(
        "env | grep ^AWS_", "and correct or unset the variable that the message refers to"
    ),
    Action.UNSET_IVS_ENDPOINT: _Wording(
        "unset AWS_ENDPOINT_URL AWS_ENDPOINT_URL_IVS", hint="; unset AWS_ENDPOINT_URL_IVS"
    ),
    Action.SET_IVS_ENDPOINT: _Wording(
        "export AWS_ENDPOINT_URL_IVS=URL",
        "as printed by `tokensvc ivs serve`",
        "; set AWS_ENDPOINT_URL_IVS to the local IVS",
    ),
    Action.REPLACE_SIGNER: _Wording(
        "export TOKENSVC_SIGNER=aws-lc",
        "on that machine, or take it out of service",
        ". Take the machine out of service, or set TOKENSVC_SIGNER=aws-lc there",
    ),
    Action.GENERATE_KEY: _Wording("tokensvc keys generate", hint="; create one with: tokensvc keys generate"),
    Action.ROTATE_KEYS: _Wording("tokensvc keys rotate", hint="; first: tokensvc keys rotate"),
    Action.RECONCILE_KEYS: _Wording("tokensvc keys reconcile", hint="; first: tokensvc keys reconcile"),
    Action.ACTIVATE_KEY: _Wording(
        "tokensvc keys activate {key_id}",
        "if {arn} is the right pair",
        "; if it is the right pair, run `tokensvc keys activate {key_id}`",
    ),
    Action.COMPROMISE_KEY: _Wording(
        "tokensvc keys compromise {key_id}", hint=". If it is compromised: tokensvc keys compromise {key_id}"
    ),
    Action.ADOPT_KEY_PAIR: _Wording(
        "tokensvc keys adopt {key_id} --arn {arn}",
        hint=". If it is yours, adopt it: tokensvc keys adopt {key_id} --arn {arn}",
    ),
    Action.DELETE_KEY_PAIR: _Wording(
        "tokensvc keys delete {arn}",
        "once its tokens are no longer needed",
        "; once its tokens are no longer needed, run: tokensvc keys delete {arn}",
    ),
    Action.FREE_KEY_SLOT: _Wording("tokensvc keys list --ivs"),  # the hint depends on what can be deleted
    Action.CONFIGURE_REGION: _Wording(
        "export TOKENSVC_REGIONS={region}",
        "in addition to the regions that it lists already; or run tokensvc revocations cancel",
        "; add the region to TOKENSVC_REGIONS, or cancel them: tokensvc revocations cancel",
    ),
}


def command_of(remedy: Remedy) -> str:
    """The command to run, with its note in parentheses."""
    wording, parameters = _WORDINGS[remedy.action], _parameters(remedy)
    command = wording.command.format_map({name: shlex.quote(value) for name, value in parameters.items()})
    return f"{command}   ({wording.note.format_map(parameters)})" if wording.note else command


def hint_of(remedy: Remedy | None) -> str:
    """Text to append to a sentence about the failure or problem, punctuation included; "" without a remedy."""
    if remedy is None:
        return ""
    if remedy.action is Action.FREE_KEY_SLOT:
        return _free_slot_hint(remedy)
    hint = _WORDINGS[remedy.action].hint.format_map(_parameters(remedy))
    candidates = remedy.parameters.get("candidates")
    return f"{hint}, one of {', '.join(candidates.split(','))}" if candidates else hint


def failure_text(failure: TokensvcError) -> str:
    """Message, remedy and detail in one sentence; one line per setting for a SettingsError."""
    message = failure.message
    if isinstance(failure, InvalidRequest) and failure.errors:
        message = "; ".join(map(field_error_text, failure.errors))
    if isinstance(failure, SettingsError):
        message = "\n".join(f"{setting_name(e.field)}: {e.message}" for e in failure.errors)
    message += hint_of(failure.remedy)
    return f"{message}: {failure.detail}" if failure.detail else message


def field_error_text(error: FieldError) -> str:
    """An invalid option or field in words: `--until or --deny-for is required`."""
    if error.alternative:
        return f"{error.field} or {error.alternative} {error._replace(alternative='').message}"
    return f"{error.field}: {error.message}"


def problem_sentence(problem: Problem) -> str:
    """A problem in words, with its remedy."""
    return problem_text(problem) + hint_of(problem.remedy)


def setting_name(field: str) -> str:
    """The variable of a setting; an option or a variable is returned unchanged."""
    return variable_name(field) if field in Settings.model_fields else field


def _parameters(remedy: Remedy) -> dict[str, str]:
    return {"arn": "ARN", "key_id": "KEY", **remedy.parameters}


def _free_slot_hint(remedy: Remedy) -> str:
    choices = [f"tokensvc keys delete {key_id}" for key_id in remedy.parameters["key_ids"].split(",") if key_id]
    if "foreign" in remedy.parameters:
        choices.append("delete a key pair of another application")
    return f". To free a slot: {', or '.join(choices) or 'tokensvc keys list --ivs'}"
