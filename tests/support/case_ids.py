"""Ids of parametrized cases that are the same in every process, as pytest-xdist requires."""

from __future__ import annotations


def stable_repr(value: object) -> str:
    """As `str`, with the members of a set in a stable order."""
    return str(sorted(map(str, value)) if isinstance(value, set | frozenset) else value)
