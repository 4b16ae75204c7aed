"""The index of the alerts, from the rules on their pages.

Invariants
- A page's rules are in its first `yaml` block, each as in `_RULE`: `tests/docs/test_alerts.py` fails for any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from docs.generator.markdown import code, table

FOLDER = Path(__file__).resolve().parents[1] / "how-to/alerts"
_BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_RULE = re.compile(
    r"^- alert: (\w+)\n  expr: (.+)\n(?:  for: (\w+)\n)?  labels: \{severity: (page|ticket)\}$", re.MULTILINE
)
_ALTERNATIVES = re.compile(r'"[^"|]*\|[^"]*"')


class AlertRule(NamedTuple):
    """One alert rule of Prometheus."""

    page: Path
    name: str
    expression: str
    duration: str
    """How long the condition must hold; "" if it need not."""
    severity: str


def pages() -> list[Path]:
    """The pages about alerts, without their index."""
    return sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")


def rules_of(page: Path) -> Iterator[AlertRule]:
    """The rules of one page."""
    block = _BLOCK.search(page.read_text("utf-8"))
    for found in _RULE.finditer(block[1] if block else ""):
        yield AlertRule(page, found[1], found[2], found[3] or "", found[4])


def rules() -> list[AlertRule]:
    """All rules, by name."""
    return sorted((rule for page in pages() for rule in rules_of(page)), key=lambda rule: rule.name)


def passage() -> str:
    """All alerts as a table. Long alternatives are left out: a bar would end the cell."""
    return table(
        ("alert", "condition", "for", "severity"),
        [
            (
                f"[{rule.name}]({rule.page.name})",
                code(_ALTERNATIVES.sub('"…"', rule.expression)),
                rule.duration or "at once",
                rule.severity,
            )
            for rule in rules()
        ],
    )
