"""Texts of problems and remedies in HTTP responses.

Invariants
- A text names no command and no setting, since an HTTP client does not operate the service. The command line has its
  own texts (`cli/remedies.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from tokensvc.errors import Action, Remedy
from tokensvc.problems import Problem, problem_text

REMEDIES: Mapping[Action, str] = {
    Action.UPGRADE_SCHEMA: "; its schema must be upgraded",
    Action.CREATE_NEW_STORE: ": the old database must be moved away, and a new one created",
    Action.ADD_PREVIOUS_PASSPHRASE: "; it must also be configured, for decryption only",
    Action.ADD_PREVIOUS_KMS_KEY: "; it must also be configured, for decryption only",
    Action.REPLACE_SIGNER: ". Take the machine out of service, or configure another signer there",
    Action.GENERATE_KEY: "; an operator must generate one",
    Action.ROTATE_KEYS: "; rotate it first: POST /v1/keys/rotate",
    Action.RECONCILE_KEYS: "; an operator must reconcile the keys first",
    Action.ACTIVATE_KEY: ", and activate the key if it is the right one",
    Action.COMPROMISE_KEY: ". If it is compromised: POST /v1/keys/{key_id}/compromise",
    Action.ADOPT_KEY_PAIR: ". If it is yours, it can be adopted",
    Action.DELETE_KEY_PAIR: ": delete it when no token of key {key_id} is needed",
    Action.FREE_KEY_SLOT: ". Delete a prepared key pair, or one of another application, to free a slot",
    Action.CONFIGURE_REGION: "; configure the region, or cancel the revocations: POST /v1/revocations/{{id}}/cancel",
}
"""The text that follows an error or a problem, for the remedies that may be shown to a caller."""


def remedy_text(remedy: Remedy | None) -> str:
    """The text that follows an error or a problem; "" if there is none for this remedy."""
    if remedy is None:
        return ""
    return REMEDIES.get(remedy.action, "").format_map({"key_id": "{id}", **remedy.parameters})


def problem_sentence(background: Problem) -> str:
    """The text of a background problem, with its remedy."""
    return problem_text(background) + remedy_text(background.remedy)
