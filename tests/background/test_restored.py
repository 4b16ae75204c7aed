"""A restored store, and wrong responses of IVS, over minutes of the test's clock.

Invariants
- After a restore, a worker signs for at most a minute with a key whose pair IVS does not hold; during that time an
  ERROR is logged at least once a minute.
- Whatever IVS returns for ten minutes, tokens are still issued and nothing is deleted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.keys.test_leader import LEASE_SECONDS, LeaderProcess
from tests.support.in_memory_deployment import EAST, POLICY, WEST, InMemoryDeployment
from tests.support.problems import texts
from tests.support.refresh_worker import CountingWorker
from tests.support.simulated_ivs import SimulatedIvs, outage, throttle
from tests.support.stores import restore, save
from tokensvc.background.changes import ChangeNotifier, KnownVersions
from tokensvc.background.refresh import INTERVAL_SECONDS as REFRESH_SECONDS
from tokensvc.errors import ControlPlaneDenied
from tokensvc.keys import commands
from tokensvc.keys.absences import AbsenceTracker
from tokensvc.keys.inventory import KEY_TAG
from tokensvc.keys.leader import INTERVAL_SECONDS
from tokensvc.keys.lifecycle import KeyState

pytestmark = pytest.mark.long

LIMIT_SECONDS = 60.0
FAULT_SECONDS = 600.0
DENIED = ControlPlaneDenied(
    "IVS responded with AccessDeniedException", operation="*", ivs_code="AccessDeniedException", status=403
)


class Service:
    """A process that serves and is the rotation leader: its refresh notifies its rotation of changes, as in
    production."""

    def __init__(self, deployment: InMemoryDeployment, name: str) -> None:
        deployment.absences = AbsenceTracker()  # a new process has seen no absences yet
        self._deployment = deployment
        self._process = LeaderProcess(deployment, EAST, WEST, name=name)
        self._worker = CountingWorker(deployment, deployment.clock)
        self._notifier = ChangeNotifier(KnownVersions(), on_keys_or_limits=[self._process.rotation.wake])
        self._since_refresh = REFRESH_SECONDS

    def tick(self) -> None:
        """Run half a second."""
        self._since_refresh += INTERVAL_SECONDS
        if self._since_refresh >= REFRESH_SECONDS:
            self._since_refresh = 0.0
            self._worker.refresh.run_once()
            self._notifier.update(self._worker.refresh.loaded_versions)
        try:
            self._process.rotation.run_once()
        finally:
            self._deployment.clock.advance(INTERVAL_SECONDS)

    def signing(self) -> dict[str, str]:
        """By region, the key that signs tokens now."""
        region_keys = self._worker.refresh.current.keyring.region_keys
        return {at.region: keys.active.key_id for at, keys in region_keys.items() if keys.active is not None}

    @property
    def problems(self) -> str:
        return "; ".join(texts(self._process.rotation.problems))


class SigningMonitor:
    """How long, and when, the first region's tokens were rejected by IVS or could not be signed."""

    def __init__(self, deployment: InMemoryDeployment) -> None:
        self.rejected_seconds = self.unsigned_seconds = 0.0
        self.bad_times: list[float] = []
        self.problems: set[str] = set()
        """The problems reported in the meantime, for `/readyz` and `/v1/status`."""
        self._deployment = deployment

    def run(self, service: Service, seconds: float) -> None:
        for _ in range(round(seconds / INTERVAL_SECONDS)):
            service.tick()
            imported = {
                pair["tags"].get(KEY_TAG) for arn, pair in self._deployment.ivs.pairs.items() if f":{EAST}:" in arn
            }
            signing = service.signing().get(EAST)
            if signing is None:
                self.unsigned_seconds += INTERVAL_SECONDS
            elif signing not in imported:
                self.rejected_seconds += INTERVAL_SECONDS
            if signing not in imported:
                self.problems.add(service.problems)
                self.bad_times.append(self._deployment.clock.wall)


@pytest.fixture
def error_times(deployment: InMemoryDeployment) -> Iterator[Callable[[], list[float]]]:
    """The times at which an ERROR was logged, on the test's clock."""
    times: list[float] = []

    def record_error(_logger: Any, _method: str, event: Any) -> Any:
        if event.get("log_level", _method) == "error":
            times.append(deployment.clock.wall)
        raise structlog.DropEvent

    before = structlog.get_config()["processors"]
    structlog.configure(processors=[record_error])
    yield lambda: times
    structlog.configure(processors=before)


