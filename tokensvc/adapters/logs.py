"""How log lines look, and what never gets into one.

Rules of the file
- One line an event, on standard error: JSON, or text for people.
- Text for people holds printable characters alone: text from outside drives no terminal. JSON has escapes.
- Whatever a line holds, what looks like a token, an API key or a private key is starred out on its way. That is the
  last of several defences: no code logs them to begin with.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

from tokensvc.core.printable import printable
from tokensvc.logger import structlog

_SECRET = re.compile(
    r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)?"  # a JWT, whole or cut off
    r"|tsk_[A-Za-z0-9_-]+"
    r"|-----BEGIN[A-Z ]*PRIVATE KEY-----.*?(?:-----END[A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)


def star(text: str) -> str:
    """The text with everything secret-looking starred out."""
    return _SECRET.sub("***", text)


def configure(log_format: str) -> None:
    """Set up structlog, and the standard library's logging behind it for uvicorn and the libraries."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.StackInfoRenderer(),
    ]
    render: Any = (
        structlog.processors.JSONRenderer() if log_format == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _star_values,
                *([] if log_format == "json" else [_printable_values]),
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("tokensvc").setLevel(logging.INFO)


def _star_values(_logger: Any, _method: str, event: Any) -> Any:
    return {key: _starred(value) for key, value in event.items()}


def _printable_values(_logger: Any, _method: str, event: Any) -> Any:
    return {
        key: printable(value, keep="\n" if key == "exception" else "") if isinstance(value, str) else value
        for key, value in event.items()
    }


def _starred(value: Any) -> Any:
    """A value as it may be written: what is neither text nor number is written as its repr, so that is starred."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return star(value)
        case dict():
            return {star(str(key)): _starred(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_starred(inner) for inner in value]
    return star(repr(value))
