"""Names that were replaced do not come back on the wire: in the API, the metrics, the settings, the commands, the log.

Invariants
- Only whole words count, so a former name may be a part of a present one.
- Texts meant for people are not searched. Of commands, only their names and options are.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.core
import typer.main

import tokensvc
from tokensvc import errors
from tokensvc.cli.lazy_group import COMMANDS, load_command
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.problems import ProblemCode
from tokensvc.settings import Settings, variable_name
from tokensvc.web.openapi import document
from tokensvc.web.routes import OPERATIONS

ROOT = Path(tokensvc.__file__).parent
API_FIELDS = {
    "asks",
    "notHeard",
    "hasHeard",
    "heardAt",
    "beatAt",
    "silent",
    "leads",
    "trouble",
    "unopenedKeys",
    "cannotOpen",
    "most",
    "next",
    "nextAt",
    "lookedAt",
    "drainedAt",
    "tokensOfSeconds",
    "secondsWithoutKey",
    "signs",
    "replaces",
    "places",
    "why",
    "begunAt",
    "endedAt",
    "whyNotFaster",
    "distrustStandby",
}
CODES = {
    "scope_missing",
    "not_authenticated",
    "unreadable_request",
    "request_too_slow",
    "no_such_route",
    "kept_back",
    "lost_race",
    "nothing_shown",
    "control_plane_shows_nothing",
    "policy_cannot_hold",
    "pair_taken",
    "foreign_pair",
    "no_free_slot",
    "key_file_too_open",
    "store_unfit",
    "ceiling_unreadable",
}
METRICS = {
    "tokensvc_tokens",
    "tokensvc_issue_seconds",
    "tokensvc_control_plane",
    "tokensvc_rotation_leads",
    "tokensvc_rotation_trouble",
    "tokensvc_workers_behind",
    "tokensvc_revocation_oldest_seconds",
    "tokensvc_revocations_queued",
    "tokensvc_revocation_troubles",
    "put_off",
    "loop",
    "why_not_faster",
}
SETTINGS = {
    f"TOKENSVC_{name}" for name in ("BACKGROUND", "KEY_LEAD_SECONDS", "REVOCATION_SHARE", "CHANNEL_WAIT_SECONDS")
}
COMMAND_WORDS = {"work", "resume", "--facts", "--no-rates", "--distrust-standby", "keys:", "shared-keys:"}
LOG_WORDS = {"in_a_row", "put_off", "duty", "performs", "told", "tells", "heard", "hears"}


def _names(value: Any) -> Iterator[str]:
    """The names of fields and the values of enumerations, but for what is in words, anywhere in a JSON document."""
    if isinstance(value, dict):
        for name, inside in value.items():
            if name not in ("description", "summary", "title"):
                yield name
                yield from _names(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _names(inside)
    elif isinstance(value, str):
        yield value


def _commands(command: typer.core.TyperCommand | typer.core.TyperGroup) -> Iterator[str]:
    """The names of all commands and options."""
    for parameter in command.params:
        yield from parameter.opts + parameter.secondary_opts
    if isinstance(command, typer.core.TyperGroup):
        context = typer.Context(command)
        for name in command.list_commands(context):
            yield name
            yield from _commands(command.get_command(context, name))  # type: ignore[arg-type] # typer makes nothing else


def _log_calls() -> Iterator[tuple[Path, str]]:
    """The words of every event and key of a line that the program logs."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and re.fullmatch(r"_log\.\w+", ast.unparse(node.func)):
                said = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                for text in [*said, *(keyword.arg or "" for keyword in node.keywords)]:
                    yield from ((path, word) for word in {text, *re.findall(r"\w+", text)})


def test_the_api_has_no_former_field() -> None:
    names = set(_names(document(OPERATIONS)))
    assert "viewerSessionVersion" in names, "the search finds what is there"
    assert not names & API_FIELDS


def test_no_error_or_problem_has_a_former_code() -> None:
    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    written = {word for path in ROOT.rglob("*.py") for word in re.findall(r"\"(\w+)\"", path.read_text("utf-8"))}
    assert "snapshot_stale" in codes & written
    assert not (codes | written | {code.value for code in ProblemCode}) & CODES


def test_no_metric_has_a_former_name_or_label() -> None:
    rendered = PrometheusMetrics().render().decode()
    source = (ROOT / "container" / "prometheus.py").read_text("utf-8")
    words = set(re.findall(r"\w+", re.sub(r"^# HELP.*$", "", rendered, flags=re.MULTILINE)))
    words |= {re.sub(r"_(total|bucket|sum|count)$", "", word) for word in words} | set(re.findall(r"\"(\w+)\"", source))
    assert "tokensvc_token_requests" in words
    assert not words & METRICS


def test_no_setting_has_a_former_name() -> None:
    assert not {variable_name(name) for name in Settings.model_fields} & SETTINGS


def test_no_command_or_option_has_a_former_name() -> None:
    names = {name for command in COMMANDS for name in (command, *_commands(load_command(command)))}
    assert {"worker", "reconcile", "--info-file", "--include-standby"} <= names
    assert not names & COMMAND_WORDS


def test_no_log_line_uses_a_former_word() -> None:
    words = list(_log_calls())
    assert any(word == "internal error" for _, word in words), "the search finds what is there"
    assert not [(path, word) for path, word in words if word in LOG_WORDS]
