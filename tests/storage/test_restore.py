"""Restoring a store from a backup under running workers: their snapshots follow the restored store.

After the restore and later changes, the number of each version is lower than the reader's, equal to it, or higher. A
number alone cannot show the last case: rows that the restore undid and rows written since have the same numbers.
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
from tests.storage.workers import DatabaseDeployment
from tests.support.audit import EVENT
from tokensvc.background.changes import ChangeNotifier, KnownVersions
from tokensvc.background.denylist_sync import SLICE_ROWS
from tokensvc.background.refresh import Refresh
from tokensvc.deployment.versions import Position
from tokensvc.errors import StoreUnavailable
from tokensvc.storage import changes
from tokensvc.storage.store import Store

pytestmark = pytest.mark.long

METHODS = ("sqlite file", "sqlite in place", "pg_restore")
LOST = 5
"""How many changes of each part the restore undoes."""
CHANGES_SINCE = (2, LOST, LOST + 3)
"""How many changes follow the restore."""


class Restorable(DatabaseDeployment):
    """A deployment that can be backed up and restored."""

    def __init__(self, url: str, backups: Backups) -> None:
        super().__init__(url)
        self.backups = backups

    def change(self, history: str, times: int) -> None:
        """Change each part that many times, with names that are unique to this history."""
        for number in range(times):
            name = f"{history}{number}"
            self.store.callers.add(name, POLICY, secret(name), EVENT)
            self.store.denials.add("shop", [denial(name)], event=EVENT)
            self.store.channels.record([channel(name)])
            self.store.deployment.set_rotation(
                propagation_seconds=60 + number, max_age_seconds=None, standby=True, event=EVENT
            )
            self.store.keys.add(name, f"fingerprint of {name}", f"public key of {name}".encode(), AT)


@pytest.fixture(params=METHODS)
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Restorable]:
    if request.param == "pg_restore":
        url = request.getfixturevalue("postgres_url")
        backups: Backups = PostgresDump(request.getfixturevalue("postgres"), url, tmp_path)
    else:
        url = request.getfixturevalue("sqlite_url")
        backups = (SqliteFile if request.param == "sqlite file" else SqliteInPlace)(url, tmp_path)
    restorable = Restorable(url, backups)
    yield restorable
    restorable.store.close()


def snapshot_of(worker: Refresh) -> dict[str, Any]:
    """The contents of a worker's snapshot, in a comparable form."""
    snapshot = worker.current
    region_keys = snapshot.keyring.region_keys[HERE]
    return {
        "secrets": {key_id: known.caller.name for key_id, known in snapshot.secrets.items()},
        "channels": dict(snapshot.channels),
        "denied": snapshot.denylist._shards,
        "max_ttl_seconds": snapshot.max_ttl_seconds,
        "subject_key": snapshot.subject_key,
        "key": (region_keys.active and region_keys.active.key_id, set(region_keys.verification_keys)),
        "versions": worker.loaded_versions[1:],
    }


def refresh(worker: Refresh) -> dict[str, Any]:
    worker.run_once()
    return snapshot_of(worker)


@pytest.mark.parametrize("since", CHANGES_SINCE)
def test_a_running_worker_has_the_contents_of_the_restored_store(deployment: Restorable, since: int) -> None:
    store, worker = deployment.store, deployment.worker()
    worker.run_once()
    worker.run_once()  # the first run created the subject key
    backup = deployment.backups.save()
    deployment.change("lost", LOST)
    store.denials.remove(denial_id(store, "undone"), EVERYONE, event=EVENT)
    store.deployment.set_max_ttl_seconds(60, event=EVENT)
    deployment.sign_with("klost")
    worker.run_once()
    deployment.backups.restore(backup)
    deployment.change("since", since)
    store.callers.disable("shop", LATER, EVENT)
    store.deployment.set_max_ttl_seconds(120, event=EVENT)
    deployment.sign_with("ksince")
    store.denials.add("shop", [denial("last")], event=EVENT)
    with capture_logs() as lines:
        found = refresh(worker)
        assert refresh(worker) == found
    assert found == refresh(deployment.worker())
    assert (found["secrets"], found["key"][0]) != ({}, None)
    assert deployment.replacements == 1
    assert [line["log_level"] for line in lines] == ["warning"]
    assert "restored" in lines[0]["reason"]


