"""Problems and remedies in words, for what is answered over HTTP.

Invariants
- The words name no command and no setting: what answers over HTTP does not know how it is operated. The command line
  has words of its own (`cli/remedies.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from tokensvc.errors import Action, Remedy
from tokensvc.problems import Problem, problem_text

REMEDIES: Mapping[Action, str] = {
    Action.UPGRADE_SCHEMA: "; its schema has to be upgraded",
    Action.CREATE_NEW_STORE: ": the old database has to be moved away, and a new one created",
    Action.ADD_PREVIOUS_PASSPHRASE: "; it has to be configured too, for decryption",
    Action.ADD_PREVIOUS_KMS_KEY: "; it has to be configured too, for decryption",
    Action.REPLACE_SIGNER: ". Take the machine out of service, or configure another signer there",
    Action.GENERATE_KEY: "; an operator has to generate one",
    Action.ROTATE_KEYS: "; rotate it first: POST /v1/keys/rotate",
    Action.RECONCILE_KEYS: "; an operator has to let the rotation resume first",
    Action.ACTIVATE_KEY: ", and activate the key if it is right",
    Action.COMPROMISE_KEY: ". If it is compromised: POST /v1/keys/{key_id}/compromise",
    Action.ADOPT_KEY_PAIR: ". If it is yours, it can be adopted",
    Action.DELETE_KEY_PAIR: ": delete it when no token of key {key_id} is needed",
    Action.FREE_KEY_SLOT: ". Delete a prepared key pair, or one that is not ours, to make room",
    Action.CONFIGURE_REGION: "; configure the region, or cancel them: POST /v1/revocations/{{id}}/cancel",
}
"""What follows the words about a failure or a problem, for those remedies that a caller may hear of. No commands: what
answers over HTTP does not know how it is operated."""


def remedy_text(remedy: Remedy | None) -> str:
    """What follows the words about a failure or a problem; "" where there is nothing to be said of a remedy."""
    if remedy is None:
        return ""
    return REMEDIES.get(remedy.action, "").format_map({"key_id": "{id}", **remedy.parameters})


def problem_sentence(background: Problem) -> str:
    """A background problem in words, with its remedy."""
    return problem_text(background) + remedy_text(background.remedy)
