"""Revocations from a file: one JSON object per line, submitted in batches, in order."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import typer

from tokensvc.cli.context import AdminContext
from tokensvc.cli.output import print_progress, print_result
from tokensvc.cli.remedies import failure_text
from tokensvc.errors import FieldError, InvalidRequest, TokensvcError
from tokensvc.json_objects import json_object
from tokensvc.revocations.store import AcceptedRevocation
from tokensvc.revocations.views import AcceptedRevocationView

BATCH_SIZE = 100
"""Lines per transaction. With 50 channels each, they reach the limit of (channel, viewer) pairs per transaction."""


def submit_file(admin: AdminContext, file: Path, fields: Mapping[str, Any], as_json: bool) -> None:
    """Submit every line of a file (`-` for standard input); a line's fields take precedence over `fields`.

    A rejected line is reported with its number and does not affect the others; the command then exits with 1. After a
    failure, the results of the batches before it are printed, since those are committed.
    """
    results: list[dict[str, Any]] = []
    lines = _numbered_lines(file)
    try:
        while batch := list(islice(lines, BATCH_SIZE)):
            results += _submit_batch(admin, batch, fields)
    except (TokensvcError, KeyboardInterrupt):
        if results:
            _print_results(results, as_json)
            print_progress(f"Stopped after line {results[-1]['line']}: the lines that follow have no result.")
        raise
    _print_results(results, as_json)
    if any("error" in result for result in results):
        raise typer.Exit(1)


def _submit_batch(
    admin: AdminContext, batch: Sequence[tuple[int, bytes]], fields: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Submit these lines in one transaction; returns a result for each, and reports those that are rejected."""
    results: list[dict[str, Any]] = []
    requests = [_parse_line(text, fields) for _, text in batch]
    valid = [request for request in requests if isinstance(request, dict)]
    outcomes = iter(admin.revocations.add_many(admin.caller, valid, admin.requester) if valid else ())
    for (number, _), request in zip(batch, requests, strict=True):
        outcome = request if isinstance(request, InvalidRequest) else next(outcomes)
        if isinstance(outcome, AcceptedRevocation):
            results.append({"line": number, **AcceptedRevocationView.of(outcome).model_dump()})
        else:
            print_progress(f"line {number}: {outcome.message}")
            results.append({"line": number, "error": {"code": outcome.code, "message": failure_text(outcome)}})
    return results


def _print_results(results: Sequence[dict[str, Any]], as_json: bool) -> None:
    rejected = sum("error" in result for result in results)
    summary = f"{len(results) - rejected} accepted, {rejected} rejected. To follow delivery: tokensvc revocations watch"
    print_result({"revocations": results}, as_json, summary)


def _numbered_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, numbered from 1. Raises InvalidRequest if the file cannot be read.

    They are bytes, because text that is not UTF-8 must be rejected: if it were replaced, another viewer would be
    revoked.
    """
    try:
        with nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as opened:
            yield from ((number, text) for number, text in enumerate(opened, 1) if text.strip())
    except OSError as error:
        raise InvalidRequest([FieldError("--file", f"cannot be read: {error.strerror}")]) from None


def _parse_line(text: bytes, fields: Mapping[str, Any]) -> dict[str, Any] | InvalidRequest:
    """The request of one line, its fields over those of the options; or why it is malformed."""
    try:
        request = json_object(text, "the line")
    except InvalidRequest as malformed:
        return malformed
    alternatives = {"channelArn": "channelArns", "viewerId": "subject", "subject": "viewerId"}
    replaced = {alternatives[name] for name in request if name in alternatives}
    return {name: value for name, value in fields.items() if name not in replaced} | request
