"""A file of revocations: one JSON object a line, accepted some at a time, in order."""

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
from tokensvc.revocations.store import Accepted
from tokensvc.revocations.views import AcceptedRevocationView

BATCH_SIZE = 100
"""In one transaction: with 50 channels each they are as many viewers of channels as one may hold."""


def submit_file(admin: AdminContext, file: Path, fields: Mapping[str, Any], as_json: bool) -> None:
    """Accept what a file asks for, `-` being standard input; a line goes before `fields`. One that is refused is told
    with its number and spoils no other; the command then leaves with 1."""
    results: list[dict[str, Any]] = []
    refused = 0
    lines = _numbered_lines(file)
    while some := list(islice(lines, BATCH_SIZE)):
        requests = [_parse_line(text, fields) for _, text in some]
        readable = [request for request in requests if isinstance(request, dict)]
        outcomes = iter(admin.revocations.add_many(admin.caller, readable) if readable else ())
        for (number, _), request in zip(some, requests, strict=True):
            one = request if isinstance(request, InvalidRequest) else next(outcomes)
            if isinstance(one, Accepted):
                results.append({"line": number, **AcceptedRevocationView.of(one).model_dump()})
            else:
                refused += 1
                print_progress(f"line {number}: {one.message}")
                results.append({"line": number, "error": {"code": one.code, "message": failure_text(one)}})
    words = f"{len(results) - refused} accepted, {refused} refused. See: tokensvc revocations watch"
    print_result({"revocations": results}, as_json, words)
    if refused:
        raise typer.Exit(1)


def _numbered_lines(file: Path) -> Iterator[tuple[int, str]]:
    """Numbered from 1, without blank ones."""
    if str(file) == "-":
        yield from ((number, text) for number, text in enumerate(sys.stdin, 1) if text.strip())
        return
    if not file.is_file():
        raise InvalidRequest([FieldError("--file", "names no file")])
    with file.open(encoding="utf-8", errors="replace") as opened:
        yield from ((number, text) for number, text in enumerate(opened, 1) if text.strip())


def _parse_line(text: str, fields: Mapping[str, Any]) -> dict[str, Any] | InvalidRequest:
    """A line's ask, an object over what the options say; or why the line is none."""
    try:
        request = json_object(text.encode(), "the line")
    except InvalidRequest as refused:
        return refused
    instead = {"channelArn": "channelArns", "viewerId": "subject", "subject": "viewerId"}
    replaced = {instead[name] for name in request if name in instead}
    return {name: value for name, value in fields.items() if name not in replaced} | request
