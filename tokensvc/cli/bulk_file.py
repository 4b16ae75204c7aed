"""Revocations from a file: one JSON object per line, submitted in batches, in order."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import typer

from tokensvc.cli.context import AdminContext
from tokensvc.cli.output import print_progress, print_result
from tokensvc.cli.remedies import failure_text
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.json_objects import json_object
from tokensvc.revocations.store import AcceptedRevocation
from tokensvc.revocations.views import AcceptedRevocationView

BATCH_SIZE = 100
"""Lines per transaction. With 50 channels each, they reach the limit of (channel, viewer) pairs per transaction."""


def submit_file(admin: AdminContext, file: Path, fields: Mapping[str, Any], as_json: bool) -> None:
    """Submit every line of a file (`-` for standard input); a line's fields take precedence over `fields`.

    A rejected line is reported with its number and does not affect the others; the command then exits with 1.
    """
    results: list[dict[str, Any]] = []
    rejected = 0
    lines = _numbered_lines(file)
    while batch := list(islice(lines, BATCH_SIZE)):
        requests = [_parse_line(text, fields) for _, text in batch]
        valid = [request for request in requests if isinstance(request, dict)]
        outcomes = iter(admin.revocations.add_many(admin.caller, valid, admin.requester) if valid else ())
        for (number, _), request in zip(batch, requests, strict=True):
            outcome = request if isinstance(request, InvalidRequest) else next(outcomes)
            if isinstance(outcome, AcceptedRevocation):
                results.append({"line": number, **AcceptedRevocationView.of(outcome).model_dump()})
            else:
                rejected += 1
                print_progress(f"line {number}: {outcome.message}")
                results.append({"line": number, "error": {"code": outcome.code, "message": failure_text(outcome)}})
    summary = f"{len(results) - rejected} accepted, {rejected} rejected. To follow delivery: tokensvc revocations watch"
    print_result({"revocations": results}, as_json, summary)
    if rejected:
        raise typer.Exit(1)


def _numbered_lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, numbered from 1. Raises InvalidRequest if there is no such file."""
    if str(file) == "-":
        yield from ((number, text) for number, text in enumerate(sys.stdin, 1) if text.strip())
        return
    if not file.is_file():
        raise InvalidRequest([FieldError("--file", "no such file")])
    with file.open(encoding="utf-8", errors="replace") as opened:
        yield from ((number, text) for number, text in enumerate(opened, 1) if text.strip())


def _parse_line(text: str, fields: Mapping[str, Any]) -> dict[str, Any] | InvalidRequest:
    """The request of one line, its fields over those of the options; or why it is malformed."""
    try:
        request = json_object(text.encode(), "the line")
    except InvalidRequest as malformed:
        return malformed
    alternatives = {"channelArn": "channelArns", "viewerId": "subject", "subject": "viewerId"}
    replaced = {alternatives[name] for name in request if name in alternatives}
    return {name: value for name, value in fields.items() if name not in replaced} | request
