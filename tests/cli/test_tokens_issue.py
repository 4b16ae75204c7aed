"""`tokensvc tokens issue`: on the store, by its keys, limits and denials; and from a running service."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.cli.terminal import Terminal
from tests.support.servers import serving
from tests.support.tokens import CHANNEL
from tokensvc.audit.record import viewer_digest
from tokensvc.audit.store import AuditFilter
from tokensvc.cli.operator import operator_actor
from tokensvc.container.application import build_application
from tokensvc.container.service import assemble
from tokensvc.log import structlog
from tokensvc.settings import read_settings
from tokensvc.storage.store import Store

pytestmark = pytest.mark.slow

API_KEY = "tsk_abc_secret"
UNKNOWN_KEY = "tsk_unknown_secret"


def private_channel(terminal: Terminal) -> str:
    with terminal.ivs() as ivs:
        return str(ivs.create_channel(authorized=True)["channel"]["arn"])


def issue(terminal: Terminal, channel: str, *options: str, **how: Any) -> Any:
    return terminal("tokens", "issue", "--channel", channel, *options, **how)


def issued_records(store: Store) -> list[Any]:
    return [record.event for record in store.audit.list(AuditFilter(action="tokens.issue"), limit=10)]


def test_a_token_is_issued_on_the_store_and_explained_as_allowed(healthy: Terminal) -> None:
    channel = private_channel(healthy)
    token = issue(healthy, channel, "--viewer", "ada", "--ttl", "60").out.strip()
    result = healthy("tokens", "explain", token, "--channel", channel, "--json").json
    assert (result["outcome"], bool(result["signedBy"])) == ("allow", True)


def test_every_field_of_a_request_has_an_option(healthy: Terminal) -> None:
    channel = private_channel(healthy)
    options = ("--subject", "ada@example.com", "--origin", "https://a.example", "--origin", "https://b.example")
    more = (
        "--strict-origin-enforcement",
        "--single-use",
        "--maximum-resolution",
        "HD",
        "--ads-json",
        '{"optOut":true}',
    )
    response = issue(healthy, channel, *options, *more, "--json").json
    assert response["requiresOriginHeader"] is True
    assert response["playbackUrl"].endswith(f"?token={response['token']}")
    assert len(response["viewerId"]) <= 40
    explain = ("tokens", "explain", response["token"], "--origin", "https://b.example", "--json")
    result = healthy(*explain).json
    rules = {rule["rule"]: rule["message"] for rule in result["rules"]}
    assert (result["outcome"], result["unless"]) == ("conditional", ["already used"])
    assert (rules["origins"], rules["resolution"], rules["ads"]) == ("2 entries", "at most HD", "aws:ads-opt-out")


def test_the_token_the_url_or_json_is_printed(healthy: Terminal) -> None:
    channel = private_channel(healthy)
    url = issue(healthy, channel, "--output", "url").out.strip()
    assert url.startswith("http")
    assert "?token=ey" in url
    assert healthy("tokens", "explain", url, "--json").json["outcome"] == "allow"
    assert json.loads(issue(healthy, channel, "--output", "json").out).keys() >= {"token", "expiresAt", "refreshAfter"}


def test_the_audit_record_names_the_user_the_channel_and_a_digest(healthy: Terminal, store: Store) -> None:
    channel = private_channel(healthy)
    issue(healthy, channel, "--viewer", "ada")
    [event] = issued_records(store)
    assert (event.actor, event.target, event.outcome.value) == (operator_actor(), channel, "done")
    assert event.viewer == viewer_digest(store.audit.digest_key(), "ada")
    assert set(event.details) == {"expires_at"}


def test_the_deployment_s_limits_and_denials_apply_and_nothing_is_recorded(healthy: Terminal, store: Store) -> None:
    channel = private_channel(healthy)
    healthy("denials", "add", "--channel", channel, "--viewer", "ada", "--deny-for", "60")
    result = issue(healthy, channel, "--viewer", "ada", "--json", code=4)
    assert result.error["code"] == "viewer_denied"
    assert "--ttl: exceeds" in issue(healthy, channel, "--ttl", "900000", code=2).err
    unknown = channel.rpartition("/")[0] + "/AbCdEf123456"
    assert issue(healthy, unknown, "--json", code=1).error["code"] == "channel_not_found"
    assert issued_records(store) == []


@pytest.mark.parametrize(
    ("options", "option"),
    [
        (("--viewer", "v" * 41), "--viewer"),
        (("--viewer", "v", "--subject", "s"), "--subject"),
        (("--ttl", "0"), "--ttl"),
        (("--viewer", "v", "--ttl", "601"), "--ttl"),
        (("--origin", "https://a.example/x"), "--origin"),
        (("--maximum-resolution", "4K"), "--maximum-resolution"),
        (("--ads-json", "{"), "--ads-json"),
        (("--ads-json", "[]"), "--ads-json"),
        (("--ads-json", '{"playerParams": {"a": 1}}'), "--ads-json"),
        (("--url", "http://127.0.0.1:1"), "--api-key-file"),
        (("--api-key-file", "-"), "--url"),
        (("--url", "ftp://x", "--api-key-file", "-"), "--url"),
        (("--url", "http://[x", "--api-key-file", "-"), "--url"),
        (("--url", "http://a..b", "--api-key-file", "-"), "--url"),
        (("--url", f"http://{'a' * 64}.example", "--api-key-file", "-"), "--url"),
        (("--url", "http://127.0.0.1:1", "--api-key-file", "/nowhere/key"), "--api-key-file"),
    ],
    ids=str,
)
def test_wrong_use_names_the_option(bare: Terminal, options: tuple[str, ...], option: str) -> None:
    assert f"{option}: " in issue(bare, str(CHANNEL), *options, stdin=API_KEY, code=2).err


# --- from a running service ---


class Remote(NamedTuple):
    """A running service, and a channel and an API key for it."""

    url: str
    channel: str
    api_key: str


@pytest.fixture
def remote(healthy: Terminal, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    """The whole service of the healthy deployment, in this process behind a socket."""
    channel = private_channel(healthy)
    added = healthy("callers", "add", "shop", "--channels", channel, "--max-ttl", "120", "--json").json
    for name, value in healthy.environ.items():
        monkeypatch.setenv(name, value)
    settings = read_settings(
        healthy.environ | {"TOKENSVC_BACKGROUND_TASKS": "false", "TOKENSVC_CHANNEL_LOOKUP_TIMEOUT_SECONDS": "5"}
    )
    # The service's threads would otherwise log into the standard output that a command's output is read from.
    structlog.reset_defaults()  # a test before may have configured processors for another kind of logger
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))
    service = assemble(settings)
    try:
        with serving(build_application(service).asgi) as url:
            yield Remote(url, channel, added["apiKey"])
    finally:
        service.store.close()
        structlog.reset_defaults()


@pytest.mark.e2e
def test_a_running_service_issues_for_the_caller_of_the_api_key(
    healthy: Terminal, remote: Remote, tmp_path: Path
) -> None:
    options = ("--viewer", "ada", "--url", remote.url, "--api-key-file")
    url = issue(healthy, remote.channel, *options, "-", "--output", "url", stdin=f"{remote.api_key}\n").out.strip()
    assert healthy("tokens", "explain", url, "--json").json["outcome"] == "allow"
    file = tmp_path / "key"
    file.write_text(remote.api_key)
    file.chmod(0o600)
    response = issue(healthy, remote.channel, *options, str(file), "--json").json
    assert (response["viewerId"], response["playbackUrl"].endswith(response["token"])) == ("ada", True)
    file.chmod(0o644)
    assert "chmod 600" in issue(healthy, remote.channel, *options, str(file), code=2).err


def test_a_problem_is_printed_with_its_code_and_the_option(healthy: Terminal, remote: Remote) -> None:
    service = ("--url", remote.url, "--api-key-file", "-")
    other = remote.channel[:-1] + ("A" if remote.channel[-1] != "A" else "B")
    for channel, options, key, code, error, text in (
        (remote.channel, ("--viewer", "ada"), UNKNOWN_KEY, 4, "unauthenticated", "API key"),
        (remote.channel, (), remote.api_key, 4, "anonymous_viewer_not_allowed", "viewerId or subject is required"),
        (remote.channel, ("--viewer", "a", "--ttl", "121"), remote.api_key, 2, "invalid_request", "--ttl: exceeds"),
        (other, ("--viewer", "ada"), remote.api_key, 4, "channel_not_allowed", "patterns"),
    ):
        result = issue(healthy, channel, *options, *service, "--json", stdin=key, code=code)
        assert result.error["code"] == error
        words = issue(healthy, channel, *options, *service, stdin=key, code=code).err
        assert f"{error}: " in words
        assert text in words
        assert key not in words + result.err


def test_a_response_that_is_not_from_tokensvc_is_reported(healthy: Terminal, remote: Remote) -> None:
    for url in ("http://127.0.0.1:1", healthy.environ["AWS_ENDPOINT_URL_IVS"]):
        service = ("--url", url, "--api-key-file", "-", "--json")
        result = issue(healthy, remote.channel, *service, stdin=remote.api_key, code=1)
        assert result.error["code"] == "service_unreachable"
