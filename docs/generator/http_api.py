"""The reference of the HTTP API, from the operations, the OpenAPI document and the limits in the code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from docs.generator.error_codes import link_codes, link_operations, operation_link
from docs.generator.fields import fields, request_table, response_table
from docs.generator.markdown import code, table, unwrap
from tokensvc.callers.policy import DEFAULT_SCOPES, SCOPES
from tokensvc.http.body import BODY_TIMEOUT_SECONDS
from tokensvc.pagination import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from tokensvc.settings import Settings
from tokensvc.web.endpoints import tokens
from tokensvc.web.examples import CHANNEL
from tokensvc.web.openapi import codes_by_status, document
from tokensvc.web.openapi_schemas import public_name
from tokensvc.web.operations import Operation
from tokensvc.web.protocol import KEEP_ALIVE_SECONDS
from tokensvc.web.request_head import ENCODED_BODY_MAX_BYTES, HEAD_MAX_BYTES
from tokensvc.web.routes import (
    ADMIN,
    AUDIT,
    AUTHORIZE,
    DENIALS,
    EVERYWHERE,
    EXPLAIN,
    JWKS,
    KEYS,
    METRICS,
    OPERATIONS,
    REVOCATIONS,
    STATUS,
    TOKENS,
)


class _Group(NamedTuple):
    heading: str
    operations: tuple[Operation[Any], ...]
    see: str
    """Pages that say more."""


GROUPS = (
    _Group(
        "Tokens",
        (*TOKENS, EXPLAIN),
        "[Request a token from a backend](../tutorial/README.md) · [Why is it 403?](../how-to/why-403.md)",
    ),
    _Group("Playback", (AUTHORIZE,), "[Authorize a proxy's requests](../how-to/authorize.md)"),
    _Group(
        "Revocations",
        REVOCATIONS,
        "[Revoke viewers](../how-to/revoke-viewers.md) · "
        "[What a revocation does and when](../explanation/revocations.md)",
    ),
    _Group("Denials", DENIALS, "[Revoke viewers](../how-to/revoke-viewers.md)"),
    _Group(
        "Keys",
        KEYS,
        "[Rotate keys](../how-to/rotate-keys.md) · [Respond to a leaked key](../how-to/respond-to-a-leaked-key.md) · "
        "[The life of a key](../explanation/life-of-a-key.md)",
    ),
    _Group("Audit", (AUDIT,), "[Read the audit records](../how-to/audit.md)"),
    _Group(
        "Status, probes and metrics",
        (STATUS, *EVERYWHERE, JWKS, METRICS),
        "[Metrics](metrics.md) · [The service](service.md)",
    ),
)
_ELSEWHERE = ("TokenRequest", "RevocationRequest")
"""Models that are described with an operation of their own; the batches that consist of them say so."""

_LOOKUP = Settings.model_fields["channel_lookup_timeout_seconds"].default
_SINGLE_KIB, _BATCH_MIB = tokens.REQUEST_MAX_BYTES // 1024, tokens.BATCH_MAX_BYTES // 2**20
_HEAD_KIB, _ANY_MIB = HEAD_MAX_BYTES // 1024, ENCODED_BODY_MAX_BYTES // 2**20
_STORE = Settings.model_fields["store_timeout_seconds"].default

_CONVENTIONS = f"""\
## Listeners

By default one listener serves all operations. With `TOKENSVC_ADMIN_PORT`, the operations marked *admin* above move to a
second listener on that port, and those marked *both* are served by both. Each listener's `/openapi.json` describes its
own operations.

The admin listener is on 127.0.0.1, unless `TOKENSVC_ADMIN_HOST` says otherwise. On an address that is not loopback it
serves `/metrics`, `/livez` and `/readyz` alone, so that a scraper on another machine reaches these and nothing else;
`TOKENSVC_ADMIN_ROUTES=true` adds the other operations there. `tokensvc worker` has no other listener. There, `/readyz`
says whether the process reaches the store.

tokensvc speaks plain HTTP/1.1 and HTTP/1.0: put a [proxy with TLS](../how-to/behind-a-proxy.md) in front of it.

## Authentication

Send the API key of a [caller](../how-to/manage-callers.md) with every request, except to the operations without a
scope:

```text
Authorization: Bearer tsk_…
```

