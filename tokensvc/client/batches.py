"""Batches of any length, as requests within the limits of the API.

Invariants
- The parts are sent one after the other. After one has failed, no further one is sent: its items and those that were
  not sent have its error. If it is the first, the error is raised, since nothing was done.
- An item that failed is an error of the class that it would have raised alone. Where items may be repeated, those with
  a code that is worth it are requested again until the deadline, and nothing else is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tokensvc.client.errors import InvalidResponseError, TokensError
from tokensvc.client.exchange import (
    Environment,
    Request,
    Response,
    Sleep,
    Steps,
    exchange,
    problem_error,
    wait_before_retry,
)
from tokensvc.client.wire import parse, to_json

_T = TypeVar("_T")
_Headers = tuple[tuple[str, str], ...]

MAX_BYTES = 2**20
"""The API's limit on the body of a batch."""


@dataclass(frozen=True)
class Batch:
    """An operation that takes a batch, and its limits."""

    path: str
    member: str
    """The member of the body that has the items."""
    max_items: int
    timeout_seconds: float
    max_weight: int | None = None
    """The largest sum of the items' weights."""
    repeats_items: bool = False
    """Whether items that failed may be sent again."""


def _no_headers(_part: int) -> _Headers:
    return ()


def in_batches(
    items: Sequence[Mapping[str, Any]],
    batch: Batch,
    parse_item: Callable[[object, Response], _T],
    environment: Environment,
    *,
    weights: Sequence[int] = (),
    headers: Callable[[int], _Headers] = _no_headers,
) -> Steps[list[_T | TokensError]]:
    """The result of each item, in the same order. `headers` are those of a part, by its number."""
    encoded = [to_json(item) for item in items]
    deadline = environment.monotonic() + environment.policy.deadline_seconds
    results: list[_T | TokensError] = []
    for part, indexes in enumerate(_parts(encoded, weights or [1] * len(encoded), batch)):
        try:
            results += yield from _send([encoded[n] for n in indexes], batch, parse_item, environment, headers(part))
        except TokensError as error:
            if part == 0:
                raise
            return results + [error] * (len(items) - len(results))
    for attempt in range(1, environment.policy.max_attempts if batch.repeats_items else 1):
        waits = {
            n: wait
            for n, result in enumerate(results)
            if isinstance(result, TokensError) and (wait := wait_before_retry(result, attempt, environment)) is not None
        }
        soon = {n: wait for n, wait in waits.items() if environment.monotonic() + wait < deadline}
        if not soon:
            break
        yield Sleep(max(soon.values()))
        yield from _repeat(sorted(soon), encoded, results, batch, parse_item, environment)
    return results


def _repeat(
    indexes: Sequence[int],
    encoded: Sequence[bytes],
    results: list[_T | TokensError],
    batch: Batch,
    parse_item: Callable[[object, Response], _T],
    environment: Environment,
) -> Steps[None]:
    """Send these items again, and replace their results unless the request as a whole fails."""
    chosen = [encoded[n] for n in indexes]
    for part in _parts(chosen, [1] * len(chosen), batch):
        try:
            repeated = yield from _send([chosen[n] for n in part], batch, parse_item, environment, ())
        except TokensError:
            return
        for n, result in zip(part, repeated, strict=True):
            if isinstance(result, TokensError):
                previous = results[indexes[n]]
                result.attempts = 1 + (previous.attempts if isinstance(previous, TokensError) else 0)
            results[indexes[n]] = result


def _parts(encoded: Sequence[bytes], weights: Sequence[int], batch: Batch) -> Iterator[list[int]]:
    """The indexes of the items of each part."""
    empty = len(_body([], batch))
    part: list[int] = []
    size, weight = empty, 0
    for n, item in enumerate(encoded):
        is_too_heavy = batch.max_weight is not None and weight + weights[n] > batch.max_weight
        if part and (len(part) == batch.max_items or size + len(item) + 1 > MAX_BYTES or is_too_heavy):
            yield part
            part, size, weight = [], empty, 0
        part.append(n)
        size, weight = size + len(item) + 1, weight + weights[n]
    if part:
        yield part


def _body(items: Sequence[bytes], batch: Batch) -> bytes:
    return b'{"%s":[%s]}' % (batch.member.encode(), b",".join(items))


def _send(
    items: Sequence[bytes],
    batch: Batch,
    parse_item: Callable[[object, Response], _T],
    environment: Environment,
    headers: _Headers,
) -> Steps[list[_T | TokensError]]:
    request = Request("POST", batch.path, batch.timeout_seconds, _body(items, batch), headers)
    response = yield from exchange(request, environment)
    members = parse(response.body)
    results = members.get("results") if isinstance(members, dict) else None
    if not isinstance(results, list) or len(results) != len(items):
        raise InvalidResponseError("the response does not have one result for each item")
    return [_result(each, response, parse_item) for each in results]


def _result(value: object, response: Response, parse_item: Callable[[object, Response], _T]) -> _T | TokensError:
    if isinstance(value, dict) and isinstance(value.get("problem"), dict):
        return problem_error(value["problem"], request_id=response.headers.get("x-request-id"))
    return parse_item(value, response)
