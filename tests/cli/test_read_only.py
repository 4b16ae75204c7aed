"""Read-only commands and every `--dry-run` change nothing: no row, no private key, nothing in IVS."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.cli.terminal import Terminal
from tests.support.audit import EVENT
from tests.support.servers import serving
from tests.support.stores import dump
from tokensvc.clock import SystemClock
from tokensvc.jose import keypair
from tokensvc.keys.inventory import COMPROMISED_TAG, DEPLOYMENT_TAG, KEY_TAG
from tokensvc.local_ivs.clock import AdvanceableClock
from tokensvc.local_ivs.http import LocalIvsSettings, build
from tokensvc.local_ivs.sigv4 import AccessKeySecret
from tokensvc.local_ivs.storage import SqliteResourceStore
from tokensvc.storage.store import open_store

pytestmark = pytest.mark.long

READING = re.compile(r"/(List|Get|BatchGet)[A-Za-z]+|/tags/.*")

COMMANDS = [
    ("doctor",),
    ("keys", "list"),
    ("keys", "list", "--ivs"),
    ("keys", "show", "KEY"),
    ("keys", "public", "KEY"),
    ("keys", "rotate", "--dry-run"),
    ("keys", "reconcile", "--dry-run"),
    ("keys", "rewrap", "--dry-run"),
    ("keys", "compromise", "KEY", "--dry-run"),
    ("callers", "list"),
    ("denials", "list"),
    ("revocations", "list"),
]


class Recorder:
    """Wraps the local IVS and records the requests it receives."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.requests: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.requests.append(f"{scope['method']} {scope['path']}")
        await self._app(scope, receive, send)

    def mutating(self) -> list[str]:
        """The requests that change, or may change, resources in IVS."""
        requests = [request.split(" ", 1) for request in self.requests]
        return [
            f"{method} {path}"
            for method, path in requests
            if not READING.fullmatch(path) or (path.startswith("/tags/") and method != "GET")
        ]


@pytest.fixture
def ivs() -> Iterator[tuple[Recorder, str]]:
    resources = SqliteResourceStore(":memory:")
    credentials = {"test": AccessKeySecret("test", "200000000000")}
    parts = build(resources, LocalIvsSettings(credentials, rate_limits=False), AdvanceableClock(SystemClock()))
    recorder = Recorder(parts.site)
    with serving(recorder) as url:
        yield recorder, url
    resources.close()


@pytest.fixture
def inconsistent(ivs: tuple[Recorder, str], migrated: Path, tmp_path: Path) -> Terminal:
    """A deployment with much for `reconcile` to write: an unrecorded import and compromise, and a foreign pair."""
    terminal = Terminal(tmp_path, ivs[1], "test")
    shutil.copy(migrated, terminal.store)
    store = open_store(terminal.environ["TOKENSVC_DATABASE_URL"])
    store.deployment.set_rotation(propagation_seconds=0, max_age_seconds=None, standby=False, event=EVENT)
    terminal("keys", "generate")
    terminal("callers", "add", "web", "--all-channels")
    private_key = keypair.generate()
    record = store.keys.add("k77", "f", keypair.public_der(private_key.public_key()), store.keys.list()[0].created_at)
    tags = {DEPLOYMENT_TAG: store.deployment.read().id, KEY_TAG: record.id}
    with terminal.ivs() as client:
        [active] = client.list_playback_key_pairs()["keyPairs"]
        client.tag_resource(resourceArn=active["arn"], tags={COMPROMISED_TAG: "2026-01-01T00:00:00Z"})
        public = keypair.public_pem(private_key.public_key())
        client.import_playback_key_pair(publicKeyMaterial=public, name="unrecorded", tags=tags)
        foreign = keypair.public_pem(keypair.generate().public_key())
        client.import_playback_key_pair(publicKeyMaterial=foreign, name="theirs")
    store.close()
    return terminal


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_read_only_commands_change_nothing(
    inconsistent: Terminal, ivs: tuple[Recorder, str], command: tuple[str, ...]
) -> None:
    store = open_store(inconsistent.environ["TOKENSVC_DATABASE_URL"])
    key_id = next(record.id for record in store.keys.list() if record.placements)
    rows, files = dump(store), _files(inconsistent.vault)
    ivs[0].requests.clear()
    result = inconsistent.run(*(key_id if word == "KEY" else word for word in command))
    assert result.code in {0, 1} if command == ("doctor",) else result.code == 0, result.err
    assert dump(store) == rows
    assert _files(inconsistent.vault) == files
    assert ivs[0].mutating() == []
    store.close()


def test_reconcile_changes_the_same_deployment(inconsistent: Terminal, ivs: tuple[Recorder, str]) -> None:
    """Otherwise the tests above would prove nothing."""
    store = open_store(inconsistent.environ["TOKENSVC_DATABASE_URL"])
    rows = dump(store)
    ivs[0].requests.clear()
    inconsistent.run("keys", "reconcile")
    assert dump(store) != rows
    assert ivs[0].mutating()
    store.close()


def test_a_dry_run_does_not_register_a_new_passphrase(inconsistent: Terminal) -> None:
    store = open_store(inconsistent.environ["TOKENSVC_DATABASE_URL"])
    key_id = next(record.id for record in store.keys.list() if record.placements)
    rows = dump(store)
    old = inconsistent.passphrase
    for command in (("rotate", "--dry-run"), ("compromise", key_id, "--dry-run"), ("rewrap", "--dry-run")):
        inconsistent("keys", *command, PASSPHRASE="a" * 64, PREVIOUS_PASSPHRASE=old)
        assert dump(store) == rows
    store.close()


def _files(vault: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(vault.iterdir())}
