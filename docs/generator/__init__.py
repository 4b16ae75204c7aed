"""Writes the parts of the documentation that describe the code, and files that repeat what is stated elsewhere: the
Python client's table of codes, and the alert rules and dashboards in `deploy/`.

Invariants
- A page in `PAGES` is generated as a whole; a passage in `PASSAGES` is one part of a page that is otherwise written by
  hand, between `<!-- generated: NAME -->` and `<!-- end of generated: NAME -->`.
- What is generated is committed, so that it can be read on a code host. `make reference` writes it;
  `tests/docs/test_generated.py` fails when it is out of date.
- The same code gives the same text: nothing depends on the time, the machine or the order of a set.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from docs.generator import (
    alerts,
    architecture,
    cli,
    client_codes,
    command_output,
    dashboards,
    error_codes,
    examples,
    http_api,
    inferred,
    lifecycle,
    local_ivs,
    log_events,
    man,
    management,
    metrics,
    policy,
    settings,
)
from tokensvc.web.openapi import document
from tokensvc.web.routes import OPERATIONS

ROOT = Path(__file__).resolve().parents[1]
NOTICE = "<!-- Generated from the code by `make reference`. To change it, change the code. -->"

PAGES: Mapping[str, Callable[[], str]] = {
    "reference/cli.md": cli.page,
    "reference/command-output.md": command_output.page,
    "reference/error-codes.md": error_codes.page,
    "reference/http-api.md": http_api.page,
    "reference/management-listener.md": management.page,
    "reference/log-events.md": log_events.page,
    "reference/metrics.md": metrics.page,
    "reference/settings.md": settings.page,
}
"""Each generated page, relative to `docs/`, and what renders it."""

OPENAPI = ROOT / "reference/openapi.json"
"""The stored copy of the OpenAPI document. It is not overwritten by one that breaks clients (`api_changes.py`)."""

PASSAGES: Mapping[str, Callable[[], str]] = {
    "alerts": alerts.passage,
    "inferred": inferred.passage,
    "lifecycle": lifecycle.passage,
    "key-states": lifecycle.states_passage,
    "packages": architecture.packages_passage,
    "libraries": architecture.libraries_passage,
    "policy-members": policy.passage,
    **examples.PASSAGES,
    **local_ivs.PASSAGES,
}
"""Each generated passage by its name."""

_PASSAGE = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end of generated: \2 -->)", re.DOTALL)


def render() -> dict[Path, str]:
    """Every file that is generated, in whole or in part, with the text that it should have."""
    rendered = {ROOT / name: f"{NOTICE}\n\n{page().strip()}\n" for name, page in PAGES.items()}
    rendered[client_codes.MODULE] = client_codes.module()
    rendered[OPENAPI] = json.dumps(document(OPERATIONS), indent=2, ensure_ascii=False) + "\n"
    rendered[man.FILE] = man.page()
    rendered[ROOT / "reference" / command_output.SCHEMA] = command_output.schema_text()
    rendered |= alerts.rule_files() | dashboards.files()
    for path in sorted(ROOT.rglob("*.md")):
        if path in rendered or "node_modules" in path.parts:
            continue
        written = path.read_text("utf-8")
        updated = _PASSAGE.sub(lambda found: f"{found[1]}\n{PASSAGES[found[2]]().strip()}\n\n{found[3]}", written)
        if "<!-- generated: " in written:
            rendered[path] = updated
    return rendered
