"""The contests: what two racers do at the same time. One function for each compare-and-set of the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.storage import next_version
from tests.storage.samples import (
    AT,
    CHANNEL,
    EVERYONE,
    FAR,
    HERE,
    LATER,
    MAX_STALENESS_SECONDS,
    POLICY,
    channel,
    denial,
    in_flight,
    key_arn,
    revocation,
    secret,
)
from tests.support.audit import EVENT
from tests.support.keks import CIPHER
from tokensvc.deployment.workers import Heartbeat
from tokensvc.jose import keypair
from tokensvc.keys.lifecycle import StepKind, require_key
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.queue import DeliveryOutcome
from tokensvc.revocations.store import AcceptedRevocation, IdempotencyKey
from tokensvc.storage import migrate
from tokensvc.storage.store import Store
from tokensvc.storage.vault import SqlVault
from tokensvc.tokens.denylist import viewer_digest
from tokensvc.vault.store import RegisteredKek

BY_URL = frozenset({"upgrade", "upgrade_to_next_version"})
"""Contests that take a URL, since the store does not exist yet or is not open."""
CHANGES_PER_ROUND = 20
_AN_HOUR = timedelta(hours=1)


def upgrade(url: str, who: int, race_round: int) -> str | None:
    return migrate.upgrade(url)[0]


def upgrade_to_next_version(url: str, who: int, race_round: int) -> str | None:
    return next_version.upgrade(url)[0]


def acquire_lease(store: Store, who: int, race_round: int) -> bool:
    return store.leases.acquire(f"lease {race_round}", f"holder {who}", 60)


def spend_single_use(store: Store, who: int, race_round: int) -> bool:
    return store.single_uses.spend(f"use {race_round}".encode())


def bind_control_plane(store: Store, who: int, race_round: int) -> str | None:
    return store.deployment.bind(("aws", "local")[who]).control_plane


def bind_account(store: Store, who: int, race_round: int) -> str | None:
    return store.deployment.bind_account(f"00000000000{who}").account


def register_first_kek(store: Store, who: int, race_round: int) -> list[str]:
    return [key.name for key in store.kek_registry.add(RegisteredKek(f"passphrase:{who}", b"check"), None)]


def put_private_key(store: Store, who: int, race_round: int) -> int:
    SqlVault(store.engine, CIPHER).put(f"k{race_round}", keypair.generate())
    return who


def replace_private_key(store: Store, who: int, race_round: int) -> bool:
    return SqlVault(store.engine, CIPHER).replace("k1", f"{race_round}".encode(), f"{race_round + 1}".encode())


def add_subject_key(store: Store, who: int, race_round: int) -> bytes:
    return store.deployment.add_subject_key(race_round + 1, f"wrapped by {who}".encode()).wrapped


def add_caller(store: Store, who: int, race_round: int) -> str:
    return store.callers.add(f"caller {race_round}", POLICY, secret(f"{race_round} of {who}"), EVENT).name


def rotate_secret(store: Store, who: int, race_round: int) -> str:
    rotated = store.callers.rotate_secret(
        "backend", f"{race_round}", secret(f"{race_round + 1} of {who}"), LATER, EVENT
    )
    return rotated.secrets[0].key_id


def disable_caller(store: Store, who: int, race_round: int) -> bool:
    return store.callers.disable(f"caller {race_round}", AT, EVENT).disabled_at == AT


def add_key(store: Store, who: int, race_round: int) -> str:
    return store.keys.add(f"key {race_round} of {who}", "fingerprint", f"public key {race_round}".encode(), AT).id


def record_import(store: Store, who: int, race_round: int) -> str:
    arn = key_arn(f"{race_round}-of-{who}")
    return store.keys.record_import(f"key {race_round}", HERE, arn, AT).placements[0].arn


def discard_or_import(store: Store, who: int, race_round: int) -> None:
    if who == 0:
        store.keys.discard(f"key {race_round}", event=EVENT)
    else:
        store.keys.record_import(f"key {race_round}", HERE, key_arn(f"{race_round}"), AT)


def activate_same(store: Store, who: int, race_round: int) -> str:
    return store.keys.activate(f"key {race_round}", HERE, AT, 3600).placements[0].state


def activate_another(store: Store, who: int, race_round: int) -> str:
    return store.keys.activate(f"key {2 * race_round + who}", HERE, AT, 3600).id


def activate_or_retire(store: Store, who: int, race_round: int) -> str:
    if who == 0:
        return store.keys.activate(f"key {race_round}", HERE, AT, 3600).placements[0].state
    return store.keys.record_deletion(f"key {race_round}", HERE, AT).placements[0].state


def activate_or_raise_max_ttl(store: Store, who: int, race_round: int) -> None:
    if who == 0:
        store.keys.activate(f"key {race_round}", HERE, AT, 3600)
    else:
        store.deployment.set_max_ttl_seconds(7200 + race_round, event=EVENT)


def compromise_or_activate(store: Store, who: int, race_round: int) -> str:
    """Activate the next key, and compromise it or the active one."""
    if who == 0:
        return store.keys.compromise(
            f"active {race_round}", LATER, 0, include_standby=race_round % 2 == 0, event=EVENT
        ).id
    return store.keys.activate(f"next {race_round}", HERE, LATER, 3600).id


def compromise_or_start_deletion(store: Store, who: int, race_round: int) -> str:
    """Make the retiring key active again by a compromise, and start its deletion."""
    if who == 0:
        return store.keys.compromise(f"active {race_round}", LATER, 0, include_standby=True, event=EVENT).id
    retiring = require_key(store.keys.list(), f"retiring {race_round}").placements[0]
    return store.keys.start_deletion(retiring, LATER).id


def compromise_two(store: Store, who: int, race_round: int) -> str:
    """Each of the two keys would be the successor of the other."""
    return store.keys.compromise(
        f"{('active', 'retiring')[who]} {race_round}", LATER, 0, include_standby=False, event=EVENT
    ).id


def compromise_or_import(store: Store, who: int, race_round: int) -> str:
    if who == 0:
        return store.keys.compromise(f"key {race_round}", LATER, 0, include_standby=False, event=EVENT).id
    return store.keys.record_import(f"key {race_round}", HERE, key_arn(f"{race_round}"), AT).id


def compromise_or_raise_max_ttl(store: Store, who: int, race_round: int) -> None:
    if who == 0:
        store.keys.compromise(f"active {race_round}", LATER, 0, include_standby=False, event=EVENT)
    else:
        store.deployment.set_max_ttl_seconds(7200 + race_round, event=EVENT)


def start_same_step(store: Store, who: int, race_round: int) -> int:
    return store.journal.start(StepKind.DELETE, f"key {race_round}", HERE.region, "because", AT, event=EVENT).id


def record_stray_import(store: Store, who: int, race_round: int) -> str:
    """Two imports of a deleted key are recorded."""
    return (
        store.keys.record_import(f"key {race_round}", HERE, key_arn(f"{race_round}-late-{who}"), LATER)
        .placements[0]
        .arn
    )


def send_heartbeat(store: Store, who: int, race_round: int) -> None:
    store.workers.record_heartbeat(Heartbeat("worker", "host", who, 900, race_round, 0))


def record_channels(store: Store, who: int, race_round: int) -> list[int]:
    names = (f"c{race_round}x{number}x{who}" for number in range(CHANGES_PER_ROUND))
    return [store.channels.record([channel(name)]) for name in names]


def record_same_channels(store: Store, who: int, race_round: int) -> int:
    """In opposite orders, which would deadlock if each locked its rows one by one."""
    names = [f"c{number}" for number in range(CHANGES_PER_ROUND)]
    url = f"https://example.net/{race_round}/{who}.m3u8"
    return store.channels.record([channel(name, url=url) for name in (names if who else reversed(names))])


def claim_entries(store: Store, who: int, race_round: int) -> list[str]:
    """Ten entries each, from a queue of fifteen."""
    return [entry.viewer_id for entry in store.revocation_queue.claim(HERE, Priority.BULK, 10, 60)]


def accept_same_viewers(store: Store, who: int, race_round: int) -> list[int]:
    """In opposite orders, which would deadlock if each locked its rows one by one."""
    names = [f"v{race_round}x{number}" for number in range(CHANGES_PER_ROUND)]
    new = [revocation(f"{name} of {who}", name) for name in (names if who else reversed(names))]
    accepted = store.revocations.accept(f"caller {who}", new, Priority.BULK, MAX_STALENESS_SECONDS, events=[EVENT])
    return [item.version for item in (accepted if who else reversed(accepted))]


def accept_same_key(store: Store, who: int, race_round: int) -> list[AcceptedRevocation]:
    key = IdempotencyKey(f"key {race_round}", b"digest")
    new = [revocation(f"{race_round} of {who}", f"v{race_round}")]
    return store.revocations.accept("backend", new, Priority.INTERACTIVE, MAX_STALENESS_SECONDS, key, events=[EVENT])


def record_outcomes_or_raise(store: Store, who: int, race_round: int) -> int:
    """Record the claimed entries as sent, and raise the versions of all of them. Returns the number of outcomes, or the
    lowest version."""
    if who == 0:
        outcomes = [
            DeliveryOutcome(entry, version, RevocationState.SENT) for entry, version in in_flight(store, race_round)
        ]
        store.revocation_queue.record_outcomes(outcomes)
        return len(outcomes)
    names = [f"v{race_round}x{number}" for number in range(CHANGES_PER_ROUND)]
    new = [revocation(f"{name} again", name) for name in reversed(names)]
    return min(
        item.version
        for item in store.revocations.accept("backend", new, Priority.BULK, MAX_STALENESS_SECONDS, events=[EVENT])
    )


def cancel_or_record_outcomes(store: Store, who: int, race_round: int) -> str:
    if who == 0:
        return store.revocations.cancel(f"r{race_round}", EVERYONE, event=EVENT).state
    outcomes = [
        DeliveryOutcome(entry, version, RevocationState.SENT) for entry, version in in_flight(store, race_round)
    ]
    store.revocation_queue.record_outcomes(outcomes)
    return "sent"


def cancel_or_join(store: Store, who: int, race_round: int) -> str:
    if who == 0:
        return store.revocations.cancel(f"r{race_round}", EVERYONE, event=EVENT).state
    store.revocations.accept(
        "backend",
        [revocation(f"joins r{race_round}", f"v{race_round}x0")],
        Priority.BULK,
        MAX_STALENESS_SECONDS,
        events=[EVENT],
    )
    return "joined"


def retry_same(store: Store, who: int, race_round: int) -> str:
    return store.revocations.retry(f"r{race_round}", EVERYONE, event=EVENT).state


def deny_same_viewers(store: Store, who: int, race_round: int) -> list[int]:
    names = [f"v{number}" for number in range(CHANGES_PER_ROUND)]
    new = [denial(name, FAR + race_round) for name in (names if who else reversed(names))]
    return sorted({added.number for added in store.denials.add(f"caller {who}", new, event=EVENT)})


def remove_denial(store: Store, who: int, race_round: int) -> None:
    found = store.denials.in_force(EVERYONE, limit=1, digests=[viewer_digest(CHANNEL, f"v{race_round}")])
    store.denials.remove(found[0].id if found else "removed by the other", EVERYONE, event=EVENT)


def prune_same(store: Store, who: int, race_round: int) -> int:
    return store.revocations.prune(datetime.now(UTC) + _AN_HOUR, 10)