A caller has scopes, which decide what it may do, and channel patterns, which decide for which channels. What the
patterns do not match does not exist for the caller: it reads and writes only those revocations and denials whose
channels all match. Keys and the status belong to the whole deployment: only the scope decides. A caller that is added,
disabled or given another API key is known to every worker within two seconds.

**Browsers and apps never call tokensvc with an API key.** Anyone who has it can issue tokens for any viewer and every
channel of the caller. Your backend authenticates the viewer, requests the token, and passes `playbackUrl` on. A page or
an app may call tokensvc itself with a [login token of its own issuer](../how-to/viewer-app-tokens.md). Scripts of a web
page can read the responses only if its origin is [allowed](../how-to/browsers.md); none is by default.

{{scopes}}

## Request bodies

- One JSON object in UTF-8. The body is parsed as JSON whatever its `Content-Type`, because `curl -d` declares a form by
  default; send `application/json`.
- Without content coding: a `Content-Encoding` other than `identity` is rejected.
- Unknown fields, and names that appear twice in an object, are rejected by name.
- Complete within {BODY_TIMEOUT_SECONDS} seconds.
- At most {_SINGLE_KIB} KiB for a single request, {_BATCH_MIB} MiB for a batch. Any request is limited to {_ANY_MIB} MiB
  with its framing, and to {_HEAD_KIB} KiB for request line and headers.
- Query parameters that are unknown or repeated are rejected by name by the operations that list parameters.

## Responses

- Every response has an `X-Request-Id`. It is tokensvc's own, and is also in the [log](log-events.md).
- Responses for a caller are not to be cached: `Cache-Control: no-store`.
- Members that later releases add must be ignored by clients.
- Times are in UTC with whole seconds, as in [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339): `2026-11-21T10:05:00Z`.
  Requests may use any offset.
- `HEAD` is handled as `GET`.

## Errors

A status of 400 or more comes with a problem document with a `code`: see [Error codes](error-codes.md). Each operation
below lists the codes of its own. Any operation may also fail with `malformed_request`, `route_not_found`,
`method_not_allowed`, `request_too_large`, `headers_too_large`, `internal_error`, `transfer_coding_not_supported` and
`http_version_not_supported`, and any but a probe or scrape with `overloaded`: nothing was done, and the request may be
repeated after `Retry-After`.

## Retries

{{retries}}

Wait for `Retry-After`, or without one for 0.5 seconds, doubled with each attempt and multiplied by a random factor
between 0.5 and 1.5. Two retries are enough for a request that a viewer waits for; then let the viewer try again.

What may be repeated after a timeout or a lost connection, when it is unknown whether the request was handled:

{{repeats}}

## Timeouts of clients

{{timeouts}}

tokensvc closes a connection that has been idle for {KEEP_ALIVE_SECONDS} seconds. Let a client's connection pool drop
idle connections earlier, after 60 seconds for example, so that it never sends a request while the server closes.

## Idempotency

`POST /v1/revocations` and `POST /v1/revocations/batch` accept an `Idempotency-Key`: 1 to 255 printable ASCII
characters, chosen by the client, and valid for 24 hours for this caller. The same request with the same key gets the
first response again, without a second revocation; the order of the fields does not matter. A different request with the
same key is rejected with `idempotency_key_reused`. In a repeated batch, items that were rejected the first time stay
rejected: send these with another key.

## Generated clients

The OpenAPI document is made for code generators: each operation has an `operationId` and a tag, optional fields have no
`default`, and the codes of errors are the enum `ProblemCode`. `openapi-typescript` and `openapi-python-client` are
tested with it. A client must tolerate what later releases add: operations, optional fields of requests, members of
responses, and values of `ProblemCode`. For Python there is also a [client](../how-to/python-client.md) that retries.

## Pages