@pytest.fixture
def deployment(migrated: Path) -> InMemoryDeployment:
    return InMemoryDeployment(migrated, None, POLICY)


def two_retiring(deployment: InMemoryDeployment) -> None:
    """All slots are used, and there is no standby."""
    deployment.generate(EAST, WEST)
    deployment.rotate(EAST, WEST)
    deployment.rotate(EAST, WEST)


def one_standby(deployment: InMemoryDeployment) -> None:
    """All slots are used, one by a standby."""
    deployment.generate(EAST, WEST)
    deployment.rotate(EAST, WEST)
    commands.generate(deployment.context(), [EAST, WEST])
    deployment.clock.advance(POLICY.propagation_seconds)


def only_one(deployment: InMemoryDeployment) -> None:
    """There is no key that could take over."""
    deployment.generate(EAST, WEST)
    deployment.clock.advance(POLICY.propagation_seconds)


@pytest.mark.parametrize("before", [two_retiring, one_standby, only_one])
@pytest.mark.parametrize("running", [True, False], ids=["workers running", "workers stopped"])
@pytest.mark.parametrize("after_seconds", [0.0, 45.0, pytest.param(4000.0, marks=pytest.mark.long)])
def test_tokens_that_ivs_rejects_are_issued_only_briefly_after_a_restore(
    deployment: InMemoryDeployment,
    tmp_path: Path,
    error_times: Callable[[], list[float]],
    before: Callable[[InMemoryDeployment], None],
    after_seconds: float,
    *,
    running: bool,
) -> None:
    before(deployment)
    service, monitor = Service(deployment, "a"), SigningMonitor(deployment)
    monitor.run(service, 10)
    save(deployment.store, tmp_path / "backup.db")
    commands.compromise(deployment.context(), deployment.active(), [EAST, WEST], include_standby=False)
    monitor.run(service, after_seconds)
    error_times().clear()
    restore(deployment.store, tmp_path / "backup.db")
    monitor = SigningMonitor(deployment)
    if not running:
        deployment.clock.advance(LEASE_SECONDS)
        service = Service(deployment, "b")
    monitor.run(service, 300)
    noticed = not running or after_seconds  # without either, no worker has loaded versions that the restore undid
    assert monitor.rejected_seconds <= (10 if noticed else 40), (
        "confirming an absence takes 5 s, and IVS is inspected every 30 s"
    )
    assert monitor.unsigned_seconds <= (POLICY.propagation_seconds + 2 if before is only_one else 0)
    assert deployment.active() == service.signing()[EAST]
    assert monitor.bad_times
    for bad_time in monitor.bad_times:
        assert any(abs(bad_time - error_time) <= LIMIT_SECONDS for error_time in error_times()), (
            "an ERROR at least once a minute"
        )
    assert not service.problems or "a key that the store does not have" in service.problems


def test_a_deleted_pair_signs_for_less_than_a_minute(
    deployment: InMemoryDeployment, error_times: Callable[[], list[float]]
) -> None:
    """Nothing changes in the store, so only the next inspection of IVS notices it."""
    two_retiring(deployment)
    service, monitor = Service(deployment, "a"), SigningMonitor(deployment)
    monitor.run(service, 7)
    del deployment.ivs.pairs[next(placement.arn for _, placement in deployment.placements(EAST, KeyState.ACTIVE))]
    monitor.run(service, 120)
    assert 5 < monitor.rejected_seconds <= 40
    assert not monitor.unsigned_seconds
    assert any(f"{EAST}: IVS reports that it does not hold key" in text for text in monitor.problems)
    assert error_times()


def test_while_no_key_can_take_over_nothing_is_signed_and_errors_are_logged(
    deployment: InMemoryDeployment, error_times: Callable[[], list[float]]
) -> None:
    """Foreign key pairs use every slot that a new key could take."""
    deployment.store.deployment.bind("aws")
    only_one(deployment)
    service, monitor = Service(deployment, "a"), SigningMonitor(deployment)
    monitor.run(service, 10)
    for region in (EAST, WEST):
        deployment.ivs.add_foreign(region, 2)
    [(_, placement)] = deployment.placements(EAST, KeyState.ACTIVE)
    del deployment.ivs.pairs[placement.arn]
    [foreign_arn] = deployment.ivs.add_foreign(EAST)
    monitor.run(service, FAULT_SECONDS)
    assert monitor.rejected_seconds <= LIMIT_SECONDS
    assert monitor.unsigned_seconds > FAULT_SECONDS - LIMIT_SECONDS
    assert f"{EAST}: there is no active key" in service.problems
    times = [time for time in error_times() if time > deployment.clock.wall - FAULT_SECONDS + LIMIT_SECONDS]
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) <= LIMIT_SECONDS
    del deployment.ivs.pairs[foreign_arn]
    monitor.run(service, 30 + POLICY.propagation_seconds + 5)
    assert service.signing()[EAST] in {pair["tags"].get(KEY_TAG) for pair in deployment.ivs.pairs.values()}
    assert "there is no active key" not in service.problems


