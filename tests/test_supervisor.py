"""Listeners, restart delays and imports of the supervisor; `tests/e2e/test_serve.py` covers the processes."""

from __future__ import annotations

import errno
import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from tests.support.deployment import free_port
from tokensvc import supervisor
from tokensvc.container.service import check_startup
from tokensvc.errors import SettingsError
from tokensvc.jose import signing
from tokensvc.settings import read_settings
from tokensvc.supervisor import bind_listener, bind_listeners, restart_delay, serves_admin_routes

LOADED = (
    "import sys, tokensvc.cli, tokensvc.supervisor, tokensvc.container.application, tokensvc.container.service; "
    "print(*sys.modules)"
)
"""Prints the modules that `serve` imports before it reads a setting."""


@pytest.mark.parametrize("host", ["256.1.1.1", "::zz", "a..b", "ä" * 70, "192.0.2.1"])
def test_an_unusable_host_is_reported_by_its_setting_or_option(host: str) -> None:
    with pytest.raises(SettingsError, match="TOKENSVC_HOST: cannot listen on"):
        bind_listener("TOKENSVC_PORT", host, 0)
    with pytest.raises(SettingsError, match="--host: cannot listen on"):
        bind_listener("--port", host, 0)


def test_an_ipv6_host_is_reported_by_its_setting_if_the_kernel_has_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_ipv6(family: int, _kind: int) -> socket.socket:
        assert family == socket.AF_INET6
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    monkeypatch.setattr(socket, "socket", without_ipv6)
    with pytest.raises(SettingsError, match="TOKENSVC_HOST: cannot listen on :::0: Address family not supported"):
        bind_listener("TOKENSVC_PORT", "::", 0)


def test_a_port_is_reported_if_another_process_listens_after_both_have_bound_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SO_REUSEADDR lets both bind it."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]

        class Late(socket.socket):
            """Listens after the other process."""

            def listen(self, backlog: int = 0, /) -> None:
                other.listen()
                super().listen(backlog)

        monkeypatch.setattr(socket, "socket", Late)
        with pytest.raises(SettingsError, match=r"TOKENSVC_PORT: cannot listen on .*: Address already in use"):
            bind_listener("TOKENSVC_PORT", "127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "routes", "expected"),
    [
        ("127.0.0.1", "", True),
        ("127.8.8.8", "", True),
        ("localhost", "", True),
        ("::1", "", True),
        ("::ffff:127.0.0.1", "", True),
        ("0.0.0.0", "", False),
        ("::", "", False),
        ("::ffff:0.0.0.0", "", False),
        ("0.0.0.0", "true", True),
        ("::", "true", True),
        ("127.0.0.1", "false", False),
        ("::1", "false", False),
    ],
)
def test_an_admin_listener_off_loopback_serves_the_admin_routes_only_if_they_are_named(
    host: str, routes: str, expected: bool
) -> None:
    environ = {"TOKENSVC_PORT": "0", "TOKENSVC_ADMIN_PORT": "0", "TOKENSVC_ADMIN_HOST": host}
    settings = read_settings(environ | ({"TOKENSVC_ADMIN_ROUTES": routes} if routes else {}))
    listeners = bind_listeners(settings)
    try:
        assert serves_admin_routes(settings, listeners[1]) is expected
    finally:
        for listener in listeners:
            listener.close()


def test_an_unusable_admin_host_is_reported_by_its_setting() -> None:
    settings = read_settings({"TOKENSVC_PORT": "0", "TOKENSVC_ADMIN_PORT": "0", "TOKENSVC_ADMIN_HOST": "192.0.2.1"})
    with pytest.raises(SettingsError, match="TOKENSVC_ADMIN_HOST: cannot listen on"):
        bind_listeners(settings)


def test_two_listeners_on_one_port_are_rejected_even_on_two_addresses() -> None:
    """The application tells them apart by their ports: the public listener would serve the admin routes."""
    port = str(free_port())
    environ = {"TOKENSVC_HOST": "127.0.0.2", "TOKENSVC_PORT": port, "TOKENSVC_ADMIN_PORT": port}
    with pytest.raises(SettingsError, match="TOKENSVC_ADMIN_PORT: must differ from TOKENSVC_PORT"):
        bind_listeners(read_settings(environ))


def test_settings_of_the_admin_listener_are_rejected_without_its_port() -> None:
    """The public listener would serve what these settings are meant to hide."""
    environ = {"TOKENSVC_PORT": "0", "TOKENSVC_ADMIN_HOST": "0.0.0.0", "TOKENSVC_ADMIN_ROUTES": "false"}
    with pytest.raises(SettingsError) as raised:
        bind_listeners(read_settings(environ))
    assert [error.field for error in raised.value.errors] == ["TOKENSVC_ADMIN_HOST", "TOKENSVC_ADMIN_ROUTES"]


def test_an_unusable_signer_prevents_startup_and_the_error_has_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokensvc.jose.signing._multibuffer", None)
    monkeypatch.delattr(signing, "_multibuffer", raising=False)
    settings = read_settings({"TOKENSVC_SIGNER": "multibuffer"})
    with pytest.raises(SettingsError, match=r"no signer can be used \(multibuffer: "):
        check_startup(settings)


def test_workers_that_exit_early_are_restarted_with_increasing_delays() -> None:
    delays = [0.0]
    for _ in range(7):
        delays.append(restart_delay(delays[-1], 1))
    assert delays == [0.0, 0.5, 1, 2, 4, 8, 10, 10]


def test_a_stable_worker_is_restarted_soon_whatever_the_last_delay() -> None:
    assert restart_delay(10, 3600) == 0.5


@pytest.mark.parametrize("lives", [True, False])
def test_a_worker_without_a_directory_for_metrics_exits_only_if_its_parent_has(
    lives: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: SimpleNamespace(is_alive=lambda: lives))
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "deleted"))
    with capture_logs() as lines:
        if lives:
            assert supervisor._lock_metrics(tmp_path / "deleted") is None
            assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ, "it keeps its metrics to itself"
        else:
            with pytest.raises(SystemExit, match="1"):
                supervisor._lock_metrics(tmp_path / "deleted")
    assert [line["event"] for line in lines] == ["metrics directory cannot be used"] * lives


@pytest.mark.slow
def test_serve_imports_no_migrations_no_command_line_and_no_unused_database_driver() -> None:
    completed = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    loaded = set(completed.stdout.split())
    assert "tokensvc.container.application" in loaded
    unused = {"alembic", "typer", "rich", "psycopg", "sqlite3", "s3transfer", "tokensvc.cli.main", "tokensvc.local_ivs"}
    assert not loaded & unused
