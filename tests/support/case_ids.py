"""Names of parametrized cases: the same in every process, so that tests may be dealt out to several."""

from __future__ import annotations


def stable_repr(value: object) -> str:
    """`str`, but that a set's members stand in order."""
    return str(sorted(map(str, value)) if isinstance(value, set | frozenset) else value)
