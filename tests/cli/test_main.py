"""The command line as a whole: exit codes, help and error messages."""

from __future__ import annotations

import pytest

from tests.cli.terminal import Terminal
from tokensvc import __version__
from tokensvc.commit import source_commit


def test_the_version_is_printed_with_the_commit(bare: Terminal) -> None:
    assert bare("--version").out == f"tokensvc {__version__} (commit {source_commit()})\n"


def test_help_lists_every_command(bare: Terminal) -> None:
    result = bare("--help").out
    for noun in ("demo", "serve", "ivs", "db", "doctor", "settings", "keys", "tokens", "callers"):
        assert noun in result


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("keys", "nothing"),
        ("keys", "list", "--nothing"),
        ("callers", "add"),
        ("callers", "rotate-secret", "x", "--overlap", "-1"),
        ("keys",),
        (),
    ],
)
def test_wrong_usage_exits_with_2(bare: Terminal, arguments: tuple[str, ...]) -> None:
    result = bare(*arguments, code=2)
    assert "Traceback" not in result.err


def test_invalid_settings_exit_with_2_and_are_all_reported(bare: Terminal) -> None:
    result = bare("keys", "list", code=2, PORT="x", KEY_PROPAGATON_SECONDS="1")
    assert (
        "tokensvc: TOKENSVC_KEY_PROPAGATON_SECONDS: is not a setting; did you mean TOKENSVC_KEY_PROPAGATION_SECONDS?"
        in result.err
    )
    assert "TOKENSVC_PORT: must be an integer" in result.err
    error = bare("keys", "list", "--json", code=2, PORT="x").error
    assert error == {"code": "settings_error", "message": "TOKENSVC_PORT: must be an integer"}


@pytest.mark.slow
def test_failures_exit_with_1_and_rule_violations_with_4(terminal: Terminal) -> None:
    missing = terminal("keys", "public", "k1", code=1)
    assert missing.err.startswith("tokensvc: ")
    terminal("callers", "add", "web", "--all-channels")
    rejected = terminal("callers", "add", "web", "--all-channels", "--json", code=4)
    assert rejected.error["code"] == "caller_exists"
    assert rejected.out == ""


@pytest.mark.slow
def test_a_missing_store_exits_with_1_and_names_the_fix(bare: Terminal) -> None:
    for arguments in (
        ("keys", "list"),
        ("callers", "list"),
        ("keys", "generate"),
        ("callers", "add", "x", "--all-channels"),
    ):
        assert "tokensvc db upgrade" in bare(*arguments, code=1).err
    assert not bare.store.exists()


@pytest.mark.parametrize("arguments", [("callers", "list"), ("keys", "list"), ("db", "upgrade"), ("serve",)])
def test_an_unreachable_store_is_reported_with_the_driver_s_message(bare: Terminal, arguments: tuple[str, ...]) -> None:
    url = "postgresql://app:hunter2@127.0.0.1:1/tokens"
    result = bare(*arguments, code=1, DATABASE_URL=url, without="TOKENSVC_VAULT")
    assert "the store cannot be reached: " in result.err
    assert "failed: Connection refused" in result.err
    assert "(PostgreSQL: host 127.0.0.1, port 1, database tokens, role app)" in result.err
    assert "hunter2" not in result.out + result.err
    if arguments != ("serve",):
        result = bare(*arguments, "--json", code=1, DATABASE_URL=url, without="TOKENSVC_VAULT")
        assert "role app" in result.error["message"]
