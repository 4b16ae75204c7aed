"""The reference of the log events, found in the code.

Invariants
- Each call of a structlog logger in `tokensvc/` is found, whether its event is a literal, a variable with one of
  several literals, or a parameter that callers in the same module fill with literals.
- The events that are written without a logger are listed here, and what each event means in `log_texts.py`.
  `tests/docs/test_reference.py` compares both lists with the code.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from docs.generator.log_texts import EVENTS, FIELDS, GROUPS, OPENING, READER
from docs.generator.markdown import anchor, code, table, unwrap
from docs.generator.sources import PACKAGE, files, tree
from tokensvc.metrics import HandledRequest
from tokensvc.web.access_log import _json

LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
EXCEPTION_FIELDS = ("error", "frames", "causes")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class LogEvent(NamedTuple):
    """One event, as one module writes it."""

    event: str
    level: str
    fields: tuple[str, ...]
    module: str


OTHER_EVENTS = (
    LogEvent(
        "request",
        "info",
        ("request_id", "trace_id", "method", "path", "status", "code", "caller", "client", "duration_ms"),
        "web/access_log.py",
    ),
    LogEvent(
        "log lines dropped", "warning", ("lines", "queue_full", "write_failed", "render_failed"), "container/logs.py"
    ),
    LogEvent("log line not rendered", "error", ("where", "error"), "container/logs.py"),
)
"""What is written without a logger: by the access log, and by the log about itself."""


def page() -> str:
    """The page."""
    known = {event.event: event for event in log_events()}
    groups = [
        f"## {heading}\n\n" + "\n\n".join(_entry(known[name]) for name in names) for heading, names in GROUPS.items()
    ]
    return unwrap("\n\n".join([OPENING.replace("EXAMPLE", _example()), _overview(known), *groups, _fields(), READER]))


def _example() -> str:
    client, request_id, trace_id = "10.0.0.7", "5f0c2d9a83b7-1a", "4bf92f3577b34da6a3ce929d0e0e4736"
    request = HandledRequest(
        0, "POST", "/v1/tokens", 201, "issued", "web-backend", client, request_id, 0.000412, trace_id, True
    )
    return _json(request, 1_795_255_200.123).strip()


def log_events() -> list[LogEvent]:
    """Every event that the code can write, in the order of the modules."""
    found = [event for path in files() for event in _events_of(path)]
    merged: dict[str, LogEvent] = {}
    for event in [*found, *OTHER_EVENTS]:
        before = merged.get(event.event)
        fields = event.fields if before is None else tuple(dict.fromkeys((*before.fields, *event.fields)))
        merged[event.event] = event._replace(fields=fields)
    return list(merged.values())


def _events_of(path: Path) -> Iterator[LogEvent]:
    if "structlog.get_logger" not in path.read_text("utf-8"):
        return  # most files: reading is much faster than parsing
    module = tree(path)
    loggers = {
        target.id
        for node in ast.walk(module)
        if isinstance(node, ast.Assign) and "structlog.get_logger" in ast.unparse(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for function in (node for node in ast.walk(module) if isinstance(node, _Function)):
        for call in _calls(function):
            called = call.func
            if not isinstance(called, ast.Attribute) or not isinstance(called.value, ast.Name):
                continue
            if called.value.id in loggers and called.attr in LEVELS:
                level = "error" if called.attr == "exception" else called.attr
                fields = tuple(_fields_of(call, function))
                fields += EXCEPTION_FIELDS if called.attr == "exception" else ()
                for event in _texts(call.args[0], function, module):
                    yield LogEvent(event, level, fields, path.relative_to(PACKAGE).as_posix())


def _calls(function: _Function) -> Iterator[ast.Call]:
    """The calls in a function, without those in functions that it defines, which are walked by themselves."""
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.Call):
            yield node
        pending += [child for child in ast.iter_child_nodes(node) if not isinstance(child, _Function)]


def _texts(node: ast.expr, function: _Function, module: ast.Module) -> Iterator[str]:
    """The literals that an expression may be."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=otherwise):
            yield from _texts(body, function, module)
            yield from _texts(otherwise, function, module)
        case ast.Name(id=name):
            values = list(_assigned(name, function))
            parameters = [argument.arg for argument in function.args.args]
            if not values and name in parameters:
                position = parameters.index(name) - ("self" in parameters)
                values = [
                    c.args[position] for c in ast.walk(module) if isinstance(c, ast.Call) and _calls_it(c, function)
                ]
            for value in values:
                yield from _texts(value, function, module)


def _calls_it(call: ast.Call, function: _Function) -> bool:
    return ast.unparse(call.func).removeprefix("self.") == function.name


def _assigned(name: str, function: _Function) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            yield node.value


def _fields_of(call: ast.Call, function: _Function) -> Iterator[str]:
    for keyword in call.keywords:
        if keyword.arg is not None:
            yield keyword.arg
        elif "exception_fields(" in ast.unparse(keyword.value):
            yield from EXCEPTION_FIELDS
        elif isinstance(keyword.value, ast.Name):
            for value in _assigned(keyword.value.id, function):
                if "exception_fields(" in ast.unparse(value):
                    yield from EXCEPTION_FIELDS
                elif isinstance(value, ast.Dict):
                    yield from (str(key.value) for key in value.keys if isinstance(key, ast.Constant))


def _overview(known: Mapping[str, LogEvent]) -> str:
    rows = [(f"[{code(name)}](#{anchor(name)})", known[name].level) for names in GROUPS.values() for name in names]
    return f"## All events\n\n{table(('event', 'level'), rows)}"


def _entry(event: LogEvent) -> str:
    text = EVENTS[event.event]
    facts = [("Level", event.level), ("Fields", ", ".join(map(code, event.fields)) or "none of its own")]
    facts += [("Written by", f"[{event.module}](../../tokensvc/{event.module})"), ("What to do", text.action)]
    lines = [f"- **{label}:** {value}" for label, value in facts if value]
    return "\n\n".join([f"### {code(event.event)}", text.when, "\n".join(lines)])


def _fields() -> str:
    rows = [(code(name), meaning) for name, meaning in FIELDS.items()]
    return f"## Fields\n\nEvery line has `timestamp`, `level` and `event`.\n\n{table(('field', 'meaning'), rows)}"