Lists have the parameters `maxResults` (1 to {MAX_PAGE_SIZE}, default {DEFAULT_PAGE_SIZE}) and `nextToken`. Pass the
`nextToken` of a response to get the next page; on the last page it is `null`. A page may be short or empty without
being the last. Entries that are added or removed in the meantime shift nothing. A token is valid for the same list
only."""

_RETRY_ROWS = (
    ("no response, connection refused or reset", "Yes, if the request may be repeated (below)."),
    ("408", "Yes, on a new connection."),
    ("429, 503", "Yes, after `Retry-After`. Some codes mean that an operator has to act first: see each code."),
    ("502, 504", "Yes. tokensvc does not send these, a proxy does."),
    ("500, 409 `conflict`", "Once."),
    (
        "400, 401, 403, 404, 405, 409 `invalid_rotation_policy`, 413, 415, 422, 431, 501, 505",
        "No: the same request fails again.",
    ),
)
_REPEAT_ROWS = (
    ("`GET`, `DELETE`", "Yes. A repeated `DELETE` may get `denial_not_found`."),
    ("`POST /v1/tokens`, `POST /v1/tokens/batch`", "Yes: each response has new tokens, and nothing is stored."),
    ("`POST /v1/revocations`, `POST /v1/revocations/batch`", "Yes, with the same `Idempotency-Key`."),
    ("`POST /v1/revocations/{id}/retry`, `POST /v1/revocations/{id}/cancel`, `POST /v1/denials`", "Yes."),
    ("`POST /v1/keys/{id}/compromise`", "Yes."),
    ("`POST /v1/keys/rotate`", "Only after a look at `GET /v1/keys`: a second request rotates again."),
)
_TIMEOUT_ROWS = (
    (
        "`POST /v1/tokens`, `POST /v1/tokens/batch`",
        (
            f"Answered from memory. Waits for the playback URL of an unknown channel for at most {_LOOKUP:g} s "
            "(`TOKENSVC_CHANNEL_LOOKUP_TIMEOUT_SECONDS`)."
        ),
        "1 s to connect, 3 s for the response",
    ),
    (
        "`GET /livez`, `GET /readyz`, `GET /.well-known/jwks.json`",
        "Answered from memory.",
        "1 s",
    ),
    (
        "all others",
        (
            f"Each request to the store takes at most {_STORE:g} s (`TOKENSVC_STORE_TIMEOUT_SECONDS`), and an "
            "operation may make several."
        ),
        "1 s to connect, 15 s for the response",
    ),
)

_SCOPE_MEANINGS = {
    "tokens:issue": "Issue tokens.",
    "tokens:explain": "Explain tokens of the caller's channels.",
    "revocations:write": "Revoke viewers; retry and cancel revocations; add and remove denials.",
    "revocations:read": "Read revocations and denials.",
    "keys:read": "Read keys, rotations and the status of the deployment.",
    "keys:admin": "Rotate keys, and mark them as compromised.",
    "audit:read": "Read audit records.",
}


def page() -> str:
    """The whole page."""
    return "\n\n".join([_introduction(), _conventions(), *_operations()])


def _introduction() -> str:
    text = """\
# HTTP API

