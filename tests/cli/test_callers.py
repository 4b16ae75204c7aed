"""`tokensvc callers …`."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import sqlite3
import subprocess
from typing import Any

import pytest

from tests.cli.terminal import Terminal
from tests.support.processes import TOKENSVC
from tokensvc.audit.store import AuditFilter
from tokensvc.cli.operator import operator_actor
from tokensvc.errors import StoreUnavailable
from tokensvc.storage.callers import SqlCallerStore
from tokensvc.storage.store import open_store

pytestmark = pytest.mark.slow

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
    result = terminal("callers", "rotate-secret", "web", "--overlap", "9" * 12, code=2)
    assert "'--overlap': must be at most 365d" in result.err


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


def test_add_states_every_member_of_a_policy(terminal: Terminal) -> None:
    required = ("--require-origin", "https://a.example", "--require-strict-origins", "--require-max-resolution", "HD")
    forced = ("--force-single-use", "--no-force-strict-origins")
    limits = ("--caller-per-minute", "6000", "--viewer-per-minute", "6", "--viewer-burst", "2")
    more = ("--cors-origin", "https://a.example", "--audit-tokens", "--json")
    added = terminal("callers", "add", "web", "--all-channels", *required, *forced, *limits, *more).json
    assert added["require"] == {
        "allowedOrigins": ["https://a.example"],
        "strictOriginEnforcement": True,
        "maximumResolution": "HD",
    }
    assert added["force"] == {"singleUse": True}
    assert added["limits"] == {"caller": {"perMinute": 6000, "burst": 1000}, "viewer": {"perMinute": 6, "burst": 2}}
    assert (added["corsOrigins"], added["auditTokens"], added["kind"]) == (["https://a.example"], True, "backend")


VIEWER_APP = ("--issuer", "https://login.example.com", "--audience", "player")


def test_a_viewer_app_has_a_bearer_policy_and_no_api_key(terminal: Terminal) -> None:
    claims = ("--required-claim", "plan=gold", "--required-claim", "plan=7", "--required-claim", "a_b.c=true")
    options = ("--algorithm", "ES256", "--viewer-claim", "uid", *claims, "--json")
    added = terminal("callers", "add", "app", "--all-channels", *VIEWER_APP, *options).json
    assert (added["kind"], added["keys"], "apiKey" in added) == ("viewer_app", [], False)
    assert added["bearer"]["requiredClaims"] == {"a_b.c": [True], "plan": ["gold", 7]}
    assert (added["bearer"]["algorithms"], added["bearer"]["viewerClaim"]) == (["ES256"], "uid")
    refused = terminal("callers", "rotate-secret", "app", "--json", code=4).error
    assert "viewer app and has no API key" in refused["message"]
    refused = terminal("callers", "add", "other", "--all-channels", *VIEWER_APP, "--json", code=4).error
    assert "callers other and app have the same issuer and audience" in refused["message"]


def test_bad_members_are_reported_under_the_names_of_their_options(terminal: Terminal) -> None:
    bad = ("--issuer", "http://a", "--algorithm", "HS256", "--cors-origin", "*", "--leeway", "31")
    result = terminal("callers", "add", "app", "--all-channels", *bad, "--require-max-resolution", "8K", code=2)
    for option in ("issuer", "audience", "algorithm", "cors-origin", "leeway", "require-max-resolution"):
        assert f"--{option}: " in result.err
    assert "--required-claim: must be" in terminal("callers", "add", "a", "--required-claim", "x", code=2).err


def test_update_changes_the_given_members_and_keeps_the_others(terminal: Terminal) -> None:
    added = terminal("callers", "add", "web", "--all-channels", "--max-ttl", "60", "--viewer-per-minute", "6", "--json")
    change = ("callers", "update", "web", "--viewer-per-minute", "600", "--audit-tokens")
    planned = terminal(*change, "--dry-run").out
    assert planned.splitlines() == [
        "change web",
        "    limits.viewer.per_minute: 6 -> 600",
        "    limits.viewer.burst: 10 -> 100",
        "    audit_tokens: false -> true",
    ]
    assert terminal("callers", "show", "web", "--json").json["auditTokens"] is False
    updated = terminal(*change, "--json").json
    assert updated["limits"] == {"viewer": {"perMinute": 600, "burst": 100}}
    assert (updated["maxTtlSeconds"], updated["keys"]) == (60, added.json["keys"])
    assert terminal(*change, "--json").json["change"] is None
    unset = ("--unset", "max_ttl_seconds", "--unset", "limits", "--no-audit-tokens")
    updated = terminal("callers", "update", "web", *unset, "--json").json
    assert (updated["maxTtlSeconds"], updated["limits"], updated["auditTokens"]) == (None, {}, False)
    assert "--unset: must be one of" in terminal("callers", "update", "web", "--unset", "channels", code=2).err


def test_a_backend_cannot_be_updated_to_a_viewer_app(terminal: Terminal) -> None:
    terminal("callers", "add", "web", "--all-channels")
    for options in ((), ("--dry-run",)):
        error = terminal("callers", "update", "web", *VIEWER_APP, *options, "--json", code=4).error
        assert "add a caller with another name" in error["message"]


def test_show_prints_the_policy_as_a_policy_file_states_it(terminal: Terminal) -> None:
    terminal("callers", "add", "web", "--all-channels", "--require-origin", "https://a.example", "--max-ttl", "60")
    shown = terminal("callers", "show", "web").out
    assert 'channels = ["*"]\n' in shown
    assert 'require.allowed_origins = ["https://a.example"]\n' in shown
    assert "API KEY" in shown
    lines = [line for line in shown.splitlines() if " = " in line]
    (terminal.folder / "callers.toml").write_text("\n".join(["[callers.web]", *lines]))
    applied = terminal("callers", "apply", str(terminal.folder / "callers.toml"), "--json").json
    assert applied == {"changes": [], "dryRun": False, "apiKeys": {}}


POLICY_FILE = """\
[callers.web]
channels = ["*"]
max_ttl_seconds = 60

