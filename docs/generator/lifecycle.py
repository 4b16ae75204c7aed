"""The diagram of a key's states, from the table of the lifecycle's moves, and the table of the states themselves."""

from __future__ import annotations

from collections.abc import Mapping

from docs.generator.markdown import code, table
from tokensvc.keys.lifecycle import ACCEPTED_STATES, KeyState, diagram

_MEANINGS: Mapping[KeyState, tuple[str, str]] = {
    KeyState.PREPARED: (
        "not yet",
        "a standby, or waiting for the propagation delay (`TOKENSVC_KEY_PROPAGATION_SECONDS`)",
    ),
    KeyState.ACTIVE: ("yes", "at most one in an account and region"),
    KeyState.RETIRING: (
        "no longer",
        (
            "drains until its last token has expired; becomes active again where no better key can sign, or when you "
            "activate it"
        ),
    ),
    KeyState.RETIRED: ("never again", "its pair is deleted, and its private key too once no region has the pair"),
    KeyState.COMPROMISED: ("never again", "its pair is deleted immediately; the deletion is retried until it succeeds"),
}
"""Whether a key of each state signs, and what the state is for."""


def passage() -> str:
    """The states and moves, as a Mermaid diagram."""
    return f"```mermaid\n{diagram()}\n```"


def states_passage() -> str:
    """The states: whether IVS should accept the key's tokens, whether it signs, and what it is for."""
    rows = [
        (code(state), "yes" if state in ACCEPTED_STATES else "no", _MEANINGS[state][0], _MEANINGS[state][1])
        for state in KeyState
    ]
    return table(("state", "IVS accepts its tokens", "signs", "meaning"), rows)
