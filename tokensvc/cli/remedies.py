"""Remedies as commands, and failures as sentences: the one place where the command line words them.

Invariants
- A command is one line for a shell, then, where it needs one, a note in parentheses after three spaces. A word in
  capitals (FILE, URL, NAME) is for the reader to fill in.
- Parameters are quoted for the shell in a command, and stand as they are in notes and hints.
- Every action has a command (a test holds that).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import NamedTuple

from tokensvc.errors import Action, Remedy, SettingsError, TokensvcError
from tokensvc.problems import Problem, problem_text
from tokensvc.settings import Settings, variable_name

RECONCILE = Remedy(Action.RECONCILE_KEYS)
_URL = "export TOKENSVC_DATABASE_URL=URL"


class _Wording(NamedTuple):
    command: str
    note: str = ""
    hint: str = ""
    """What follows the failure's message where it is printed as a sentence; "" where the message is enough."""


_WORDINGS: Mapping[Action, _Wording] = {
    Action.DIAGNOSE: _Wording("tokensvc doctor", hint="; see tokensvc doctor"),
    Action.UPGRADE_SCHEMA: _Wording("tokensvc db upgrade", hint="; run `tokensvc db upgrade`"),
    Action.CREATE_NEW_STORE: _Wording(
        _URL,
        "of a new, empty database; then tokensvc db upgrade, which is enough once the old database is moved away",
        ": move the old database away, then run `tokensvc db upgrade` to create a new one",
    ),
    Action.UPGRADE_SERVICE: _Wording(
        "pip install --upgrade tokensvc", "the release that made the store, or a later one"
    ),
    Action.CORRECT_DATABASE_URL: _Wording(_URL, "of the store"),
    Action.REACH_STORE: _Wording(
        _URL, "or start what does not answer: {target}; for a file, give this user access to it"
    ),
    Action.RAISE_STORE_TIMEOUT: _Wording(
        "export TOKENSVC_STORE_TIMEOUT_SECONDS=20", "or find out what keeps the server busy: {target}"
    ),
    Action.WAIT_FOR_LOCK: _Wording(
        "tokensvc doctor", "again, when what holds the lock has ended; for a file, `fuser FILE` names it: {target}"
    ),
    Action.FREE_DISK_SPACE: _Wording("df -h", "and make room where the store is: {target}"),
    Action.USE_WRITABLE_STORE: _Wording(
        _URL, "of the primary, not of a replica; for a file, give this user access to it: {target}"
    ),
    Action.RESTORE_STORE: _Wording(_URL, "of the store, restored from a backup to a sound disk"),
    Action.CORRECT_LOGIN: _Wording(_URL, "with a role and a password that the server accepts: {target}"),
    Action.CREATE_DATABASE: _Wording(
        _URL, "of a database that exists, or make this one with createdb: {target}; then tokensvc db upgrade"
    ),
    Action.CREATE_DIRECTORY: _Wording("mkdir -p {path}"),
    Action.PROTECT_FILE: _Wording("chmod 600 {path}", hint="; fix it with: chmod 600 {path}"),
    Action.PROTECT_DIRECTORY: _Wording("chmod 700 {path}", hint="; fix it with: chmod 700 {path}"),
    Action.TAKE_OWNERSHIP: _Wording('chown "$(id -un)" {path}', "as root"),
    Action.REPLACE_SYMLINK: _Wording("cp --remove-destination {target} {path} && chmod 600 {path}"),
    Action.RESTORE_PASSPHRASE: _Wording(
        "unset TOKENSVC_PASSPHRASE; export TOKENSVC_PASSPHRASE_FILE=FILE",
        "with the passphrase so far in it",
        ". To move to it, give the one so far as TOKENSVC_PREVIOUS_PASSPHRASE",
    ),
    Action.ADD_PREVIOUS_PASSPHRASE: _Wording(
        "unset TOKENSVC_PREVIOUS_PASSPHRASE; export TOKENSVC_PREVIOUS_PASSPHRASE_FILE=FILE",
        "with the passphrase so far in it; or, for a KMS key, export TOKENSVC_PREVIOUS_KMS_KEY_ARN=ARN",
        "; give the key so far too, as TOKENSVC_PREVIOUS_PASSPHRASE or TOKENSVC_PREVIOUS_KMS_KEY_ARN",
    ),
    Action.ADD_PREVIOUS_KMS_KEY: _Wording(
        "export TOKENSVC_PREVIOUS_KMS_KEY_ARN={arn}",
        hint="; give the key so far too, as TOKENSVC_PREVIOUS_KMS_KEY_ARN",
    ),
    Action.CORRECT_AWS_SETTINGS: _Wording("env | grep ^AWS_", "and correct or unset the one that the message means"),
    Action.UNSET_IVS_ENDPOINT: _Wording(
        "unset AWS_ENDPOINT_URL AWS_ENDPOINT_URL_IVS", hint="; unset AWS_ENDPOINT_URL_IVS"
    ),
    Action.SET_IVS_ENDPOINT: _Wording(
        "export AWS_ENDPOINT_URL_IVS=URL",
        "that `tokensvc ivs serve` prints",
        "; set AWS_ENDPOINT_URL_IVS to the local IVS",
    ),
    Action.REPLACE_SIGNER: _Wording(
        "export TOKENSVC_SIGNER=aws-lc",
        "on that machine, or take it out of service",
        ". Take the machine out of service, or set TOKENSVC_SIGNER=aws-lc there",
    ),
    Action.GENERATE_KEY: _Wording("tokensvc keys generate", hint="; make one with: tokensvc keys generate"),
    Action.ROTATE_KEYS: _Wording("tokensvc keys rotate", hint="; first: tokensvc keys rotate"),
    Action.RECONCILE_KEYS: _Wording("tokensvc keys reconcile", hint="; first: tokensvc keys reconcile"),
    Action.ACTIVATE_KEY: _Wording(
        "tokensvc keys activate {key_id}",
        "if {arn} is the right pair",
        ", and put it to work with `tokensvc keys activate {key_id}` if it is right",
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
        "when none of its tokens is needed",
        ": when no token of key {key_id} is needed, tokensvc keys delete {arn}",
    ),
    Action.FREE_KEY_SLOT: _Wording("tokensvc keys list --ivs"),  # the hint depends on what can be deleted
    Action.CONFIGURE_REGION: _Wording(
        "export TOKENSVC_REGIONS={region}",
        "beside those that it names already; or tokensvc revocations cancel",
        "; add the region to TOKENSVC_REGIONS, or cancel them: tokensvc revocations cancel",
    ),
}


