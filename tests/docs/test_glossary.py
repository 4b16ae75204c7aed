"""The glossary can be searched by eye: its terms are in alphabetical order, each once, on one line."""

from __future__ import annotations

import re
from pathlib import Path

import tokensvc
from tokensvc.keys.lifecycle import KeyState

GLOSSARY = Path(tokensvc.__file__).parent.parent / "docs/explanation/glossary.md"
TERMS = re.findall(r"^\| (.+?) \| .+ \|$", GLOSSARY.read_text("utf-8"), re.MULTILINE)[2:]


def _sort_key(term: str) -> str:
    return re.sub(r"[^a-z0-9 ]", "", term.lower())


def test_the_terms_are_in_alphabetical_order_and_each_is_there_once() -> None:
    keys = [_sort_key(term) for term in TERMS]
    assert keys == sorted(set(keys))


def test_every_state_of_a_key_is_explained() -> None:
    assert {state.value for state in KeyState} <= set(TERMS)
