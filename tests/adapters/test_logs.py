"""Log lines: one an event, and nothing secret gets through, in whatever form it comes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tests.minting import with_claims
from tokensvc.adapters.logs import configure, star
from tokensvc.core.keypair import PrivateKey

API_KEY = "tsk_abc123_S3cr3t-of_this-key"
PEM = "-----BEGIN EC PRIVATE KEY-----\nMIGkAgEBBDBsecretsecret\n-----END EC PRIVATE KEY-----"


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """What `configure` sets up for the process is taken down again."""
    root = logging.getLogger()
    handlers, level, ours = root.handlers[:], root.level, logging.getLogger("tokensvc").level
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)
    logging.getLogger("tokensvc").setLevel(ours)


@pytest.fixture(params=["json", "console"])
def log_format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def written(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_a_line_is_json_with_time_level_and_event(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    structlog.get_logger("tokensvc.test").info("something happened", number=5)
    line = json.loads(written(capsys))
    assert (line["event"], line["level"], line["number"]) == ("something happened", "info", 5)
    assert line["timestamp"].endswith("Z")


def test_lines_of_libraries_look_like_ours(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    logging.getLogger("uvicorn.error").warning("from %s", "uvicorn")
    logging.getLogger("botocore").info("chatter")
    [line] = written(capsys).splitlines()
    assert json.loads(line)["event"] == "from uvicorn"


class Holder:
    """An object whose repr holds a secret."""

    def __repr__(self) -> str:
        return f"Holder({API_KEY})"


@pytest.mark.parametrize(
    "secret_of",
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
def test_no_secret_gets_through_in_any_value(
    capsys: pytest.CaptureFixture[str], log_format: str, private_key: PrivateKey, secret_of: Any, kind: str
) -> None:
    secret = {"token": with_claims(private_key, {}), "api key": API_KEY, "private key": PEM}[kind]
    configure(log_format)
    structlog.get_logger("tokensvc.test").warning("event", value=secret_of(secret))
    logging.getLogger("library").warning("said %s", secret_of(secret))
    text = written(capsys)
    assert text.count("***") >= 2
    for part in (secret, secret[12:26], secret[-20:].strip()):
        assert part not in text


def test_no_secret_gets_through_in_the_event_an_object_or_a_traceback(
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


def test_a_secret_that_was_cut_off_is_starred_too() -> None:
    assert star("?token=eyJhbGciOiJFUzM4NCJ9.eyJh") == "?token=***"
    assert star(PEM[:60]) == "***"
    assert star(f"url {API_KEY[:9]}") == "url ***"


@given(st.text(alphabet="abc xyz.-_/:=?&\n"))
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert star(text) == text


@given(st.text(), st.text())
def test_a_key_is_starred_wherever_it_stands(before: str, after: str) -> None:
    assert API_KEY not in star(f"{before}{API_KEY}{after}")


def test_numbers_and_flags_stay_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    structlog.get_logger("tokensvc.test").info("e", a=1, b=1.5, c=True, d=None, e=["x", 2], f={"k": False})
    line = json.loads(written(capsys))
    assert [line[k] for k in "abcdef"] == [1, 1.5, True, None, ["x", 2], {"k": False}]


def test_no_text_drives_the_terminal_of_whoever_reads_the_log(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    odd = "\x1b[2J\x9b31m\u202e\nforged line"
    configure(log_format)
    log = structlog.get_logger("tokensvc.test")
    log.warning(f"event {odd}", said=odd, many=[odd], named={odd: odd})
    logging.getLogger("library").warning("said %s", odd)
    lines = written(capsys).splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