def command_of(remedy: Remedy) -> str:
    """What to run, and its note in parentheses."""
    wording, parameters = _WORDINGS[remedy.action], _parameters(remedy)
    command = wording.command.format_map({name: shlex.quote(value) for name, value in parameters.items()})
    return f"{command}   ({wording.note.format_map(parameters)})" if wording.note else command


def hint_of(remedy: Remedy | None) -> str:
    """What follows a sentence about the failure or the problem, its punctuation included; "" without a remedy."""
    if remedy is None:
        return ""
    if remedy.action is Action.FREE_KEY_SLOT:
        return _free_slot_hint(remedy)
    hint = _WORDINGS[remedy.action].hint.format_map(_parameters(remedy))
    candidates = remedy.parameters.get("candidates")
    return f"{hint}, one of {', '.join(candidates.split(','))}" if candidates else hint


def failure_text(failure: TokensvcError) -> str:
    """Message, remedy and detail in one sentence; a line for each setting of a SettingsError."""
    message = failure.message
    if isinstance(failure, SettingsError):
        message = "\n".join(f"{setting_name(e.field)}: {e.message}" for e in failure.errors)
    message += hint_of(failure.remedy)
    return f"{message}: {failure.detail}" if failure.detail else message


def problem_sentence(problem: Problem) -> str:
    """A problem in words, with its remedy."""
    return problem_text(problem) + hint_of(problem.remedy)


def setting_name(field: str) -> str:
    """A setting's variable; what is an option or a variable already stays as it is."""
    return variable_name(field) if field in Settings.model_fields else field


def _parameters(remedy: Remedy) -> dict[str, str]:
    return {"arn": "ARN", "key_id": "KEY", **remedy.parameters}


def _free_slot_hint(remedy: Remedy) -> str:
    ways = [f"tokensvc keys delete {key_id}" for key_id in remedy.parameters["key_ids"].split(",") if key_id]
    if "foreign" in remedy.parameters:
        ways.append("delete one that is not ours")
    return f". To make room: {', or '.join(ways) or 'tokensvc keys list --ivs'}"
