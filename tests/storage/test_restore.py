"""A store that is restored from a backup under running workers: what they hold is what the restored store says.

The number of each version after the restore is lower than the reader's, equal to it, or higher: the last one is what a
number alone cannot show, for rows that the restore undid have the numbers of rows that were written since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.storage.backups import Backups, PostgresDump, SqliteFile, SqliteInPlace
from tests.storage.samples import AT, EVERYONE, HERE, LATER, POLICY, channel, denial, denial_id, secret
from tests.storage.workers import Deployment
from tokensvc.background.changes import ChangeNotifier, KnownVersions
from tokensvc.background.denylist_sync import SLICE_ROWS
from tokensvc.background.refresh import Refresh
from tokensvc.deployment.versions import Position
from tokensvc.errors import StoreUnavailable
from tokensvc.storage import changes
from tokensvc.storage.store import Store

pytestmark = pytest.mark.slow

WAYS = ("sqlite file", "sqlite in place", "pg_restore")
LOST = 5
"""How many changes of each thing the restore undoes."""
SINCE = (2, LOST, LOST + 3)
"""How many changes follow it."""


class Restorable(Deployment):
    """One that is backed up and restored."""

    def __init__(self, url: str, backups: Backups) -> None:
        super().__init__(url)
        self.backups = backups

    def change(self, history: str, times: int) -> None:
        """Change each thing so often, in a way that only this history has."""
        for number in range(times):
            name = f"{history}{number}"
            self.store.callers.add(name, POLICY, secret(name))
            self.store.denials.add("shop", [denial(name)])
            self.store.channels.record([channel(name)])
            self.store.deployment.set_rotation(propagation_seconds=60 + number, max_age_seconds=None, standby=True)
            self.store.keys.add(name, f"fingerprint of {name}", f"public half of {name}".encode(), AT)


@pytest.fixture(params=WAYS)
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Restorable]:
    if request.param == "pg_restore":
        url = request.getfixturevalue("postgres_url")
        backups: Backups = PostgresDump(request.getfixturevalue("postgres"), url, tmp_path)
    else:
        url = request.getfixturevalue("sqlite_url")
        backups = (SqliteFile if request.param == "sqlite file" else SqliteInPlace)(url, tmp_path)
    made = Restorable(url, backups)
    yield made
    made.store.close()


def held(worker: Refresh) -> dict[str, Any]:
    """Everything that a worker's snapshot says, in a form that compares."""
    snapshot = worker.current
    slot = snapshot.keyring.region_keys[HERE]
    return {
        "secrets": {key_id: known.caller.name for key_id, known in snapshot.secrets.items()},
        "channels": dict(snapshot.channels),
        "denied": snapshot.denylist._shards,
        "max_ttl_seconds": snapshot.max_ttl_seconds,
        "subject_key": snapshot.subject_key,
        "key": (slot.active and slot.active.key_id, set(slot.verification_keys)),
        "versions": worker.loaded_versions[1:],
    }


def refreshed(worker: Refresh) -> dict[str, Any]:
    worker.run_once()
    return held(worker)


@pytest.mark.parametrize("since", SINCE)
def test_a_running_worker_holds_what_the_restored_store_says(deployment: Restorable, since: int) -> None:
    store, worker = deployment.store, deployment.worker()
    worker.run_once()
    worker.run_once()  # it made the subject key itself
    backup = deployment.backups.save()
    deployment.change("lost", LOST)
    store.denials.remove(denial_id(store, "undone"), EVERYONE)
    store.deployment.set_max_ttl_seconds(60)
    deployment.sign_with("klost")
    worker.run_once()
    deployment.backups.restore(backup)
    deployment.change("since", since)
    store.callers.disable("shop", LATER)
    store.deployment.set_max_ttl_seconds(120)
    deployment.sign_with("ksince")
    store.denials.add("shop", [denial("last")])
    with capture_logs() as lines:
        found = refreshed(worker)
        assert refreshed(worker) == found
    assert found == refreshed(deployment.worker())
    assert (found["secrets"], found["key"][0]) != ({}, None)
    assert deployment.replacements == 1
    assert [line["log_level"] for line in lines] == ["warning"]
    assert "restored" in lines[0]["reason"]


@pytest.mark.parametrize("since", SINCE)
@pytest.mark.parametrize("thing", ["callers", "denials", "channels", "deployment", "keys"])
def test_each_thing_is_noticed_by_itself(deployment: Restorable, thing: str, since: int) -> None:
    """Nothing else changed on either side of the restore."""
    change: dict[str, Callable[[str], Any]] = {
        "callers": lambda name: deployment.store.callers.add(name, POLICY, secret(name)),
        "denials": lambda name: deployment.store.denials.add("shop", [denial(name)]),
        "channels": lambda name: deployment.store.channels.record([channel(name)]),
        "deployment": lambda name: deployment.store.deployment.set_max_ttl_seconds(
            60 + int.from_bytes(name.encode()) % 3001
        ),
        "keys": lambda name: deployment.store.keys.add(name, f"fingerprint of {name}", name.encode(), AT),
    }
    worker = deployment.worker()
    worker.run_once()
    worker.run_once()
    backup = deployment.backups.save()
    for number in range(LOST):
        change[thing](f"lost{number}")
    worker.run_once()
    deployment.backups.restore(backup)
    for number in range(since):
        change[thing](f"since{number}")
    assert refreshed(worker) == refreshed(deployment.worker())
    assert deployment.replacements == 1


