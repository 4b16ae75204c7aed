"""Listeners, and how fast a dead worker is replaced; `e2e/test_serve.py` has the rest."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tokensvc.container.service import check_startup
from tokensvc.errors import SettingsError
from tokensvc.jose import signing
from tokensvc.settings import read_settings
from tokensvc.supervisor import bind_listener, pause_before_restart

LOADED = (
    "import sys, tokensvc.cli, tokensvc.supervisor, tokensvc.container.application, tokensvc.container.service; "
    "print(*sys.modules)"
)
"""What `serve` loads before it reads a setting."""


@pytest.mark.parametrize("host", ["256.1.1.1", "::zz", "a..b", "ä" * 70, "192.0.2.1"])
def test_a_host_that_cannot_be_listened_on_is_refused_by_name(host: str) -> None:
    with pytest.raises(SettingsError, match="TOKENSVC_HOST: cannot listen on"):
        bind_listener("TOKENSVC_PORT", host, 0)
    with pytest.raises(SettingsError, match="--host: cannot listen on"):
        bind_listener("--port", host, 0)


def test_a_signer_that_cannot_work_here_stops_the_start_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokensvc.jose.signing._multibuffer", None)
    monkeypatch.delattr(signing, "_multibuffer", raising=False)
    settings = read_settings({"TOKENSVC_SIGNER": "multibuffer"})
    with pytest.raises(SettingsError, match=r"no signer can be used \(multibuffer: "):
        check_startup(settings)


def test_workers_that_die_young_are_replaced_more_and_more_slowly() -> None:
    pauses = [0.0]
    for _ in range(7):
        pauses.append(pause_before_restart(pauses[-1], 1))
    assert pauses == [0.0, 0.5, 1, 2, 4, 8, 10, 10]


def test_one_that_lived_is_replaced_fast_whatever_was_before() -> None:
    assert pause_before_restart(10, 3600) == 0.5


def test_serve_loads_no_migrations_no_command_line_and_no_driver_of_a_database_that_is_not_named() -> None:
    said = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    loaded = set(said.stdout.split())
    assert "tokensvc.container.application" in loaded
    unused = {"alembic", "typer", "rich", "psycopg", "sqlite3", "s3transfer", "tokensvc.cli.main", "tokensvc.local_ivs"}
    assert not loaded & unused
