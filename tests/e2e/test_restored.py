"""A store restored from before a compromise, with and without running workers, on both databases."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.test_rotation import active, states, store_of
from tests.storage.backups import Backups, PostgresDump, SqliteFile
from tests.support.deployment import Deployment, LocalIvs, Service
from tests.support.http_client import Client, fetch
from tests.support.postgres import PostgresServer
from tests.support.processes import wait_until
from tokensvc.keys.lifecycle import KeyState

LIMIT_SECONDS = 60.0


class Restorable(NamedTuple):
    """A deployment whose store can be backed up and restored."""

    deployment: Deployment
    backups: Backups


class PlayedToken(NamedTuple):
    """One issued token, and whether the edge allowed it immediately."""

    at: float
    token_status: int
    playback_status: int


@pytest.fixture
def on_sqlite(ivs: LocalIvs, tmp_path: Path) -> Restorable:
    deployment = Deployment(ivs, tmp_path)
    deployment.environ["TOKENSVC_VAULT"] = "store"  # so that private keys are restored too
    return Restorable(deployment, SqliteFile(deployment.environ["TOKENSVC_DATABASE_URL"], tmp_path))


@pytest.fixture
def on_postgresql(ivs: LocalIvs, postgres: PostgresServer, tmp_path: Path) -> Restorable:
    url = postgres.url(postgres.fresh())
    return Restorable(Deployment(ivs, tmp_path, url), PostgresDump(postgres, url, tmp_path))


def fill_slots(deployment: Deployment, *, standby: bool) -> str:
    """Use all three slots: one active, one retiring, and one retiring or standby; return the active key."""
    deployment.run_all((["db", "upgrade"], {}), (["keys", "generate"], {}), (["keys", "rotate"], {}))
    deployment.run("keys", "generate" if standby else "rotate")
    with store_of(deployment) as store:
        assert sorted(states(store).values()) == sorted(
            [KeyState.ACTIVE, KeyState.RETIRING, KeyState.PREPARED if standby else KeyState.RETIRING]
        )
        return str(active(store))


def watch(
    service: Service, key: str, channel: Any, until_played: Callable[[list[PlayedToken]], bool]
) -> list[PlayedToken]:
    """Request tokens and play them until the condition holds; fails after the time limit."""
    attempts: list[PlayedToken] = []
    with Client(service.url, key) as caller:
        ends_at = time.monotonic() + LIMIT_SECONDS + 30
        while not until_played(attempts) and time.monotonic() < ends_at:
            response = caller.request_token(channelArn=channel["arn"], viewerId="ada")
            token = response.json.get("token", "")
            playback_status = fetch(f"{channel['playbackUrl']}?token={token}").status if token else 0
            attempts.append(PlayedToken(time.monotonic(), response.status, playback_status))
            time.sleep(0.2)
    return attempts


def plays(attempts: list[PlayedToken]) -> bool:
    """Whether the last tokens all play."""
    return len(attempts) > 10 and all(attempt.playback_status == 200 for attempt in attempts[-10:])


def check(attempts: list[PlayedToken], service: Service) -> None:
    """Check that denied tokens are issued for a minute at most, and that an ERROR is logged."""
    assert plays(attempts), attempts[-10:]
    denied_at = [attempt.at for attempt in attempts if attempt.token_status == 201 and attempt.playback_status == 403]
    assert denied_at, "no token was denied after the restore"
    assert denied_at[-1] - denied_at[0] < LIMIT_SECONDS
    lines = [json.loads(line) for line in service.process.err.splitlines() if line.startswith("{")]
    assert [line for line in lines if line["level"] == "error" and "does not hold key" in line.get("error", "")]


@contextlib.contextmanager
def serving(deployment: Deployment) -> Iterator[Service]:
    with deployment.serve(WORKERS="2") as service:
        yield service


PAIRS = {
    "postgresql, running, two retiring": ("on_postgresql", True, False),
    "postgresql, stopped, one standby": ("on_postgresql", False, True),
    "sqlite, running, one standby": ("on_sqlite", True, True),
    "sqlite, stopped, two retiring": ("on_sqlite", False, False),
}
"""Every pair of values; `tests/background/test_restored.py` has all combinations in one process."""


@pytest.mark.long
@pytest.mark.parametrize(("database", "running", "standby"), PAIRS.values(), ids=PAIRS)
def test_a_key_that_ivs_holds_becomes_active(
    request: pytest.FixtureRequest, database: str, *, running: bool, standby: bool
) -> None:
    deployment, backups = request.getfixturevalue(database)
    compromised = fill_slots(deployment, standby=standby)
    key, operator = (
        deployment.add_caller("--all-channels"),
        deployment.add_caller("--all-channels", "--scope", "keys:read"),
    )
    channel = deployment.new_channel()
    backup = backups.save()
    if running:
        with serving(deployment) as service:
            assert plays(watch(service, key, channel, plays))
            _compromise(deployment, compromised)
            assert plays(watch(service, key, channel, plays))
            backups.restore(backup)
            attempts = watch(
                service,
                key,
                channel,
                lambda attempts: any(attempt.playback_status == 403 for attempt in attempts) and plays(attempts),
            )
            check(attempts, service)
            _check_state(deployment, service, compromised, operator, orphan=not standby)
    else:
        _compromise(deployment, compromised)
        backups.restore(backup)
        with serving(deployment) as service:
            attempts = watch(
                service,
                key,
                channel,
                lambda attempts: any(attempt.playback_status == 403 for attempt in attempts) and plays(attempts),
            )
            check(attempts, service)
            _check_state(deployment, service, compromised, operator, orphan=not standby)


@pytest.mark.long
@pytest.mark.parametrize("database", ["on_postgresql", "on_sqlite"])
def test_commands_recover_a_restored_store(request: pytest.FixtureRequest, database: str) -> None:
    """Doctor's first fix works, although all slots are in use."""
    deployment, backups = request.getfixturevalue(database)
    compromised = fill_slots(deployment, standby=False)
    deployment.add_caller("--all-channels")
    backup = backups.save()
    _compromise(deployment, compromised)
    backups.restore(backup)
    report = deployment.run("doctor", "--json", code=1).json
    first = next(finding for finding in report["findings"] if not finding["ok"])
    assert f"{compromised} is active but not in IVS" in first["detail"]
    deployment.run(*first["fix"].split()[1:])
    with store_of(deployment) as store:
        active_key = str(active(store))
        pairs = deployment.ivs.client(deployment.access_key).list_playback_key_pairs()["keyPairs"]
        assert active_key in {pair["tags"]["tokensvc:key"] for pair in pairs}
        [retiring, *_] = [key_id for key_id, state in states(store).items() if state is KeyState.RETIRING]
    deployment.run("keys", "activate", retiring)
    with store_of(deployment) as store:
        assert active(store) == retiring


def _compromise(deployment: Deployment, compromised: str) -> None:
    """The changes that the restore undoes."""
    deployment.run("callers", "add", "later", "--all-channels")
    deployment.run("keys", "compromise", compromised, "--yes")
    deployment.run("keys", "reconcile")


def _check_state(deployment: Deployment, service: Service, compromised: str, operator: str, *, orphan: bool) -> None:
    """Check that store and IVS agree and that the status reports an orphan, if there is one: a key imported after the
    compromise."""
    with store_of(deployment) as store:
        assert states(store)[compromised] is KeyState.RETIRED
        pairs = deployment.ivs.client(deployment.access_key).list_playback_key_pairs()["keyPairs"]
        assert active(store) in {pair["tags"]["tokensvc:key"] for pair in pairs}
    with service.client(operator) as caller:
        if orphan:
            wait_until(
                lambda: "for a key that the store does not have" in _problems(caller),
                "the status reports the orphaned pair",
                20,
            )
        assert caller.get("/readyz").status == 200
    assert "Traceback" not in service.process.err


def _problems(caller: Client) -> str:
    return "; ".join(caller.get("/v1/status").json["problems"])
