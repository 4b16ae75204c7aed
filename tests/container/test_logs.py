"""One log line per event, and no secret in any of them, whatever its form."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clocks import ManualClock
from tests.support.tokens import with_claims
from tokensvc.container import logs
from tokensvc.container.logs import (
    EXIT_SECONDS,
    LEVELS,
    configure,
    has_request_lines,
    mask_secrets,
    process_log,
    set_level,
)
from tokensvc.jose.keypair import PrivateKey

API_KEY = "tsk_abc123_S3cr3t-of_this-key"
PEM = "-----BEGIN EC PRIVATE KEY-----\nMIGkAgEBBDBsecretsecret\n-----END EC PRIVATE KEY-----"


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Restore what `configure` changes for the whole process."""
    root = logging.getLogger()
    handlers, level, own_level = root.handlers[:], root.level, logging.getLogger("tokensvc").level
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)
    logging.getLogger("tokensvc").setLevel(own_level)


@pytest.fixture(params=["json", "console"])
def log_format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def written(capsys: pytest.CaptureFixture[str]) -> str:
    assert process_log.writer.flush(EXIT_SECONDS)
    return capsys.readouterr().err


def test_a_line_is_json_with_time_level_and_event(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    structlog.get_logger("tokensvc.test").info("something happened", number=5)
    line = json.loads(written(capsys))
    assert (line["event"], line["level"], line["number"]) == ("something happened", "info", 5)
    assert line["timestamp"].endswith("Z")


def test_lines_of_libraries_have_the_same_format(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    logging.getLogger("alembic").warning("from %s", "alembic")
    logging.getLogger("botocore").info("chatter")
    [line] = written(capsys).splitlines()
    assert json.loads(line)["event"] == "from alembic"


class Holder:
    """An object whose repr contains a secret."""

    def __repr__(self) -> str:
        return f"Holder({API_KEY})"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda secret: secret,
        lambda secret: f"before {secret} after",
        lambda secret: [secret],
        lambda secret: (1, {"deep": [secret]}),
        lambda secret: {secret: 1},
        lambda secret: secret.encode(),
        lambda secret: ValueError(secret),
        lambda secret: {secret},
    ],
    ids=["text", "within text", "a list", "deep", "a name", "bytes", "an exception", "a set"],
)
@pytest.mark.parametrize("kind", ["token", "api key", "private key"])
def test_a_secret_is_masked_in_any_value(
    capsys: pytest.CaptureFixture[str], log_format: str, private_key: PrivateKey, wrap: Any, kind: str
) -> None:
    secret = {"token": with_claims(private_key, {}), "api key": API_KEY, "private key": PEM}[kind]
    configure(log_format)
    structlog.get_logger("tokensvc.test").warning("event", value=wrap(secret))
    logging.getLogger("library").warning("said %s", wrap(secret))
    text = written(capsys)
    assert text.count("***") >= 2
    for part in (secret, secret[12:26], secret[-20:].strip()):
        assert part not in text


