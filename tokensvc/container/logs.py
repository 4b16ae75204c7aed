"""Configures logging: format, masking of secrets and destination.

Invariants
- One line per event, on standard error, as JSON or as text for people. All lines go through one `LogWriter`:
  structlog's, the standard library's (uvicorn, asyncio and other libraries), warnings and uncaught exceptions.
- Every line begins with timestamp, level and event, then the ids of the request and its trace if it belongs to one. The
  timestamp is RFC 3339 in UTC with milliseconds.
- The level can be changed while the process runs (`set_level`). Libraries never log below warning: at their lower
  levels some log requests with their credentials.
- Text for people contains printable characters only, so that untrusted text cannot control a terminal. JSON escapes.
- Everything that looks like a token, an API key or a private key is masked. This is the last of several defences: no
  code logs secrets in the first place.
- An exception is written as types and frames, never with its message (`log.exception_fields`). A library that handles
  connections may quote a request in its messages, so only the part of the text that is in its source is written.
- Clients can cause such a library to log, so each of its lines is written at most once in ten seconds.
- Lines that are queued when the process exits are written for at most EXIT_SECONDS.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, TextIO

from tokensvc.container.log_writer import DescriptorSink, LogWriter, Sink, StreamSink, no_sink
from tokensvc.log import exception_fields, structlog
from tokensvc.printable import printable
from tokensvc.timestamps import rfc3339_milliseconds

EXIT_SECONDS = 2.0
REPEAT_INTERVAL_SECONDS = 10.0
_REPEATED_MAX = 256
LEVELS = ("debug", "info", "warning", "error")
_FIRST_KEYS = ("timestamp", "level", "event", "request_id", "trace_id")

_SECRET = re.compile(
    r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)?"  # a JWT, whole or cut off
    r"|tsk_[A-Za-z0-9_-]+"
    r"|-----BEGIN[A-Z ]*PRIVATE KEY-----.*?(?:-----END[A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_CONNECTION_LOGGERS = frozenset(
    {"uvicorn", "asyncio", "uvloop", "anyio", "starlette", "concurrent", "h11", "httptools"}
)
_VALUE = re.compile(r"\((?!\))|[<\[{'\"`\r\n]")
"""Where a value begins in a library's text: at a bracket or a quote, but not at the parentheses of `accept()`."""
_TRACEBACK = "Traceback (most recent call last):"
_FRAME = re.compile(r'^ *File "([^"\n]+)", line (\d+), in (\S+)$', re.MULTILINE)
_RAISED = re.compile(r"^([A-Za-z_][\w.]*)(?::|$)", re.MULTILINE)

_log = structlog.get_logger(__name__)


def mask_secrets(text: str) -> str:
    """Replace everything that looks like a secret with ***."""
    return _SECRET.sub("***", text)


def configure(log_format: str, level: str = "info") -> None:
    """Configure structlog, and the standard library's logging for uvicorn and other libraries. `level` is `debug`,
    `info`, `warning` or `error`."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _add_timestamp,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.StackInfoRenderer(),
    ]
    render: Any = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=False, sort_keys=False, pad_event_to=0)
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    process_log.use(sys.stderr, _dropped_lines_renderer(shared, render))
    handler = _QueueHandler(process_log.writer)
    handler.addFilter(_RepetitionFilter(time.monotonic))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_strip_values, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _exceptions_as_frames,
                _mask_values,
                *([] if log_format == "json" else [_printable_values]),
                _order_keys,
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    set_level(level)
    _log_python_messages()


def set_level(level: str) -> None:
    """Write lines of this level and above from now on: `debug`, `info`, `warning` or `error`."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger("tokensvc").setLevel(number)
    logging.getLogger().setLevel(max(number, logging.WARNING))


def has_request_lines() -> bool:
    """Whether lines of level info, such as those of the access log, are written at present."""
    return logging.getLogger("tokensvc").isEnabledFor(logging.INFO)


def _add_timestamp(_logger: Any, _method: str, event: Any) -> Any:
    event["timestamp"] = rfc3339_milliseconds(time.time())
    return event


def _order_keys(_logger: Any, _method: str, event: Any) -> Any:
    first = {key: event.pop(key) for key in _FIRST_KEYS if key in event}
    return {**first, **event}


class ProcessLog:
    """The log of this process: its writer and the stream that it writes to."""

    def __init__(self) -> None:
        self.writer = LogWriter(no_sink, lambda dropped: f"log lines dropped: {dict(dropped)}\n")
        self._stream: TextIO | None = None
        self._is_used = False
        self._is_stalled = False
        os.register_at_fork(after_in_child=self.writer.after_fork_in_child)

    def use(self, stream: TextIO | None, report: Callable[[Mapping[str, int]], str]) -> None:
        """Write to this stream from now on, through its file descriptor if it has one."""
        self.writer.report = report
        if not self._is_used:
            atexit.register(self._flush_at_exit)
        elif stream is self._stream:  # its descriptor is open already
            return
        self.writer.flush(EXIT_SECONDS)  # lines logged before belong to the previous stream
        previous, self.writer.sink = self.writer.sink, _sink_of(stream)
        self._stream, self._is_used = stream, True
        if isinstance(previous, DescriptorSink):
            previous.close()

    def print_error(self, text: str) -> None:
        """Print to standard error after the queued lines. Waits at most EXIT_SECONDS for the reader."""
        self.use(sys.stderr, self.writer.report)
        self.writer.put(f"{text}\n")
        self._is_stalled = not self.writer.flush(EXIT_SECONDS)

    def _flush_at_exit(self) -> None:
        self.writer.flush(0 if self._is_stalled else EXIT_SECONDS)