Every operation of the service with its fields, examples and errors. The same description is served as OpenAPI 3.1 by
`GET /openapi.json`, and is stored as [openapi.json](openapi.json) for [generated clients](#generated-clients). The
examples use curl, and the variables of the [demo](../tutorial/first-token.md) (`. .demo/env`): `$TOKENS` is the URL of
the service, `$KEY` an API key with all scopes, `$CHANNEL` the ARN of a private channel."""
    rows = [
        [operation_link(o), code(o.scope) or "none", _listener(o), o.summary]
        for group in GROUPS
        for o in group.operations
    ]
    return f"{unwrap(_linked(text))}\n\n{table(['operation', 'scope', 'listener', 'what it does'], rows)}"


def _conventions() -> str:
    scopes = [
        [code(scope), _SCOPE_MEANINGS[scope] + (" The default." if scope in DEFAULT_SCOPES else "")] for scope in SCOPES
    ]
    text = _CONVENTIONS.format(
        scopes=table(["scope", "what it allows"], scopes),
        retries=table(["status", "retry"], _RETRY_ROWS),
        repeats=table(["request", "may be repeated"], _REPEAT_ROWS),
        timeouts=table(["operation", "what the server does", "timeout of the client"], _TIMEOUT_ROWS),
    )
    return unwrap(_linked(text))


def _operations() -> Iterator[str]:
    described = document(OPERATIONS)
    for group in GROUPS:
        yield f"## {group.heading}"
        yield f"More about this: {group.see}."
        for operation in group.operations:
            yield from _operation(operation, described)


def _operation(o: Operation[Any], described: Mapping[str, Any]) -> Iterator[str]:
    heading = f"{o.method} {o.path}"
    yield f"### {heading}"
    yield f"**{o.summary}** · Scope: {code(o.scope) or 'none'} · Listener: {_listener(o)}"
    yield unwrap(_linked(o.description, heading))
    schemas = described["components"]["schemas"]
    if parameters := _parameters(described["paths"][o.path][o.method.lower()].get("parameters", []), schemas):
        yield _linked(table(["parameter", "in", "type", "meaning"], parameters), heading)
    if o.request is not None:
        yield "**Request body**"
        yield _linked(request_table(fields(schemas[public_name(o.request)], schemas, _shown_elsewhere(o))), heading)
    yield "**Example**"
    yield f"```sh\n{curl(o)}\n```"
    status = f"{o.status} {HTTPStatus(o.status).phrase}"
    yield f"**Response:** `{status}`{_response_headers(o)}"
    first = next(other for other in OPERATIONS if other.response is o.response)
    if o.example.response is not None and (first is o or first.example.response != o.example.response):
        yield f"```json\n{json.dumps(o.example.response, indent=2, ensure_ascii=False)}\n```"
    if first is not o and o.response is not None:
        yield _linked(f"The fields are those of `{first.method} {first.path}`.", heading)
    elif o.response is not None:
        yield _linked(response_table(fields(schemas[public_name(o.response)], schemas, _shown_elsewhere(o))), heading)
    if o.errors:
        yield "**Errors**"
        yield _errors(o.errors)
    if o.item_errors:
        yield "**Errors of single items**"
        yield _errors(o.item_errors)


def _parameters(parameters: list[dict[str, Any]], schemas: Mapping[str, Any]) -> list[list[str]]:
    properties = {each["name"]: each["schema"] | {"description": each["description"]} for each in parameters}
    rows = {row.name: row for row in fields({"properties": properties}, schemas)}
    return [[code(each["name"]), each["in"], rows[each["name"]].kind, f"{each['description']}."] for each in parameters]


def _response_headers(o: Operation[Any]) -> str:
    return "".join(f" · `{name}`: {meaning[0].lower()}{meaning[1:]}" for name, meaning in o.response_headers)


def _errors(codes: tuple[str, ...]) -> str:
    rows = [[str(status), ", ".join(code(each) for each in found)] for status, found in codes_by_status(codes).items()]
    return link_codes(table(["status", "codes"], rows))


def _shown_elsewhere(o: Operation[Any]) -> dict[str, str]:
    models = dict.fromkeys(_ELSEWHERE, "")
    if o.response is not None and public_name(o.response) != "Revocation":
        models["Revocation"] = "the fields of `GET /v1/revocations/{id}`"
    return {name: text for name, text in models.items() if o.request is None or public_name(o.request) != name}


def _listener(o: Operation[Any]) -> str:
    if o in ADMIN:
        return "admin"
    return "both" if o in EVERYWHERE else "public"


def _linked(text: str, heading: str = "") -> str:
    """The text with links to the operations and codes that it names, but for the one under this heading."""
    return link_operations(link_codes(text), but=heading)


def curl(o: Operation[Any]) -> str:
    """The example as a command."""
    path = o.path
    for name, value in o.example.path.items():
        path = path.replace(f"{{{name}}}", value)
    query = "&".join(f"{name}={value}" for name, value in o.example.query.items()).replace(CHANNEL, "$CHANNEL")
    url = f'"$TOKENS{path}?{query}"' if query else f"$TOKENS{path}"
    method = f" -X {o.method}" if o.method == "DELETE" or (o.method == "POST" and o.request is None) else ""
    parts = [f"curl -s{method} {url}"]
    if o.scope:
        parts[0] += ' -H "authorization: Bearer $KEY"'
    parts += [f"-H '{name.lower()}: {value}'" for name, value in o.example.headers.items()]
    if o.example.request is not None:
        compact = json.dumps(o.example.request, ensure_ascii=False)
        body = compact if len(compact) < 150 else json.dumps(o.example.request, indent=2, ensure_ascii=False)
        parts.append("-d '" + body.replace(CHANNEL, "'$CHANNEL'") + "'")
    return " \\\n  ".join(parts)
