"""The operations of the API that the client offers, without I/O.

Invariants
- Every operation may be repeated (`exchange.py`): revocations have an idempotency key, and the parts of a batch have
  keys that derive from it.
- Lists are read page by page. A server that returns the same page token twice is not followed for ever.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

from tokensvc.client.batches import Batch, in_batches
from tokensvc.client.errors import InvalidResponseError, NotFoundError, TokensError
from tokensvc.client.exchange import Environment, Request, Response, Steps, exchange, http_date
from tokensvc.client.models import (
    AcceptedRevocation,
    Denial,
    DenialRequest,
    Explanation,
    Key,
    KeyDetail,
    PlaybackToken,
    Revocation,
    RevocationRequest,
    TokenRequest,
)
from tokensvc.client.problem_codes import ProblemCode
from tokensvc.client.wire import from_json, instant_text, parse, to_json, to_members

_T = TypeVar("_T")

FROM_MEMORY_SECONDS, FROM_STORE_SECONDS = 3.0, 15.0
"""The time-outs of one attempt that the reference of the API recommends."""
_IDEMPOTENCY_KEY_MAX_CHARS = 255
_PAGE_SIZE = 100
_TOKENS = Batch("/v1/tokens/batch", "requests", 500, FROM_MEMORY_SECONDS, repeats_items=True)
_REVOCATIONS = Batch("/v1/revocations/batch", "revocations", 1000, FROM_STORE_SECONDS, max_weight=2500)
"""At most half of the 5000 pairs of viewer and channel that the API accepts: a subject can be several viewer ids."""


class Page(NamedTuple, Generic[_T]):
    """A page of a list."""

    entries: list[_T]
    next_token: str | None


def issue_token(request: TokenRequest, environment: Environment) -> Steps[PlaybackToken]:
    """One token."""
    response = yield from _post("/v1/tokens", to_members(request), environment, FROM_MEMORY_SECONDS)
    return _token(parse(response.body), response)


def issue_tokens(
    requests: Sequence[TokenRequest], environment: Environment
) -> Steps[list[PlaybackToken | TokensError]]:
    """A token, or an error, for each request."""
    return (yield from in_batches([to_members(each) for each in requests], _TOKENS, _token, environment))


def _token(value: object, response: Response) -> PlaybackToken:
    return replace(from_json(PlaybackToken, value), server_time=http_date(response.headers.get("date", "")))


def explain_token(  # the fields of the request
    token: str,
    channel_arn: str | None,
    origin: str | None,
    country: str | None,
    at: datetime | None,
    environment: Environment,
) -> Steps[Explanation]:
    """What the playback edge does with a token."""
    given = {
        "token": token,
        "channelArn": channel_arn,
        "origin": origin,
        "country": country,
        "at": None if at is None else instant_text("at", at),
    }
    response = yield from _post("/v1/tokens/explain", _without_none(given), environment)
    return from_json(Explanation, parse(response.body))


def revoke_viewer(
    request: RevocationRequest, idempotency_key: str | None, environment: Environment
) -> Steps[AcceptedRevocation]:
    """One revocation."""
    headers = (("idempotency-key", _idempotency_key(idempotency_key)),)
    response = yield from _post("/v1/revocations", to_members(request), environment, headers=headers)
    return from_json(AcceptedRevocation, parse(response.body))


def revoke_viewers(
    requests: Sequence[RevocationRequest], idempotency_key: str | None, environment: Environment
) -> Steps[list[AcceptedRevocation | TokensError]]:
    """An accepted revocation, or an error, for each request."""
    items = [to_members(each) for each in requests]
    weights = [len(each.channel_arns) if each.channel_arns is not None else 1 for each in requests]
    key = _idempotency_key(idempotency_key)

    def headers(part: int) -> tuple[tuple[str, str], ...]:
        return (("idempotency-key", key if part == 0 else uuid.uuid5(uuid.NAMESPACE_OID, f"{key} {part}").hex),)

    def accepted(value: object, _response: Response) -> AcceptedRevocation:
        return from_json(AcceptedRevocation, value)

    return (yield from in_batches(items, _REVOCATIONS, accepted, environment, weights=weights, headers=headers))


def revocation(id_: str, environment: Environment, action: str = "") -> Steps[Revocation]:
    """A revocation; `action` is `retry` or `cancel`."""
    path = f"/v1/revocations/{_in_path('revocation_id', id_)}"
    if action:
        response = yield from _post(f"{path}/{action}", None, environment)
    else:
        response = yield from _get(path, environment)
    return from_json(Revocation, parse(response.body))


def deny_viewer(request: DenialRequest, environment: Environment) -> Steps[list[Denial]]:
    """A denial for each channel and viewer id."""
    response = yield from _post("/v1/denials", to_members(request), environment)
    return _entries(Denial, parse(response.body), "denials")


def remove_denial(id_: str, environment: Environment) -> Steps[None]:
    """Nothing. That it is gone after a first attempt without response is the desired result."""
    path = f"/v1/denials/{_in_path('denial_id', id_)}"
    try:
        yield from exchange(Request("DELETE", path, FROM_STORE_SECONDS), environment)
    except NotFoundError as error:
        if error.attempts == 1 or error.code is not ProblemCode.DENIAL_NOT_FOUND:
            raise


def key(id_: str, environment: Environment) -> Steps[KeyDetail]:
    """A key with its history."""
    response = yield from _get(f"/v1/keys/{_in_path('key_id', id_)}", environment)
    return from_json(KeyDetail, parse(response.body))


class Listing(Generic[_T]):
    """A list that is read page by page."""

    def __init__(self, path: str, member: str, kind: type[_T], query: Mapping[str, str | None]) -> None:
        self._path, self._member, self._kind = path, member, kind
        self._query = {"maxResults": str(_PAGE_SIZE), **_without_none(query)}
        self._seen: set[str] = set()

    def page(self, next_token: str | None, environment: Environment) -> Steps[Page[_T]]:
        """A page, and the token of the next one. Raises InvalidResponseError if that was there before."""
        query = self._query if next_token is None else {**self._query, "nextToken": next_token}
        response = yield from _get(f"{self._path}?{urlencode(query)}", environment)
        members = parse(response.body)
        entries = _entries(self._kind, members, self._member)
        following = members.get("nextToken")
        if following is not None and (not isinstance(following, str) or following in self._seen):
            raise InvalidResponseError("nextToken of the response is not that of another page")
        self._seen.add(following or "")
        return Page(entries, following or None)


def revocations(
    state: str | None, channel_arn: str | None, viewer_id: str | None, subject: str | None
) -> Listing[Revocation]:
    """The revocations that match."""
    query = {"state": state, "channelArn": channel_arn, "viewerId": viewer_id, "subject": subject}
    return Listing("/v1/revocations", "revocations", Revocation, query)


def denials(channel_arn: str | None, viewer_id: str | None, subject: str | None) -> Listing[Denial]:
    """The denials in force that match."""
    query = {"channelArn": channel_arn, "viewerId": viewer_id, "subject": subject}
    return Listing("/v1/denials", "denials", Denial, query)


def keys() -> Listing[Key]:
    """The key pairs of the deployment."""
    return Listing("/v1/keys", "keys", Key, {})


def _post(
    path: str,
    members: Mapping[str, Any] | None,
    environment: Environment,
    timeout_seconds: float = FROM_STORE_SECONDS,
    headers: tuple[tuple[str, str], ...] = (),
) -> Steps[Response]:
    body = None if members is None else to_json(members)
    return exchange(Request("POST", path, timeout_seconds, body, headers), environment)


def _get(target: str, environment: Environment) -> Steps[Response]:
    return exchange(Request("GET", target, FROM_STORE_SECONDS), environment)


def _entries(kind: type[_T], members: object, name: str) -> list[_T]:
    entries = members.get(name) if isinstance(members, dict) else None
    if not isinstance(entries, list):
        raise InvalidResponseError(f"the response has no list {name}")
    return [from_json(kind, each) for each in entries]


def _without_none(members: Mapping[str, _T | None]) -> dict[str, _T]:
    return {name: value for name, value in members.items() if value is not None}


def _in_path(name: str, id_: str) -> str:
    if not id_.strip("."):
        raise ValueError(f"{name} must be an id")
    return quote(id_, safe="", errors="replace")


def _idempotency_key(given: str | None) -> str:
    if given is None:
        return uuid.uuid4().hex
    if not (0 < len(given) <= _IDEMPOTENCY_KEY_MAX_CHARS and given.isascii() and given.isprintable()):
        raise ValueError(f"idempotency_key must be 1 to {_IDEMPOTENCY_KEY_MAX_CHARS} printable ASCII characters")
    return given
