"""Requests a token from a running service, for `tokensvc tokens issue --url`.

Invariants
- The API key goes to the host of the given URL alone: no redirect is followed and no proxy is used.
- It is read from a file or standard input, never from an argument, which every user of the machine can see.
"""

from __future__ import annotations

import json
import sys
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from tokensvc.cli.service_url import connect
from tokensvc.errors import FieldError, InvalidRequest, ServiceUnreachable
from tokensvc.secret_files import InsecureFile, read_private_file

_TIMEOUT_SECONDS = 10
_MAX_BYTES = 1024 * 1024


class RemoteProblem(NamedTuple):
    """A problem with which the service responded (RFC 9457)."""

    status: int
    code: str
    detail: str
    errors: tuple[FieldError, ...]


def read_api_key(file: str) -> str:
    """The API key in a file, or of standard input for `-`. Raises InvalidRequest."""
    try:
        key = sys.stdin.read() if file == "-" else read_private_file(Path(file)).decode()
    except (OSError, InsecureFile, UnicodeDecodeError) as problem:
        text = str(problem) if isinstance(problem, InsecureFile) else "cannot be read"
        raise InvalidRequest([FieldError("--api-key-file", text)]) from None
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidRequest([FieldError("--api-key-file", "must have one API key and nothing else")])
    return key


def request_token(url: str, api_key: str, fields: dict[str, Any]) -> dict[str, Any] | RemoteProblem:
    """The response to `POST /v1/tokens`, or the problem. Raises InvalidRequest for an invalid URL, and
    ServiceUnreachable."""
    connection, path = connect(url, _TIMEOUT_SECONDS)
    headers = {"authorization": f"Bearer {api_key}", "content-type": "application/json"}
    try:
        connection.request("POST", f"{path}/v1/tokens", json.dumps(fields).encode(), headers)
        response = connection.getresponse()
        status, body = response.status, response.read(_MAX_BYTES)
    except (OSError, HTTPException):
        raise ServiceUnreachable("the service did not respond") from None
    finally:
        connection.close()
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict) and status == 201 and isinstance(document.get("token"), str):
        return document
    if isinstance(document, dict) and status >= 400 and isinstance(document.get("code"), str):
        return RemoteProblem(status, document["code"], str(document.get("detail", "")), _errors(document))
    raise ServiceUnreachable(f"the response, with status {status}, is not from tokensvc")


def _errors(problem: dict[str, Any]) -> tuple[FieldError, ...]:
    listed = problem.get("errors")
    return tuple(
        FieldError(str(error.get("field", "")), str(error.get("message", "")))
        for error in (listed if isinstance(listed, list) else [])
        if isinstance(error, dict)
    )
