"""The reference of error codes, from `http/error_codes.py`, `cli/error_codes.py` and the tree in `errors.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from docs.generator.cli import exit_code_table
from docs.generator.fields import fields, response_table
from docs.generator.markdown import anchor, code, table, unwrap
from tokensvc import errors
from tokensvc.cli.error_codes import COMMAND_ERROR_CODES, exit_code
from tokensvc.http.error_codes import ERROR_CODES, RETRY_ADVICE, ErrorCode, Retry
from tokensvc.web.openapi import document
from tokensvc.web.operations import Operation
from tokensvc.web.routes import OPERATIONS

EXAMPLE_PROBLEM = {
    "type": "urn:tokensvc:problem:invalid_request",
    "title": "invalid request",
    "status": 422,
    "detail": "ttlSeconds: must be an integer; expiresAt: is not a known field",
    "code": "invalid_request",
    "errors": [
        {"field": "ttlSeconds", "message": "must be an integer"},
        {"field": "expiresAt", "message": "is not a known field"},
    ],
}

_PHRASES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""The names of RFC 9110, which Python has only since 3.13."""
_INTRODUCTION = """\
# Error codes

Every response of tokensvc with a status of 400 or more is a problem document with a `code`. This page has one entry for
each code of the [HTTP API](http-api.md), and then the codes that only the [command line](cli.md) fails with. Codes are
stable: they are never renamed and never get another status. Later releases may add codes, so treat an unknown one by
its status.

A 403 from a **playback URL** does not come from tokensvc but from IVS: see [Why is it 403?](../how-to/why-403.md)."""

_DOCUMENT = """\
## The problem document

`application/problem+json`, as in [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457). Input is never echoed: no member
contains a value that was sent.

```json
{example}
```

{members}

Headers of a response that is a problem:

{headers}

A failed item of a batch is the same document without headers, as the member `problem` of its result; its `status` and
`retryAfterSeconds` are those that the item would have had alone."""

_HEADERS = (
    ("`X-Request-Id`", "always", "The request's id, which is in the [log](log-events.md), too. Quote it in reports."),
    ("`Retry-After`", "429, 503", "Seconds, as `retryAfterSeconds` in the body. tokensvc itself sends no 429 yet."),
    (
        "`WWW-Authenticate`",
        "401, 403 `insufficient_scope`",
        "A challenge as in [RFC 6750](https://www.rfc-editor.org/rfc/rfc6750), see below.",
    ),
    ("`Allow`", "405", "The methods that the path supports."),
    ("`Connection: close`", "408", "The server closes the connection after this response."),
    ("`Accept`, `Accept-Encoding`", "415", "What a body may be: `application/json`, `identity`."),
)

_CHALLENGES = """\
## Read a 401 or a 403

{table}

A 401 never says which part of the API key was wrong. A 403 that is not `application/problem+json` and has no
`X-Request-Id` comes from a proxy in between, or from IVS."""

_CHALLENGE_ROWS = (
    (
        "401",
        '`Bearer realm="tokensvc", scope="tokens:issue"`',
        "`unauthenticated`: the request has no `Authorization` header. `scope` is what the operation requires.",
    ),
    (
        "401",
        '`Bearer realm="tokensvc", error="invalid_token", scope="tokens:issue"`',
        "`unauthenticated`: it has one, but the API key is unknown, disabled or expired, or is not a `Bearer`.",
    ),
    (
        "403",
        '`… error="insufficient_scope", scope="keys:read"`',
        "`insufficient_scope`: the caller lacks the scope that `scope` names.",
    ),
    (
        "403",
        "none",
        (
            "`channel_not_allowed`, `anonymous_viewer_not_allowed`: the caller's policy does not allow the request. "
            "`viewer_denied`: the viewer is blocked."
        ),
    ),
)

_COMMANDS = """\
## Codes of the command line

A [command](cli.md) that fails prints the message to standard error. With `--json`, standard error ends with one line
`{{"error": {{"code": "…", "message": "…"}}}}`. The exit code depends on the kind of failure:

{exits}

Commands fail with the codes below, and with those of the HTTP API where they do the same: `invalid_request`,
`conflict`, the `…_not_found` codes, the codes of store and wrapping keys, and `invalid_key` for a file that is not a
usable key."""


