"""An interpreter of AWS service models (protocol rest-json): operations, routes, wire forms, errors.

It contains nothing that is specific to IVS.

Invariants
- Routes are matched on the raw path, as it was sent: an ARN in a path may be sent as `arn%3Aaws…%2Fid`, so the path is
  split first and each segment decoded once.
- A body is one JSON object; an empty body stands for `{}`, since SDKs send either.
- The model alone defines an operation's request and response, and the HTTP status of an error.
- An error is rendered three times, since SDKs look in different places: `x-amzn-ErrorType`, `exceptionMessage` (the
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
    """A request member that is sent in the query string."""

    wire_name: str
    is_list: bool


class Operation(NamedTuple):
    """One operation of the model, compiled."""

    name: str
    method: str
    path: str
    status: int
    errors: frozenset[str]
    members: frozenset[str]
    """The members that a request may have."""
    query: Mapping[str, QueryMember]
    read: Reader
    render: Renderer

    def validate_request(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request as handlers get it. Raises IvsError naming every constraint that it violates."""
        violations: Violations = []
        validated = self.read(request, "", violations)
        if violations:
            raise invalid(violations)
        return dict(validated)

    def render_response(self, response: Mapping[str, Any]) -> dict[str, Any]:
        """The response as JSON-compatible values."""
        return dict(self.render(response))


class RouteMatch(NamedTuple):
    """The operation of a request line, and the raw path segments that hold its members."""

    operation: Operation
    path_members: Mapping[str, bytes]


class ApiModel:
    """All operations of a service, their routes and the HTTP statuses of its errors."""

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
        """Every header that holds a member of a response or an error; `_operation` rejects such members in requests."""
        self._fixed = {
            (o.method, o.path.encode()): RouteMatch(o, {}) for o in self.operations.values() if "{" not in o.path
        }
        self._templates = [(o.method, _template(o.path), o) for o in self.operations.values() if "{" in o.path]

    def validate_shape(self, shape: str, value: Any, path: str) -> tuple[Any, Violations]:
        """The value read as a shape of the model, and every constraint that it violates."""
        violations: Violations = []
        return compile_reader(self._shapes, shape)(value, path, violations), violations

    def route(self, method: str, raw_path: bytes) -> RouteMatch | None:
        """The operation of a request line, or None."""
        if match := self._fixed.get((method, raw_path)):
            return match
        for expected_method, template, operation in self._templates:
            if expected_method == method and (found := template.fullmatch(raw_path)):
                return RouteMatch(operation, found.groupdict())
        return None

    def parse_request(self, match: RouteMatch, raw_query: bytes, body: bytes) -> dict[str, Any]:
        """The members from path, query and body, not yet validated. Raises IvsError if they cannot be decoded."""
        operation = match.operation
        request = _read_body(body)
        pairs = decoded_pairs(raw_query) if operation.query else ()
        for name, (wire_name, is_list) in operation.query.items():
            values: list[Any] = [_text(value, name) for key, value in pairs if key == wire_name.encode()]
            request[name] = (values if is_list else values[-1]) if values else None
        for name, segment in match.path_members.items():
            request[name] = _text(unquote_to_bytes(segment), name)
        return request


class ErrorResponse(NamedTuple):
    """Headers and body of an error response."""

    headers: dict[str, str]
    body: dict[str, str]


def render_error(error: IvsError) -> ErrorResponse:
    """The error in every form that SDKs read."""
    return ErrorResponse(
        {"x-amzn-errortype": error.code}, {"exceptionMessage": error.message, "message": error.message}
    )


def _operation(name: str, description: Mapping[str, Any], shapes: Mapping[str, Any]) -> Operation:
    input_shape, output_shape = description.get("input"), description.get("output")
    members = shapes[input_shape["shape"]]["members"] if input_shape else {}
    locations = {member: ref.get("location", "body") for member, ref in members.items()}
    if unknown := set(locations.values()) - {"body", "uri", "querystring"}:
        raise ValueError(f"{name} has members in unsupported locations: {unknown}")
    return Operation(
        name=name,
        method=description["http"]["method"],
        path=description["http"]["requestUri"],
        status=description["http"].get("responseCode", 200),
        errors=frozenset(error["shape"] for error in description.get("errors", ())),
        members=frozenset(members),
        query={
            member: QueryMember(members[member]["locationName"], shapes[members[member]["shape"]]["type"] == "list")
            for member, location in locations.items()
            if location == "querystring"
        },
        read=compile_reader(shapes, input_shape["shape"]) if input_shape else _read_nothing,
        render=compile_renderer(shapes, output_shape["shape"]) if output_shape else _render_nothing,
    )


def _template(path: str) -> re.Pattern[bytes]:
    """`/tags/{resourceArn}` as a pattern. A member may contain slashes, since an ARN may be sent unencoded."""
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(path)).encode())


def _read_body(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        return read_object(body)
    except ValueError as problem:
        # INFERRED: A request body that is not a JSON object is a ValidationException; the operations list no other
        # error for 400.
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
