"""The tables of error codes have every error of the tree and every code in the source, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import tokensvc
from tests.test_errors import CLASSES
from tokensvc import errors
from tokensvc.cli.error_codes import COMMAND_ERROR_CODES
from tokensvc.http.error_codes import ERROR_CODES
from tokensvc.http.problem_details import status_of
from tokensvc.web.routes import OPERATIONS

SOURCES = {path: path.read_text("utf-8") for path in sorted(Path(tokensvc.__file__).parent.rglob("*.py"))}
NEVER_RENDERED = {"error", "cannot_sign", "not_allowed", "not_found", "control_plane_error", "store_replaced"}
"""Codes of branches, which nothing raises by themselves, and one that a background task handles."""


def test_every_error_has_an_entry_in_exactly_one_table() -> None:
    codes = {kind.code for kind in CLASSES} - NEVER_RENDERED
    assert codes <= ERROR_CODES.keys() | COMMAND_ERROR_CODES.keys()
    assert not ERROR_CODES.keys() & COMMAND_ERROR_CODES.keys()
    assert COMMAND_ERROR_CODES.keys() <= codes


def test_what_is_never_rendered_is_raised_nowhere_but_in_the_store() -> None:
    for kind in CLASSES:
        if kind.code in NEVER_RENDERED - {"store_replaced"}:
            raised = re.compile(rf"raise {kind.__name__}\(")
            assert not [path for path, text in SOURCES.items() if raised.search(text)], kind


def test_every_code_that_is_written_in_the_source_has_an_entry_with_its_status() -> None:
    written = {
        code: int(status)
        for text in SOURCES.values()
        for status, code in re.findall(r'(?:problem_response|make_problem)\(\s*(\d+), "(\w+)"', text)
    } | {"route_not_found": 404, "draining": 503}
    raised = {kind.code for kind in CLASSES}
    assert {
        code: entry.status for code, entry in ERROR_CODES.items() if code not in raised or code in written
    } == written


def test_every_entry_has_the_status_of_its_error() -> None:
    for kind in CLASSES:
        if kind.code in ERROR_CODES:
            error = kind.__new__(kind)
            assert ERROR_CODES[kind.code].status == status_of(error), kind


def test_the_codes_are_in_the_order_of_their_statuses() -> None:
    statuses = [entry.status for entry in ERROR_CODES.values()]
    assert statuses == sorted(statuses)


def test_every_operation_names_only_known_codes() -> None:
    named = {code for o in OPERATIONS for code in (*o.errors, *o.item_errors)}
    assert named <= ERROR_CODES.keys()
    of_any_operation = {
        "conflict",
        "headers_too_large",
        "http_version_not_supported",
        "internal_error",
        "method_not_allowed",
        "overloaded",
        "route_not_found",
        "transfer_coding_not_supported",
    }
    assert ERROR_CODES.keys() - named == of_any_operation


def test_every_503_of_an_error_has_a_time_after_which_to_retry() -> None:
    for kind in CLASSES:
        if kind.code in ERROR_CODES and ERROR_CODES[kind.code].status == 503:
            assert kind.retry_after_seconds is not None, kind
    assert errors.SnapshotStale.retry_after_seconds == 1