def test_a_restored_store_in_which_nothing_was_lost_is_read_on_from(deployment: Restorable) -> None:
    worker = deployment.worker()
    worker.run_once()
    worker.run_once()
    deployment.backups.restore(deployment.backups.save())
    deployment.change("since", 3)
    assert refreshed(worker) == refreshed(deployment.worker())
    assert deployment.replacements == 0


def test_a_subject_key_that_a_restore_undid_is_not_taken_for_the_one_that_was_made_since(
    deployment: Restorable,
) -> None:
    """Both are version 1."""
    backup = deployment.backups.save()
    worker = deployment.worker()
    before = refreshed(worker)["subject_key"]
    deployment.backups.restore(backup)
    other = refreshed(deployment.worker())["subject_key"]
    assert other != before
    assert refreshed(worker)["subject_key"] == other


def test_pruned_denials_are_no_restore(deployment: Restorable) -> None:
    store, worker = deployment.store, deployment.worker()
    store.denials.add("shop", [denial("short", until=1)])
    worker.run_once()
    worker.run_once()
    assert store.denials.prune(AT, 100) == 1
    store.denials.add("shop", [denial("next")])
    assert refreshed(worker) == refreshed(deployment.worker())
    assert deployment.replacements == 0


def test_a_worker_that_fell_behind_further_than_the_history_reaches_reads_everything_anew(
    deployment: Restorable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "HISTORY_LENGTH", 4)
    worker = deployment.worker()
    worker.run_once()
    worker.run_once()
    deployment.change("since", 4)
    with capture_logs() as lines:
        assert refreshed(worker) == refreshed(deployment.worker())
    assert "more than 4 times" in lines[0]["reason"]


class _TwoPages:
    """Denials of which the second page cannot be read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.pages_left = 1

    def changed_since(self, position: Position, limit: int) -> Any:
        if self.pages_left == 0:
            raise StoreUnavailable("the store cannot be reached")
        self.pages_left -= 1
        return self._store.denials.changed_since(position, limit)


def test_a_restore_between_two_pages_of_denials_is_noticed(deployment: Restorable) -> None:
    """The first page is of a history that the second one does not continue."""
    store, port = deployment.store, _TwoPages(deployment.store)
    worker = deployment.worker(port)
    backup = deployment.backups.save()
    for number in range(3):
        store.denials.add("shop", [denial(f"lost{number}x{viewer}") for viewer in range(SLICE_ROWS)])
    with pytest.raises(StoreUnavailable):
        worker.run_once()
    assert worker.denials.position.number > 0
    deployment.backups.restore(backup)
    deployment.change("since", 8)
    port.pages_left = 100
    assert refreshed(worker)["denied"] == refreshed(deployment.worker())["denied"]
    assert deployment.replacements == 1


def test_until_everything_is_loaded_anew_the_former_denials_are_in_force(deployment: Restorable) -> None:
    store, port = deployment.store, _TwoPages(deployment.store)
    port.pages_left = 100
    worker = deployment.worker(port)
    worker.run_once()
    backup = deployment.backups.save()
    store.denials.add("shop", [denial("lost")])
    former = refreshed(worker)["denied"]
    deployment.backups.restore(backup)
    store.callers.disable("shop", LATER)
    port.pages_left = 0
    with pytest.raises(StoreUnavailable):
        worker.run_once()
    assert worker.current.denylist._shards == former
    assert set(worker.current.secrets) == {"kept"}, "what else is new counts at once"
    port.pages_left = 100
    worker.run_once()
    assert worker.current.denylist._shards != former
    assert worker.current.denylist._shards == refreshed(deployment.worker())["denied"]


@pytest.mark.parametrize("since", SINCE)
def test_a_process_without_a_snapshot_notices_it_too(deployment: Restorable, since: int) -> None:
    store, calls = deployment.store, SimpleNamespace(keys=0, restored=0)

    def keys() -> None:
        calls.keys += 1

    def restored() -> None:
        calls.restored += 1

    notifier = ChangeNotifier(KnownVersions(), on_keys_or_limits=[keys], on_replacement=[restored])
    notifier.poll(store.versions)
    backup = deployment.backups.save()
    deployment.change("lost", LOST)
    notifier.poll(store.versions)
    deployment.backups.restore(backup)
    deployment.change("since", since)
    assert (calls.keys, calls.restored) == (2, 0)
    for _ in range(2):
        notifier.poll(store.versions)
    assert (calls.keys, calls.restored) == (3, 1)
