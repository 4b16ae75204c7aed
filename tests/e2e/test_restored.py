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

    site: Deployment
    backups: Backups


class Seen(NamedTuple):
    """One issued token, and whether the edge allowed it at once."""

    at: float
    asked: int
    played: int


@pytest.fixture
def on_sqlite(ivs: LocalIvs, tmp_path: Path) -> Restorable:
    site = Deployment(ivs, tmp_path)
    site.environ["TOKENSVC_VAULT"] = "store"  # so that private keys are restored too
    return Restorable(site, SqliteFile(site.environ["TOKENSVC_DATABASE_URL"], tmp_path))


@pytest.fixture
def on_postgresql(ivs: LocalIvs, postgres: PostgresServer, tmp_path: Path) -> Restorable:
    url = postgres.url(postgres.fresh())
    return Restorable(Deployment(ivs, tmp_path, url), PostgresDump(postgres, url, tmp_path))


def fill_slots(site: Deployment, *, standby: bool) -> str:
    """Use all three slots: one active, one retiring, and one retiring or standby; return the active key."""
    site.run_all((["db", "upgrade"], {}), (["keys", "generate"], {}), (["keys", "rotate"], {}))
    site.run("keys", "generate" if standby else "rotate")
    with store_of(site) as store:
        assert sorted(states(store).values()) == sorted(
            [KeyState.ACTIVE, KeyState.RETIRING, KeyState.PREPARED if standby else KeyState.RETIRING]
        )
        return str(active(store))


def watch(service: Service, key: str, channel: Any, until_played: Callable[[list[Seen]], bool]) -> list[Seen]:
    """Request tokens and play them until the condition holds; fails after the time limit."""
    seen: list[Seen] = []
    with Client(service.url, key) as caller:
        ends_at = time.monotonic() + LIMIT_SECONDS + 30
        while not until_played(seen) and time.monotonic() < ends_at:
            response = caller.request_token(channelArn=channel["arn"], viewerId="ada")
            token = response.json.get("token", "")
            played = fetch(f"{channel['playbackUrl']}?token={token}").status if token else 0
            seen.append(Seen(time.monotonic(), response.status, played))
            time.sleep(0.2)
    return seen


def plays(seen: list[Seen]) -> bool:
    """Whether the last tokens all play."""
    return len(seen) > 10 and all(one.played == 200 for one in seen[-10:])


def check(seen: list[Seen], service: Service) -> None:
    """Check that denied tokens are issued for a minute at most, and that an ERROR is logged."""
    assert plays(seen), seen[-10:]
    refused = [one.at for one in seen if one.asked == 201 and one.played == 403]
    assert refused, "the restored store signs with the key of before, at first"
    assert refused[-1] - refused[0] < LIMIT_SECONDS
    lines = [json.loads(line) for line in service.process.err.splitlines() if line.startswith("{")]
    assert [line for line in lines if line["level"] == "error" and "does not hold key" in line.get("problem", "")]


@contextlib.contextmanager
def serving(site: Deployment) -> Iterator[Service]:
    with site.serve(WORKERS="2") as service:
        yield service


@pytest.mark.long
@pytest.mark.parametrize("standby", [False, True], ids=["two retire", "one stands by"])
@pytest.mark.parametrize("database", ["on_postgresql", "on_sqlite"])
@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_a_key_that_ivs_holds_becomes_active(
    request: pytest.FixtureRequest, database: str, *, running: bool, standby: bool
) -> None:
    site, backups = request.getfixturevalue(database)
    bad = fill_slots(site, standby=standby)
    key, operator = site.add_caller("--all-channels"), site.add_caller("--all-channels", "--scope", "keys:read")
    channel = site.new_channel()
    backup = backups.save()
    if running:
        with serving(site) as service:
            assert plays(watch(service, key, channel, plays))
            _change(site, bad)
            assert plays(watch(service, key, channel, plays))
            backups.restore(backup)
            seen = watch(service, key, channel, lambda seen: any(s.played == 403 for s in seen) and plays(seen))
            check(seen, service)
            _agrees(site, service, bad, operator, orphan=not standby)
    else:
        _change(site, bad)
        backups.restore(backup)
        with serving(site) as service:
            seen = watch(service, key, channel, lambda seen: any(s.played == 403 for s in seen) and plays(seen))
            check(seen, service)
            _agrees(site, service, bad, operator, orphan=not standby)


@pytest.mark.long
@pytest.mark.parametrize("database", ["on_postgresql", "on_sqlite"])
def test_commands_recover_a_restored_store(request: pytest.FixtureRequest, database: str) -> None:
    """Doctor's first fix works, although all slots are in use."""
    site, backups = request.getfixturevalue(database)
    bad = fill_slots(site, standby=False)
    site.add_caller("--all-channels")
    backup = backups.save()
    _change(site, bad)
    backups.restore(backup)
    said = site.run("doctor", "--json", code=1).json
    first = next(finding for finding in said["findings"] if not finding["ok"])
    assert f"{bad} is active but not in IVS" in first["detail"]
    site.run(*first["fix"].split()[1:])
    with store_of(site) as store:
        signing = str(active(store))
        held = site.ivs.client(site.access_key).list_playback_key_pairs()["keyPairs"]
        assert signing in {pair["tags"]["tokensvc:key"] for pair in held}
        [retiring, *_] = [key_id for key_id, state in states(store).items() if state is KeyState.RETIRING]
    site.run("keys", "activate", retiring)
    with store_of(site) as store:
        assert active(store) == retiring


def _change(site: Deployment, bad: str) -> None:
    """The changes that the restore undoes."""
    site.run("callers", "add", "later", "--all-channels")
    site.run("keys", "compromise", bad, "--yes")
    site.run("keys", "reconcile")


def _agrees(site: Deployment, service: Service, bad: str, operator: str, *, orphan: bool) -> None:
    """Whether store and IVS agree, and the status reports what is left to do: a key imported after the compromise is an
    orphan."""
    with store_of(site) as store:
        assert states(store)[bad] is KeyState.RETIRED
        held = site.ivs.client(site.access_key).list_playback_key_pairs()["keyPairs"]
        assert active(store) in {pair["tags"]["tokensvc:key"] for pair in held}
    with service.client(operator) as caller:
        if orphan:
            wait_until(lambda: "does not know" in _problems(caller), "the status says which pair nobody knows", 20)
        assert caller.get("/readyz").status == 200
    assert "Traceback" not in service.process.err


def _problems(caller: Client) -> str:
    return "; ".join(caller.get("/v1/status").json["problems"])
