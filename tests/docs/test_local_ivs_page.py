"""The reference of the local IVS has an entry for every operation of the model, with its rules and their basis."""

from __future__ import annotations

import re

from docs.generator import ROOT
from docs.generator.basis import Basis
from tokensvc.local_ivs.api_model import load
from tokensvc.local_ivs.edge.errors import ERRORS, ERRORS_BY_REASON
from tokensvc.local_ivs.service import HANDLERS
from tokensvc.tokens.validation import RULES

PAGE = (ROOT / "reference/local-ivs.md").read_text("utf-8")


def rows(head: str) -> list[list[str]]:
    """The rows of all tables with this head, cell by cell."""
    found = re.findall(rf"^\| {re.escape(head)} .*\n\| --- .*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for table in found for line in table.splitlines()]


def test_every_operation_of_the_model_has_an_entry() -> None:
    assert [row[0] for row in rows("operation |")] == [f"`{name}`" for name in sorted(load().operations)]


def test_what_is_said_to_be_served_is() -> None:
    assert {row[0].strip("`") for row in rows("operation |") if row[1] == "yes"} == HANDLERS.keys()


def test_every_rule_names_its_operations_and_its_basis() -> None:
    operations = {*load().operations, "create", "get", "update", "delete", "list", "batch get", "all"}
    for names, text, basis in rows("operations |"):
        assert set(names.replace("`", "").split(", ")) <= operations, names
        assert text.endswith("."), text
        assert basis in set(Basis), basis


def test_every_operation_links_to_rules() -> None:
    titles = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)
    for row in rows("operation |"):
        assert row[3][1:].partition("]")[0] in titles, row


def test_every_playback_rule_and_error_is_there() -> None:
    assert [row[0] for row in rows("rule |")] == [f"`{name}`" for name, _ in RULES]
    for error in (*ERRORS.values(), *ERRORS_BY_REASON.values()):
        assert f"`{error.text}`" in PAGE