# --- wrong responses of IVS


def _empty(ivs: SimulatedIvs) -> None:
    def no_pairs(region: str, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"keyPairs": []}

    ivs._ListPlaybackKeyPairs = no_pairs  # type: ignore[method-assign]


def _truncated(ivs: SimulatedIvs) -> None:
    original = ivs._ListPlaybackKeyPairs

    def first_page(region: str, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"keyPairs": original(region, request)["keyPairs"][:1]}

    ivs._ListPlaybackKeyPairs = first_page  # type: ignore[method-assign]


def _flapping(ivs: SimulatedIvs) -> None:
    """Every second response is wrong."""
    original, calls = ivs._GetPlaybackKeyPair, iter(range(1_000_000))

    def every_second(region: str, request: Mapping[str, Any]) -> dict[str, Any]:
        return original(region, request if next(calls) % 2 else {"arn": request["arn"] + "x"})

    _empty(ivs)
    ivs._GetPlaybackKeyPair = every_second  # type: ignore[method-assign]


def _other_account(ivs: SimulatedIvs) -> None:
    ivs.account = "210987654321"


def _other_account_with_pairs(ivs: SimulatedIvs) -> None:
    ivs.account = "210987654321"
    for region in (EAST, WEST):
        ivs.add_foreign(region)


def _empty_and_denied(ivs: SimulatedIvs) -> None:
    _empty(ivs)
    ivs.errors.update({"GetPlaybackKeyPair": DENIED})


FAULTS: dict[str, Callable[[SimulatedIvs], Any]] = {
    "an empty list": _empty,
    "a truncated list": _truncated,
    "an empty list, and some wrong responses": _flapping,
    "another account that is empty": _other_account,
    "another account": _other_account_with_pairs,
    "errors": lambda ivs: ivs.errors.update(dict.fromkeys((EAST, WEST), outage())),
    "access denied": lambda ivs: ivs.errors.update(dict.fromkeys((EAST, WEST), DENIED)),
    "throttles": lambda ivs: ivs.errors.update(dict.fromkeys((EAST, WEST), throttle())),
    "lists that fail": lambda ivs: ivs.errors.update({"ListPlaybackKeyPairs": throttle()}),
    "an empty list, and reads that fail": _empty_and_denied,
}


@pytest.mark.parametrize(
    "before",
    [one_standby, pytest.param(two_retiring, marks=pytest.mark.long), pytest.param(only_one, marks=pytest.mark.long)],
)
@pytest.mark.parametrize("fault", FAULTS)
def test_ten_minutes_of_wrong_ivs_responses_stop_no_tokens_and_delete_nothing(
    deployment: InMemoryDeployment, before: Callable[[InMemoryDeployment], None], fault: str
) -> None:
    before(deployment)
    service = Service(deployment, "a")
    SigningMonitor(deployment).run(service, 10)
    known, pairs, vault = deployment.store.keys.list(), dict(deployment.ivs.pairs), deployment.vault.key_ids()
    signing = service.signing()
    FAULTS[fault](deployment.ivs)
    monitor = SigningMonitor(deployment)
    monitor.run(service, FAULT_SECONDS)
    assert not monitor.unsigned_seconds
    assert not monitor.rejected_seconds
    assert pairs.items() <= deployment.ivs.pairs.items(), "no pair is deleted"
    assert vault <= deployment.vault.key_ids()
    imported = {
        (placement.arn, placement.is_imported)
        for record in deployment.store.keys.list()
        for placement in record.placements
    }
    assert {(placement.arn, placement.is_imported) for record in known for placement in record.placements} <= imported
    if fault != "an empty list, and some wrong responses":  # a key that may be gone may be replaced by a new one
        assert service.signing() == signing
    for name in ("_ListPlaybackKeyPairs", "_GetPlaybackKeyPair"):
        deployment.ivs.__dict__.pop(name, None)
    deployment.ivs.errors.clear()
    deployment.ivs.account = "123456789012"
    monitor.run(service, 120)
    assert not monitor.rejected_seconds + monitor.unsigned_seconds
    assert pairs.items() <= deployment.ivs.pairs.items()