def _sink_of(stream: TextIO | None) -> Sink:
    if stream is None:
        return no_sink
    try:
        return DescriptorSink(stream.fileno())
    except (OSError, ValueError):  # io.UnsupportedOperation is both
        return StreamSink(stream)


process_log = ProcessLog()
"""One for each process, like standard error."""


class _QueueHandler(logging.Handler):
    """Passes lines to the writer."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.put(self.format(record) + "\n")
        except Exception as error:  # noqa: BLE001 - otherwise logging would print the record with its values
            where, kind = f"{record.pathname}:{record.lineno}", type(error).__name__
            self._writer.put(
                f'{{"timestamp":"{rfc3339_milliseconds(time.time())}","level":"error",'
                f'"event":"log line not rendered","where":"{where}","error":"{kind}"}}\n'
            )


class _RepetitionFilter(logging.Filter):
    """Limits how often each line of a connection library is written; adds the number suppressed since the last time."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._last: dict[tuple[str, ...], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not _is_connection_library(record):
            return True
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        text = vars(record)["own_text"] = _text_without_values(record)
        line, now = (record.name, text, kind), self._monotonic()
        passed_at, suppressed = self._last.get(line, (float("-inf"), 0))
        if now < passed_at + REPEAT_INTERVAL_SECONDS:
            self._last[line] = passed_at, suppressed + 1
            return False
        if len(self._last) >= _REPEATED_MAX:
            self._last.clear()
        self._last[line] = now, 0
        vars(record)["suppressed"] = suppressed
        return True


def _dropped_lines_renderer(shared: list[Any], render: Any) -> Callable[[Mapping[str, int]], str]:
    def line(dropped: Mapping[str, int]) -> str:
        event: Any = {"event": "log lines dropped", "lines": sum(dropped.values()), **dropped}
        for process in shared[1:]:
            event = process(None, "warning", event)
        return f"{render(None, 'warning', _order_keys(None, 'warning', event))}\n"

    return line


def _is_connection_library(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in _CONNECTION_LOGGERS


def _strip_values(_logger: Any, _method: str, event: Any) -> Any:
    """A connection library's event, without the values in its message."""
    record: logging.LogRecord = event["_record"]
    if not _is_connection_library(record):
        return event
    event["event"] = getattr(record, "own_text", "")
    event.update(_described_traceback(str(record.msg)))
    if suppressed := getattr(record, "suppressed", 0):
        event["suppressed"] = suppressed
    return event


def _text_without_values(record: logging.LogRecord) -> str:
    """The part of the message that is in the library's source, with numbers filled in."""
    if not isinstance(record.msg, str):
        return type(record.msg).__name__
    if record.msg.lstrip().startswith(_TRACEBACK):
        return "exception"
    text = record.msg
    if isinstance(record.args, tuple) and all(isinstance(arg, int | float) for arg in record.args):
        with suppress(TypeError, ValueError):  # the number of arguments does not match
            text = record.getMessage()
    return _VALUE.split(text.strip(), maxsplit=1)[0].strip()


def _described_traceback(text: str) -> dict[str, Any]:
    """The last traceback in a text, as types and frames. Starlette gives uvicorn one when startup or shutdown fails."""
    _, found, last = text.rpartition(_TRACEBACK)
    if not found:
        return {}
    raised = _RAISED.search(last)
    frames = [f"{file}:{line} {name}" for file, line, name in _FRAME.findall(last)]
    return {"error": raised[1].rpartition(".")[2] if raised else "", "frames": frames[-8:]}


def _exceptions_as_frames(_logger: Any, _method: str, event: Any) -> Any:
    given = event.pop("exc_info", None)
    error = given if isinstance(given, BaseException) else (given if isinstance(given, tuple) else sys.exc_info())[1]
    if given and error is not None:
        event.update(exception_fields(error))
    return event


def _log_python_messages() -> None:
    """Log warnings and uncaught exceptions, which Python would otherwise print with messages and values."""
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    warnings.showwarning = _log_warning


def _log_uncaught(kind: type[BaseException], error: BaseException | None, _frames: TracebackType | None) -> None:
    if not issubclass(kind, SystemExit | KeyboardInterrupt):
        fields = exception_fields(error) if error is not None else {"error": kind.__name__}
        _log.critical("uncaught exception", thread=threading.current_thread().name, **fields)


def _log_warning(
    message: Warning | str,  # noqa: ARG001 - as `warnings.showwarning`
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 - as above
    line: str | None = None,  # noqa: ARG001 - as above
) -> None:
    """Log the category only: a message may contain a client's address, as a ResourceWarning's does."""
    _log.warning("python warning", category=category.__name__, where=f"{filename}:{lineno}")


def _mask_values(_logger: Any, _method: str, event: Any) -> Any:
    return {key: _masked(value) for key, value in event.items()}


def _printable_values(_logger: Any, _method: str, event: Any) -> Any:
    return {
        key: printable(value, keep="\n" if key == "exception" else "") if isinstance(value, str) else value
        for key, value in event.items()
    }


def _masked(value: Any) -> Any:
    """A value with secrets masked; a value that is neither text nor number is masked in its repr, which is written."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return mask_secrets(value)
        case dict():
            return {mask_secrets(str(key)): _masked(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_masked(inner) for inner in value]
    return mask_secrets(repr(value))
