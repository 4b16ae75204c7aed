"""The diagram of a key's states, from the table of the lifecycle's moves."""

from __future__ import annotations

from tokensvc.keys.lifecycle import diagram


def passage() -> str:
    """The states and moves, as a Mermaid diagram."""
    return f"```mermaid\n{diagram()}\n```"
