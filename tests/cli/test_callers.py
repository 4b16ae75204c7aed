"""`tokensvc callers …`."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import sqlite3
import subprocess

import pytest

from tests.cli.terminal import Terminal
from tests.support.processes import TOKENSVC
from tokensvc.storage.store import open_store

PATTERN = "arn:aws:ivs:us-east-1:123456789012:channel/*"


def test_add_prints_an_api_key_and_grants_the_minimum(terminal: Terminal) -> None:
    added = terminal("callers", "add", "web", "--channels", PATTERN, "--json").json
    assert added["apiKey"].startswith("tsk_")
    assert (added["name"], added["channels"], added["scopes"]) == ("web", [PATTERN], ["tokens:issue"])
    assert (added["maxTtlSeconds"], added["allowAnonymousViewers"], added["disabledAt"]) == (None, False, None)
    (listed,) = terminal("callers", "list", "--json").json["callers"]
    assert listed == {name: value for name, value in added.items() if name != "apiKey"}
    assert listed["keys"][0]["id"] == added["apiKey"].split("_")[1]


def test_add_grants_the_given_policy(terminal: Terminal) -> None:
    options = ("--channels", PATTERN, "--channels", PATTERN.replace("us-east-1", "eu-*"), "--max-ttl", "60")
    scopes = ("--scope", "tokens:issue", "--scope", "keys:read")
    more = ("--allow-anonymous-viewers", "--namespace", "apps", "--json")
    added = terminal("callers", "add", "web", *options, *scopes, *more).json
    assert (len(added["channels"]), added["scopes"]) == (2, ["keys:read", "tokens:issue"])
    assert (added["maxTtlSeconds"], added["allowAnonymousViewers"], added["namespace"]) == (60, True, "apps")
    words = terminal("callers", "list").out
    assert words.splitlines()[1].split()[:3] == ["web", "enabled", "keys:read,tokens:issue"]


def test_all_invalid_options_are_named_together(terminal: Terminal) -> None:
    result = terminal("callers", "add", "a b", "--channels", "x", "--scope", "all", "--namespace", "", code=2)
    for option in ("NAME: ", "--channels: ", "--scope: ", "--namespace: "):
        assert option in result.err
    assert "--channels or --all-channels is required" in terminal("callers", "add", "web", code=2).err
    assert terminal("callers", "list", "--json").json == {"callers": []}


def test_caller_names_are_never_reused(terminal: Terminal) -> None:
    terminal("callers", "add", "web", "--all-channels")
    terminal("callers", "disable", "web", "--yes")
    assert terminal("callers", "add", "web", "--all-channels", "--json", code=4).error["code"] == "caller_exists"


def test_rotate_secret_keeps_the_current_key_valid_for_the_overlap(terminal: Terminal) -> None:
    first = terminal("callers", "add", "web", "--all-channels", "--json").json["apiKey"]
    rotated = terminal("callers", "rotate-secret", "web", "--json").json
    assert rotated["apiKey"] != first
    ends = {key["id"]: key["expiresAt"] for key in rotated["keys"]}
    assert ends[rotated["apiKey"].split("_")[1]] is None
    assert ends[first.split("_")[1]] is not None
    third = terminal("callers", "rotate-secret", "web", "--json").json
    assert first.split("_")[1] not in [key["id"] for key in third["keys"]], "any older one ends"


def test_the_overlap_is_limited(terminal: Terminal) -> None:
    terminal("callers", "add", "web", "--all-channels")
    result = terminal("callers", "rotate-secret", "web", "--overlap-seconds", "9" * 12, code=2)
    assert "31536000" in result.err


def test_rotate_secret_of_a_disabled_caller_prints_a_warning_with_the_enable_command(
    terminal: Terminal,
) -> None:
    terminal("callers", "add", "web", "--all-channels")
    assert terminal("callers", "rotate-secret", "web", "--json").json["warnings"] == []
    terminal("callers", "disable", "web", "--yes")
    result = terminal("callers", "rotate-secret", "web")
    assert "Warning: web has been disabled since" in result.err
    assert result.out.splitlines()[0].startswith("tsk_"), "standard output is as it is without the warning"
    result = terminal("callers", "rotate-secret", "web", "--json")
    [warning] = result.json["warnings"]
    assert "rejected with 401" in warning
    [command] = re.findall("`tokensvc (.*)`", warning)
    assert terminal(*command.split(), "--json").json["disabledAt"] is None
    assert terminal("callers", "rotate-secret", "web", "--json").json["warnings"] == []
    assert "Warning" not in terminal("callers", "rotate-secret", "web").err


def test_an_unreadable_api_key_is_replaced(terminal: Terminal) -> None:
    terminal("callers", "add", "web", "--all-channels")
    with contextlib.closing(sqlite3.connect(terminal.store)) as store, store:
        store.execute("UPDATE caller_secrets SET digest = 'junk'")
    terminal("callers", "rotate-secret", "web")
    assert terminal("callers", "list", "--json").json["callers"][0]["keys"]
    opened = open_store(f"sqlite:///{terminal.store}")
    assert not opened.callers.get("web").problems()
    opened.close()


@pytest.mark.parametrize("command", [("rotate-secret",), ("disable", "--yes"), ("enable",)])
def test_an_unknown_caller_is_an_error(terminal: Terminal, command: tuple[str, ...]) -> None:
    assert terminal("callers", *command, "nobody", "--json", code=1).error["code"] == "caller_not_found"


def test_disable_requires_yes_off_a_terminal(terminal: Terminal) -> None:
    terminal("callers", "add", "web", "--all-channels")
    result = terminal("callers", "disable", "web", code=2, stdin="y\n")
    assert "--yes" in result.err
    assert terminal("callers", "list", "--json").json["callers"][0]["disabledAt"] is None
    disabled = terminal("callers", "disable", "web", "--yes", "--json").json
    assert disabled["disabledAt"] is not None
    assert terminal("callers", "list").out.splitlines()[1].split()[1] == "disabled"
    assert terminal("callers", "disable", "web", "--yes", "--json").json["disabledAt"] == disabled["disabledAt"]


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "code", "state"), [(b"n\n", 1, "enabled"), (b"y\n", 0, "disabled")])
def test_disable_asks_for_confirmation_on_a_terminal(terminal: Terminal, answer: bytes, code: int, state: str) -> None:
    terminal("callers", "add", "web", "--all-channels")
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    command = [TOKENSVC, "callers", "disable", "web"]
    done = subprocess.run(command, env=terminal.environ, stdin=theirs, capture_output=True, timeout=30, check=False)
    os.close(ours)
    os.close(theirs)
    assert (done.returncode, b"Disable caller web and reject its requests?" in done.stderr) == (code, True)
    assert terminal("callers", "list").out.splitlines()[1].split()[1] == state