@pytest.mark.parametrize("since", CHANGES_SINCE)
@pytest.mark.parametrize("part", ["callers", "denials", "channels", "deployment", "keys"])
def test_a_restore_is_detected_by_each_part_alone(deployment: Restorable, part: str, since: int) -> None:
    """Nothing else changed before or after the restore."""
    change: dict[str, Callable[[str], Any]] = {
        "callers": lambda name: deployment.store.callers.add(name, POLICY, secret(name), EVENT),
        "denials": lambda name: deployment.store.denials.add("shop", [denial(name)], event=EVENT),
        "channels": lambda name: deployment.store.channels.record([channel(name)]),
        "deployment": lambda name: deployment.store.deployment.set_max_ttl_seconds(
            60 + int.from_bytes(name.encode()) % 3001, event=EVENT
        ),
        "keys": lambda name: deployment.store.keys.add(name, f"fingerprint of {name}", name.encode(), AT),
    }
    worker = deployment.worker()
    worker.run_once()
    worker.run_once()
    backup = deployment.backups.save()
    for number in range(LOST):
        change[part](f"lost{number}")
    worker.run_once()
    deployment.backups.restore(backup)
    for number in range(since):
        change[part](f"since{number}")
    assert refresh(worker) == refresh(deployment.worker())
    assert deployment.replacements == 1


def test_a_worker_continues_if_the_restore_lost_nothing(deployment: Restorable) -> None:
    worker = deployment.worker()
    worker.run_once()
    worker.run_once()
    deployment.backups.restore(deployment.backups.save())
    deployment.change("since", 3)
    assert refresh(worker) == refresh(deployment.worker())
    assert deployment.replacements == 0


def test_a_subject_key_that_a_restore_replaced_is_loaded_again(
    deployment: Restorable,
) -> None:
    """Both are version 1."""
    backup = deployment.backups.save()
    worker = deployment.worker()
    before = refresh(worker)["subject_key"]
    deployment.backups.restore(backup)
    other = refresh(deployment.worker())["subject_key"]
    assert other != before
    assert refresh(worker)["subject_key"] == other


def test_pruning_denials_is_not_taken_for_a_restore(deployment: Restorable) -> None:
    store, worker = deployment.store, deployment.worker()
    store.denials.add("shop", [denial("short", until=1)], event=EVENT)
    worker.run_once()
    worker.run_once()
    assert store.denials.prune(AT, 100) == 1
    store.denials.add("shop", [denial("next")], event=EVENT)
    assert refresh(worker) == refresh(deployment.worker())
    assert deployment.replacements == 0


def test_a_worker_behind_the_history_reads_everything_again(
    deployment: Restorable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "HISTORY_LENGTH", 4)
    worker = deployment.worker()
    worker.run_once()
    worker.run_once()
    deployment.change("since", 4)
    with capture_logs() as lines:
        assert refresh(worker) == refresh(deployment.worker())
    assert "more than 4 times" in lines[0]["reason"]


class _FailingDenials:
    """A store of denials that fails after a number of pages."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.pages_left = 1

    def changed_since(self, position: Position, limit: int) -> Any:
        if self.pages_left == 0:
            raise StoreUnavailable("the store cannot be reached")
        self.pages_left -= 1
        return self._store.denials.changed_since(position, limit)


def test_a_restore_between_two_pages_of_denials_is_detected(deployment: Restorable) -> None:
    """The second page does not continue the history of the first one."""
    store, denials = deployment.store, _FailingDenials(deployment.store)
    worker = deployment.worker(denials)
    backup = deployment.backups.save()
    for number in range(3):
        store.denials.add("shop", [denial(f"lost{number}x{viewer}") for viewer in range(SLICE_ROWS)], event=EVENT)
    with pytest.raises(StoreUnavailable):
        worker.run_once()
    assert worker.denials.position.number > 0
    deployment.backups.restore(backup)
    deployment.change("since", 8)
    denials.pages_left = 100
    assert refresh(worker)["denied"] == refresh(deployment.worker())["denied"]
    assert deployment.replacements == 1


def test_the_previous_denials_stay_in_force_until_all_are_loaded_again(deployment: Restorable) -> None:
    store, denials = deployment.store, _FailingDenials(deployment.store)
    denials.pages_left = 100
    worker = deployment.worker(denials)
    worker.run_once()
    backup = deployment.backups.save()
    store.denials.add("shop", [denial("lost")], event=EVENT)
    previous = refresh(worker)["denied"]
    deployment.backups.restore(backup)
    store.callers.disable("shop", LATER, EVENT)
    denials.pages_left = 0
    with pytest.raises(StoreUnavailable):
        worker.run_once()
    assert worker.current.denylist._shards == previous
    assert {name for name, known in worker.current.secrets.items() if not known.disabled} == {"kept"}, (
        "other changes apply immediately"
    )
    denials.pages_left = 100
    worker.run_once()
    assert worker.current.denylist._shards != previous
    assert worker.current.denylist._shards == refresh(deployment.worker())["denied"]


@pytest.mark.parametrize("since", CHANGES_SINCE)
def test_a_process_without_a_snapshot_detects_a_restore(deployment: Restorable, since: int) -> None:
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