def test_a_secret_is_masked_in_an_event_an_object_and_a_traceback(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    configure(log_format)
    log = structlog.get_logger("tokensvc.test")
    log.warning(f"the event has {API_KEY}")
    log.warning("event", held=Holder())
    try:
        raise ValueError(API_KEY)
    except ValueError:
        log.exception("it failed")
        logging.getLogger("library").exception("it failed too")
    assert "S3cr3t" not in written(capsys)


def test_a_truncated_secret_is_masked() -> None:
    assert mask_secrets("?token=eyJhbGciOiJFUzM4NCJ9.eyJh") == "?token=***"
    assert mask_secrets(PEM[:60]) == "***"
    assert mask_secrets(f"url {API_KEY[:9]}") == "url ***"


@given(st.text(alphabet="abc xyz.-_/:=?&\n"))
def test_other_text_is_unchanged(text: str) -> None:
    assert mask_secrets(text) == text


@given(st.text(), st.text())
def test_a_key_is_masked_anywhere_in_a_text(before: str, after: str) -> None:
    assert API_KEY not in mask_secrets(f"{before}{API_KEY}{after}")


def test_numbers_and_booleans_keep_their_types(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    structlog.get_logger("tokensvc.test").info("e", a=1, b=1.5, c=True, d=None, e=["x", 2], f={"k": False})
    line = json.loads(written(capsys))
    assert [line[k] for k in "abcdef"] == [1, 1.5, True, None, ["x", 2], {"k": False}]


SECRET_IN_REQUEST = "viewer-4711-pasted"


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:  # noqa: BLE001 - the caller wants exactly this exception
        return caught


@pytest.mark.parametrize("name", ["uvicorn.error", "asyncio", "library"])
def test_exceptions_are_written_as_types_and_frames(
    capsys: pytest.CaptureFixture[str], log_format: str, name: str
) -> None:
    configure(log_format)
    error = raised(ValueError(SECRET_IN_REQUEST))
    error.__cause__ = KeyError(SECRET_IN_REQUEST)
    logging.getLogger(name).error("it failed", exc_info=error)
    structlog.get_logger("tokensvc.test").error("ours failed", exc_info=error)
    text = written(capsys)
    assert SECRET_IN_REQUEST not in text
    assert [text.count(word) for word in ("ValueError", "KeyError", "test_logs.py:")] == [2, 2, 2]
    assert [text.count(word) for word in ("it failed", "ours failed", "\n")] == [1, 1, 2]


def test_causes_that_form_a_cycle_are_written_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    group = ExceptionGroup("", [first, OSError()])
    structlog.get_logger("tokensvc.test").error("event", exc_info=group)
    line = json.loads(written(capsys))
    assert (line["error"], line["causes"]) == ("ExceptionGroup", ["ValueError", "KeyError", "OSError"])


STARLETTE_TRACEBACK = f'''Traceback (most recent call last):
  File "/srv/lib/starlette/routing.py", line 694, in lifespan
    async with self.lifespan_context(app) as maybe_state:
               ^^^^^^^^^^^^^^^^^^^^^^^^^^
ConnectionError: {SECRET_IN_REQUEST}

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/lib/starlette/routing.py", line 697, in lifespan
    fail("{SECRET_IN_REQUEST}")
package.errors.StartError: {SECRET_IN_REQUEST}
'''


@pytest.mark.parametrize(
    ("message", "args", "event"),
    [
        (f"Exception in callback Protocol.data_received(b'{SECRET_IN_REQUEST}')\nhandle: x", (), None),
        (f"Exception in callback <bound method {SECRET_IN_REQUEST}>", (), "Exception in callback"),
        (f"Task exception was never retrieved\nfuture: {SECRET_IN_REQUEST}", (), "Task exception was never retrieved"),
        (
            "Fatal error: protocol.data_received() call failed.",
            (),
            "Fatal error: protocol.data_received() call failed.",
        ),
        ("socket.accept() out of system resource", (), "socket.accept() out of system resource"),
        ("returned '%s'.", (SECRET_IN_REQUEST,), "returned"),
        ("Cancel %d running task(s)", (3,), "Cancel 3 running task"),
        ("Cancel %d of %d tasks", (3,), "log line not rendered"),
        (OSError(SECRET_IN_REQUEST), (), "OSError"),
        (STARLETTE_TRACEBACK, (), "exception"),
    ],
)
@pytest.mark.parametrize("name", ["uvicorn.error", "asyncio"])
def test_only_the_fixed_part_of_a_servers_message_is_written(
    capsys: pytest.CaptureFixture[str], name: str, message: object, args: tuple[object, ...], event: str | None
) -> None:
    configure("json")
    logging.getLogger(name).error(message, *args)
    text = written(capsys)
    assert SECRET_IN_REQUEST not in text
    assert json.loads(text)["event"] == (event or "Exception in callback Protocol.data_received")


def test_a_traceback_that_is_logged_as_text_is_parsed(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    logging.getLogger("uvicorn.error").error(STARLETTE_TRACEBACK)
    line = json.loads(written(capsys))
    assert (line["error"], line["frames"]) == ("StartError", ["/srv/lib/starlette/routing.py:697 lifespan"])


class FailingProtocol(asyncio.Protocol):
    """A protocol that raises on any data."""

    def data_received(self, data: bytes) -> None:
        raise ValueError(f"cannot read {data!r}")


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_request_that_crashes_a_protocol_is_not_logged(capsys: pytest.CaptureFixture[str], new_loop: Any) -> None:
    configure("json")

    async def send() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(FailingProtocol, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(f"GET http://[::1]:x/{SECRET_IN_REQUEST} HTTP/1.1\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        server.close()
        loop.call_soon(raising, SECRET_IN_REQUEST)
        await asyncio.sleep(0)

    with contextlib.closing(new_loop()) as loop:
        loop.run_until_complete(send())
    text = written(capsys)
    assert text.count("ValueError") == 2
    assert SECRET_IN_REQUEST not in text
    assert "Traceback" not in text


def raising(text: str) -> None:
    raise ValueError(text)


def test_a_line_that_clients_can_cause_is_rate_limited(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    clock = ManualClock()
    logging.getLogger().handlers[0].filters[:] = [logs._RepetitionFilter(clock.monotonic)]
    log = logging.getLogger("uvicorn.error")
    for _ in range(600):
        log.warning("Invalid HTTP request received.")
    log.error("Exception in ASGI application\n", exc_info=raised(ValueError()))
    log.error("Exception in ASGI application\n", exc_info=raised(KeyError()))
    clock.advance(logs.REPEAT_INTERVAL_SECONDS)
    log.warning("Invalid HTTP request received.")
    logging.getLogger("library").warning("each")
    logging.getLogger("library").warning("each")
    lines = [json.loads(line) for line in written(capsys).splitlines()]
    assert [line["event"] for line in lines if line["event"] != "each"] == [
        "Invalid HTTP request received.",
        "Exception in ASGI application",
        "Exception in ASGI application",
        "Invalid HTTP request received.",
    ]
    assert [line["suppressed"] for line in lines if "suppressed" in line] == [599]
    assert len(lines) == 6


def test_the_number_of_remembered_lines_is_bounded() -> None:
    repetition_filter = logs._RepetitionFilter(ManualClock().monotonic)
    for number in range(10_000):
        assert repetition_filter.filter(logging.LogRecord("uvicorn", 40, "", 1, f"line {number}", (), None))
    assert len(repetition_filter._last) <= 256


def test_a_line_that_cannot_be_rendered_is_reported_without_its_values(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    logging.getLogger("library").warning("%d things", SECRET_IN_REQUEST)
    text = written(capsys)
    assert SECRET_IN_REQUEST not in text
    line = json.loads(text)
    assert (line["event"], line["error"]) == ("log line not rendered", "TypeError")
    assert "test_logs.py:" in line["where"]


PYTHON_MESSAGES = {
    "an exception": "raise ValueError(SECRET)",
    "an exception of a thread": "import threading; t = threading.Thread(target=fail); t.start(); t.join()",
    "an exception of a finalizer": "class A: __del__ = lambda self: fail()\nA()",
    "a warning": "import warnings; warnings.warn(SECRET)",
}


@pytest.mark.parametrize("statement", PYTHON_MESSAGES.values(), ids=PYTHON_MESSAGES)
def test_what_python_would_print_is_logged_without_its_message(statement: str) -> None:
    """Even though the process exits right afterwards."""
    program = f"""
from tokensvc.container.logs import configure
SECRET = "{SECRET_IN_REQUEST}"
def fail(): raise ValueError(SECRET)
configure("json")
{statement}
"""
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert completed.returncode == (1 if statement.startswith("raise") else 0)
    assert SECRET_IN_REQUEST not in completed.stderr
    line = json.loads(completed.stderr)
    assert line["event"] in ("uncaught exception", "python warning")
    assert (line.get("error") or line["category"]) in ("ValueError", "UserWarning")


def test_configuring_logging_twice_keeps_the_order_of_lines(tmp_path: Path) -> None:
    """A single worker configures it as the command and as the worker."""
    program = """
from tokensvc.container.logs import configure, process_log, structlog
configure("json")
structlog.get_logger("tokensvc").info("first")
configure("console")
structlog.get_logger("tokensvc").info("second")
process_log.print_error("third")
"""
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert [line.split()[-1] for line in completed.stderr.splitlines()][1:] == ["second", "third"]
    assert json.loads(completed.stderr.splitlines()[0])["event"] == "first"


def test_no_logged_text_can_control_a_terminal(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    untrusted = "\x1b[2J\x9b31m\u202e\nforged line"
    configure(log_format)
    log = structlog.get_logger("tokensvc.test")
    log.warning(f"event {untrusted}", said=untrusted, many=[untrusted], named={untrusted: untrusted})
    logging.getLogger("library").warning("said %s", untrusted)
    lines = written(capsys).splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


MILLISECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def _write_lines_of_every_kind() -> None:
    log = structlog.get_logger("tokensvc.test")
    log.info("of the service", number=5, request_id="id-1")
    log.warning("of a request", trace_id="4bf9", code="x", request_id="id-2")
    with structlog.contextvars.bound_contextvars(trace_id="4bf9", request_id="id-3"):
        log.error("of a request's task", detail="x")
        logging.getLogger("alembic").warning("of a library")
    logging.getLogger("uvicorn.error").warning("of uvicorn")
    warnings.showwarning("a message", DeprecationWarning, "file.py", 1)
    sys.excepthook(ValueError, raised(ValueError("text")), None)
    process_log.writer._drop("queue_full", 3)
    logging.getLogger("library").warning("%d", "no number")


def test_every_line_begins_with_timestamp_level_event_and_the_ids_of_its_request(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("json")
    _write_lines_of_every_kind()
    lines = [json.loads(line) for line in written(capsys).splitlines()]
    events = {line["event"]: list(line) for line in lines}
    assert len(events) >= 9
    for line in lines:
        assert list(line)[:3] == ["timestamp", "level", "event"], line
        assert MILLISECONDS.fullmatch(line["timestamp"]), line
    assert events["of the service"][3:] == ["request_id", "number"]
    assert events["of a request"][3:] == ["request_id", "trace_id", "code"]
    assert events["of a request's task"][3:] == ["request_id", "trace_id", "detail"]
    assert events["of a library"][3:5] == ["request_id", "trace_id"]


def test_text_for_people_has_the_same_order(capsys: pytest.CaptureFixture[str]) -> None:
    configure("console")
    _write_lines_of_every_kind()
    lines = [line for line in written(capsys).splitlines() if "not rendered" not in line]
    assert all(re.match(rf"{MILLISECONDS.pattern} \[\w+ *\] ", line) for line in lines), lines
    assert any("of a request request_id=id-2 trace_id=4bf9 code=x" in " ".join(line.split()) for line in lines)


@pytest.mark.parametrize("level", LEVELS)
def test_lines_below_the_level_are_not_written_and_it_can_change(
    capsys: pytest.CaptureFixture[str], level: str
) -> None:
    configure("json", level)
    log = structlog.get_logger("tokensvc.test")
    expected = LEVELS[LEVELS.index(level) :]

    def write() -> list[str]:
        for name in LEVELS:
            getattr(log, name)("event")
        return [json.loads(line)["level"] for line in written(capsys).splitlines()]

    assert write() == list(expected)
    set_level("debug")
    assert write() == list(LEVELS)
    set_level(level)
    assert write() == list(expected)
    assert has_request_lines() == (level in ("debug", "info"))


def test_libraries_stay_silent_below_warning_at_level_debug(capsys: pytest.CaptureFixture[str]) -> None:
    """botocore logs headers with credentials at level debug."""
    configure("json", "debug")
    for name in ("botocore", "urllib3", "httpx", "asyncio", "sqlalchemy.engine"):
        logging.getLogger(name).debug("with a secret")
        logging.getLogger(name).info("with a secret")
    assert written(capsys) == ""