[callers.app]
channels = ["*"]
bearer = { issuer = "https://login.example.com", audience = "player" }

[callers.old]
channels = ["*"]
disabled = true
"""


def apply(terminal: Terminal, text: str, *options: str, code: int = 0) -> dict[str, Any]:
    """Apply a policy file of this text."""
    (terminal.folder / "callers.toml").write_text(text)
    found: dict[str, Any] = terminal(
        "callers", "apply", str(terminal.folder / "callers.toml"), *options, "--json", code=code
    ).json
    return found


def test_apply_adds_what_the_file_names_and_prints_each_new_key_once(terminal: Terminal) -> None:
    assert len(apply(terminal, POLICY_FILE, "--dry-run")["changes"]) == 3
    assert terminal("callers", "list", "--json").json == {"callers": []}
    applied = apply(terminal, POLICY_FILE)
    assert sorted(applied["apiKeys"]) == ["old", "web"], "a viewer app has none"
    callers = {caller["name"]: caller for caller in terminal("callers", "list", "--json").json["callers"]}
    assert callers["web"]["keys"][0]["id"] == applied["apiKeys"]["web"].split("_")[1]
    assert [name for name, caller in callers.items() if caller["disabledAt"]] == ["old"]
    assert apply(terminal, POLICY_FILE) == {"changes": [], "dryRun": False, "apiKeys": {}}


def test_apply_changes_only_what_differs(terminal: Terminal) -> None:
    apply(terminal, POLICY_FILE)
    changed = POLICY_FILE.replace("60", "120").replace("true", "false")
    planned = terminal("callers", "apply", "-", "--dry-run", stdin=changed).out
    assert planned.splitlines() == [
        "enable old",
        "    disabled: true -> false",
        "change web",
        "    max_ttl_seconds: 60 -> 120",
        "2 changes to make.",
    ]
    before = terminal("callers", "show", "web", "--json").json
    apply(terminal, changed)
    assert terminal("callers", "show", "web", "--json").json == before | {"maxTtlSeconds": 120}


def test_only_prune_disables_what_the_file_does_not_name(terminal: Terminal) -> None:
    terminal("callers", "add", "other", "--all-channels")
    apply(terminal, POLICY_FILE)
    assert terminal("callers", "show", "other", "--json").json["disabledAt"] is None
    (terminal.folder / "callers.toml").write_text(POLICY_FILE)
    asked = terminal("callers", "apply", str(terminal.folder / "callers.toml"), "--prune", code=2)
    assert "Disable 1 caller that the file does not name (other)?" in asked.err
    assert terminal("callers", "show", "other", "--json").json["disabledAt"] is None
    apply(terminal, POLICY_FILE, "--prune", "--yes")
    assert terminal("callers", "show", "other", "--json").json["disabledAt"] is not None


def test_a_caller_that_was_disabled_by_command_stays_disabled(terminal: Terminal) -> None:
    apply(terminal, POLICY_FILE)
    terminal("callers", "disable", "web", "--yes")
    result = terminal("callers", "apply", str(terminal.folder / "callers.toml"))
    assert "Warning: web stays disabled" in result.err
    assert terminal("callers", "show", "web", "--json").json["disabledAt"] is not None


def test_a_bad_file_is_refused_whole_with_line_and_rule(terminal: Terminal) -> None:
    bad = POLICY_FILE.replace("60", "0").replace('"player"', '""')
    (terminal.folder / "callers.toml").write_text(bad)
    result = terminal("callers", "apply", str(terminal.folder / "callers.toml"), code=2)
    assert "line 3: callers.web.max_ttl_seconds: must be at least 1" in result.err
    assert "line 7: callers.app.bearer.audience: must be 1 to 512" in result.err
    assert terminal("callers", "list", "--json").json == {"callers": []}
    assert "FILE: cannot be read" in terminal("callers", "apply", "nowhere.toml", code=2).err
    assert "FILE: is longer than" in terminal("callers", "apply", "/dev/zero", code=2).err


def test_every_act_is_recorded_under_the_name_of_the_user(terminal: Terminal) -> None:
    terminal("callers", "add", "web", "--all-channels")
    terminal("callers", "update", "web", "--max-ttl", "60")
    terminal("callers", "rotate-secret", "web")
    terminal("callers", "disable", "web", "--yes")
    terminal("callers", "enable", "web")
    apply(terminal, POLICY_FILE)
    store = open_store(f"sqlite:///{terminal.store}")
    records = [r.event for r in store.audit.list(AuditFilter(action="callers"), limit=100, after=0)]
    store.close()
    assert [(e.action.removeprefix("callers."), e.target) for e in records] == [
        ("add", "web"),
        ("update", "web"),
        ("rotate_secret", "web"),
        ("disable", "web"),
        ("enable", "web"),
        ("apply", "app"),
        ("apply", "old"),
    ]
    assert {e.actor for e in records} == {operator_actor()}
    assert records[1].details == {"max_ttl_seconds": "null -> 60"}


def test_new_api_keys_can_go_to_files_and_are_not_printed_then(terminal: Terminal) -> None:
    folder = terminal.folder / "api keys"
    (terminal.folder / "callers.toml").write_text(POLICY_FILE)
    command = ("callers", "apply", str(terminal.folder / "callers.toml"), "--keys-dir", str(folder))
    assert "--keys-dir: must be a directory" in terminal(*command, code=2).err
    folder.mkdir()
    result = terminal(*command)
    files = sorted(folder.iterdir())
    assert [(file.name, file.stat().st_mode & 0o777) for file in files] == [("old.key", 0o600), ("web.key", 0o600)]
    key = files[1].read_text().strip()
    assert key.split("_")[1] == terminal("callers", "show", "web", "--json").json["keys"][0]["id"]
    assert "tsk_" not in result.out + result.err


def test_a_key_file_that_is_there_already_is_neither_replaced_nor_removed(terminal: Terminal) -> None:
    folder = terminal.folder / "api keys"
    folder.mkdir()
    (folder / "web.key").write_text("of another deployment")
    (terminal.folder / "callers.toml").write_text(POLICY_FILE)
    command = ("callers", "apply", str(terminal.folder / "callers.toml"), "--keys-dir", str(folder))
    assert "--keys-dir: already has web.key, which is not replaced" in terminal(*command, code=2).err
    assert [(file.name, file.read_text()) for file in folder.iterdir()] == [("web.key", "of another deployment")]
    assert terminal("callers", "list", "--json").json["callers"] == [], "nothing is applied"


def test_key_files_stay_when_it_is_not_known_whether_they_are_valid(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection ends after the commit: the keys are valid, and nowhere else."""
    applied = SqlCallerStore.apply

    def apply_and_lose_the_connection(*arguments: Any) -> None:
        applied(*arguments)
        raise StoreUnavailable("the store did not respond")

    folder = terminal.folder / "api keys"
    folder.mkdir()
    (terminal.folder / "callers.toml").write_text(POLICY_FILE)
    monkeypatch.setattr(SqlCallerStore, "apply", apply_and_lose_the_connection)
    result = terminal.run("callers", "apply", str(terminal.folder / "callers.toml"), "--keys-dir", str(folder))
    assert result.code != 0
    assert "it is not known whether the keys in" in result.err
    key = (folder / "web.key").read_text().strip()
    assert key.split("_")[1] == terminal("callers", "show", "web", "--json").json["keys"][0]["id"]


def test_a_conflict_with_a_caller_that_the_file_does_not_name_is_reported_by_a_dry_run_too(terminal: Terminal) -> None:
    terminal("callers", "add", "other", "--all-channels", *VIEWER_APP)
    folder = terminal.folder / "keys of callers"
    folder.mkdir()
    (terminal.folder / "callers.toml").write_text(POLICY_FILE)
    command = ("callers", "apply", str(terminal.folder / "callers.toml"), "--keys-dir", str(folder), "--json")
    for options in ((), ("--dry-run",)):
        error = terminal(*command, *options, code=4).error
        assert "callers app and other have the same issuer and audience" in error["message"]
    assert list(folder.iterdir()) == []
    assert len(terminal("callers", "list", "--json").json["callers"]) == 1
    apply(terminal, POLICY_FILE, "--prune", "--yes")
