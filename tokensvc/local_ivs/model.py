"""An AWS service model (protocol rest-json), interpreted: operations, routes, wire forms, errors. Knows no IVS.

Rules of the file
- A route is found on the raw path, as the bytes were sent: an ARN in a path may be sent `arn%3Aaws…%2Fid`, so a path
  is taken apart first and each piece decoded once.
- A body is one JSON object; an empty body stands for `{}`, as SDKs send either.
- What an operation takes and gives, and which status an error has, is the model's word alone.
- An error is told three times, since SDKs look in different places: `x-amzn-ErrorType`, `exceptionMessage` (the
  model's member) and `message` (what boto3 shows).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from tokensvc.jose.strict_json import read_object
from tokensvc.local_ivs.errors import IvsError, invalid, invalid_member
from tokensvc.local_ivs.raw_query import decoded_pairs
from tokensvc.local_ivs.shapes import Reader, Renderer, Violations, compile_reader, compile_renderer


class QueryMember(NamedTuple):
    """A member that travels in the query string."""

    wire_name: str
    is_list: bool


class Operation(NamedTuple):
    """One operation of the model, prepared."""

    name: str
    method: str
    path: str
    status: int
    errors: frozenset[str]
    members: frozenset[str]
    """What a request of it may hold."""
    query: Mapping[str, QueryMember]
    read: Reader
    render: Renderer

    def check(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request as handlers see it. Raises IvsError naming every constraint that it breaks."""
        report: Violations = []
        checked = self.read(request, "", report)
        if report:
            raise invalid(report)
        return dict(checked)

    def dump(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The answer as JSON holds it."""
        return dict(self.render(answer))


class RouteMatch(NamedTuple):
    """A route that was found: the operation, and the raw pieces of the path that are its members."""

    operation: Operation
    uri: Mapping[str, bytes]


class ServiceModel:
    """All operations of a service, their routes and the statuses of their errors."""

    def __init__(self, description: Mapping[str, Any]) -> None:
        self._shapes = shapes = description["shapes"]
        self.operations = {
            name: _operation(name, operation, shapes) for name, operation in description["operations"].items()
        }
        self.error_status: dict[str, int] = {
            name: shape["error"]["httpStatusCode"] for name, shape in shapes.items() if shape.get("exception")
        }
        members = (member for shape in shapes.values() for member in shape.get("members", {}).values())
        self.response_headers = frozenset(
            member["locationName"].lower() for member in members if member.get("location") == "header"
        )
        """Every header that an answer or an error may have members in; `_operation` refuses them in requests."""
        self._fixed = {(o.method, o.path.encode()): RouteMatch(o, {}) for o in self.operations.values() if "{" not in o.path}
        self._templates = [(o.method, _template(o.path), o) for o in self.operations.values() if "{" in o.path]

    def read_shape(self, shape: str, value: Any, path: str) -> tuple[Any, Violations]:
        """A value as a shape of the model has it, and every constraint that it breaks."""
        report: Violations = []
        return compile_reader(self._shapes, shape)(value, path, report), report

    def route(self, method: str, raw_path: bytes) -> RouteMatch | None:
        """The operation that this request line asks for."""
        if match := self._fixed.get((method, raw_path)):
            return match
        for wanted, template, operation in self._templates:
            if wanted == method and (found := template.fullmatch(raw_path)):
                return RouteMatch(operation, found.groupdict())
        return None

    def gather(self, match: RouteMatch, raw_query: bytes, body: bytes) -> dict[str, Any]:
        """Everything that was sent, as one request, unchecked. Raises IvsError when it cannot be read at all."""
        operation = match.operation
        request = _read_body(body)
        sent = decoded_pairs(raw_query) if operation.query else ()
        for name, (wire_name, is_list) in operation.query.items():
            values: list[Any] = [_text(value, name) for key, value in sent if key == wire_name.encode()]
            request[name] = (values if is_list else values[-1]) if values else None
        for name, piece in match.uri.items():
            request[name] = _text(unquote_to_bytes(piece), name)
        return request


class ErrorResponse(NamedTuple):
    """An error as HTTP carries it, but for its status."""

    headers: dict[str, str]
    body: dict[str, str]


def render_error(error: IvsError) -> ErrorResponse:
    """What every SDK finds its part in."""
    return ErrorResponse({"x-amzn-errortype": error.code}, {"exceptionMessage": error.message, "message": error.message})


def _operation(name: str, described: Mapping[str, Any], shapes: Mapping[str, Any]) -> Operation:
    given, taken = described.get("input"), described.get("output")
    members = shapes[given["shape"]]["members"] if given else {}
    places = {member: ref.get("location", "body") for member, ref in members.items()}
    if unknown := set(places.values()) - {"body", "uri", "querystring"}:
        raise ValueError(f"{name} has members in a place that is not known: {unknown}")
    return Operation(
        name=name,
        method=described["http"]["method"],
        path=described["http"]["requestUri"],
        status=described["http"].get("responseCode", 200),
        errors=frozenset(error["shape"] for error in described.get("errors", ())),
        members=frozenset(members),
        query={
            member: QueryMember(members[member]["locationName"], shapes[members[member]["shape"]]["type"] == "list")
            for member, place in places.items()
            if place == "querystring"
        },
        read=compile_reader(shapes, given["shape"]) if given else _read_nothing,
        render=compile_renderer(shapes, taken["shape"]) if taken else _render_nothing,
    )


def _template(path: str) -> re.Pattern[bytes]:
    """`/tags/{resourceArn}` as a pattern; a piece may hold slashes, for an ARN may come undecoded."""
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(path)).encode())


def _read_body(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        return read_object(body)
    except ValueError as problem:
        # INFERRED: which error IVS gives for a body that is no JSON object; the operations list no other for 400.
        raise IvsError("ValidationException", f"The request body {problem}") from None


def _text(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise invalid_member(name, "Member must be valid Unicode") from None


def _read_nothing(_: Any, __: str, ___: Violations) -> dict[str, Any]:
    return {}


def _render_nothing(_: Any) -> dict[str, Any]:
    return {}