def page() -> str:
    """The whole page."""
    parts = [
        unwrap(_INTRODUCTION),
        _problem_document(),
        unwrap(
            _CHALLENGES.format(table=link_codes(table(["status", "WWW-Authenticate", "meaning"], _CHALLENGE_ROWS), ""))
        ),
        "## Whether to retry",
        table(["retry", "what to do"], [[retry.value, RETRY_ADVICE[retry]] for retry in Retry]),
        "How often, and with which timeouts: [Retries](http-api.md#retries).",
        "## All codes",
        table(["code", "status", "retry"], map(_row, ERROR_CODES.values())),
        "## Codes of the HTTP API",
        *map(_http_entry, ERROR_CODES.values()),
        unwrap(_COMMANDS.format(exits=exit_code_table())),
        *_command_entries(),
    ]
    return "\n\n".join(parts)


def link_codes(text: str, folder: str = "error-codes.md") -> str:
    """The text with a link for each code of the HTTP API."""

    def link(found: re.Match[str]) -> str:
        return f"[{found[0]}]({folder}#{found[1]})" if found[1] in ERROR_CODES else found[0]

    return re.sub(r"(?<!\[)`(\w+)`(?!\])", link, text)


def link_operations(text: str, page: str = "", but: str = "") -> str:
    """The text with a link for each operation that it names, but for one."""
    known = {f"{o.method} {o.path}" for o in OPERATIONS} - {but}

    def link(found: re.Match[str]) -> str:
        return f"[{found[0]}]({page}#{anchor(found[1])})" if found[1] in known else found[0]

    return re.sub(r"`((?:GET|POST|DELETE) /[^`]*)`", link, text)


def _row(entry: ErrorCode) -> list[str]:
    return [f"[{code(entry.code)}](#{entry.code})", str(entry.status), entry.retry.value]


def _problem_document() -> str:
    described = document(OPERATIONS)["components"]["schemas"]
    members = response_table(fields(described["Problem"], described))
    return unwrap(
        _DOCUMENT.format(
            example=json.dumps(EXAMPLE_PROBLEM, indent=2),
            members=link_codes(members, ""),
            headers=table(["header", "with", "meaning"], _HEADERS),
        )
    )


def _http_entry(entry: ErrorCode) -> str:
    status = f"{entry.status} {_PHRASES.get(entry.status, HTTPStatus(entry.status).phrase)}"
    return "\n\n".join(
        [
            f"### `{entry.code}`",
            f"Status: {status} · Retry: {entry.retry.value}{_senders(entry.code)}",
            link_codes(entry.meaning, ""),
            f"**What to do:** {link_operations(link_codes(entry.remedy, ''), 'http-api.md')}",
        ]
    )


def _senders(name: str) -> str:
    """Where the code comes from, if that is not most operations."""
    senders = [o for o in OPERATIONS if name in (*o.errors, *o.item_errors)]
    if not senders:
        return " · From: any operation"
    if len(senders) > 4:
        return ""
    return f" · From: {', '.join(operation_link(o, 'http-api.md') for o in senders)}"


def operation_link(operation: Operation[Any], page: str = "") -> str:
    """A link to the operation in the reference of the HTTP API."""
    heading = f"{operation.method} {operation.path}"
    return f"[{code(heading)}]({page}#{anchor(heading)})"


def _command_entries() -> Iterator[str]:
    kinds = {kind.code: kind for kind in error_kinds(errors.TokensvcError)}
    for entry in COMMAND_ERROR_CODES.values():
        yield f"### `{entry.code}`"
        yield f"Exit code: {exit_code(kinds[entry.code])}"
        yield entry.meaning
        yield f"**What to do:** {entry.remedy}"


def error_kinds(kind: type[errors.TokensvcError]) -> Iterator[type[errors.TokensvcError]]:
    """The class and all of its subclasses."""
    yield kind
    for child in kind.__subclasses__():
        yield from error_kinds(child)
