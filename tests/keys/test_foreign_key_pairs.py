"""Two deployments in one account and its regions never change each other's key pairs."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.clocks import ManualClock
from tests.support.crashes import Crash, CrashPoint
from tests.support.in_memory_deployment import EAST, POLICY, WEST, InMemoryDeployment
from tests.support.simulated_ivs import SimulatedIvs
from tokensvc.errors import TokensvcError
from tokensvc.keys import commands
from tokensvc.keys.context import KeysContext
from tokensvc.keys.inventory import DEPLOYMENT_TAG, GRACE_SECONDS
from tokensvc.keys.lifecycle import KeyState
from tokensvc.keys.reconciler import reconcile
from tokensvc.storage import schema
from tokensvc.storage.engine import write_transaction

pytestmark = pytest.mark.slow

REGIONS = (EAST, WEST)
CHANGES = frozenset({"DeletePlaybackKeyPair", "TagResource", "UntagResource"})
DEEDS = ("advance", "advance", "rotate", "generate", "compromise", "delete")

_who = st.integers(0, 1)
_moves = st.lists(
    st.one_of(
        st.tuples(st.just("acts"), _who, st.sampled_from(DEEDS)),
        st.tuples(st.just("is killed"), _who, st.sampled_from(DEEDS), st.integers(0, 30)),
        st.tuples(st.just("is frozen"), _who, st.sampled_from(DEEDS), st.integers(0, 30), st.sampled_from(DEEDS)),
        st.tuples(st.just("waits"), st.sampled_from([31.0, GRACE_SECONDS + 1.0, 5000.0])),
    ),
    min_size=6,
    max_size=16,
)


class OwnOnly:
    """IVS, restricted to changes that one deployment may make."""

    def __init__(self, ivs: SimulatedIvs, deployment_id: str) -> None:
        self._ivs = ivs
        self._deployment_id = deployment_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ivs, name)

    def call(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        arn = request.get("arn", request.get("resourceArn"))  # as tags are set
        if operation in CHANGES and arn in self._ivs.pairs:
            assert self._ivs.pairs[arn]["tags"][DEPLOYMENT_TAG] == self._deployment_id
        return self._ivs.call(region, operation, request)


class Neighbour(InMemoryDeployment):
    """One of the two deployments."""

    def __init__(self, migrated: Path, number: int, ivs: SimulatedIvs, clock: ManualClock) -> None:
        own_id = f"deployment {number}"
        own: Any = OwnOnly(ivs, own_id)
        super().__init__(migrated, None, POLICY._replace(standby=True), ivs=own, clock=clock)
        self._key_numbers = itertools.count(number, 2)
        with write_transaction(self.store.engine) as connection:
            connection.execute(sa.update(schema.deployment).values(id=own_id))

    def act(self, deed: str, crash_point: CrashPoint | None = None) -> None:
        with contextlib.suppress(TokensvcError):
            self._do(self.context(crash_point), deed)

    def _do(self, context: KeysContext, deed: str) -> None:
        newest = [record.id for record in context.keys.list()][-1:]
        match deed:
            case "advance":
                reconcile(context, REGIONS)
            case "rotate":
                commands.rotate(context, REGIONS, "a test")
            case "generate":
                commands.generate(context, REGIONS)
            case "compromise":
                for key_id in newest:
                    commands.compromise(context, key_id, REGIONS, include_standby=False)
            case "delete":
                for key_id in newest:
                    commands.delete(context, key_id, REGIONS)


@pytest.mark.long
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=_moves)
def test_two_deployments_never_change_each_others_pairs(migrated: Path, moves: list[tuple[Any, ...]]) -> None:
    """They compete for slots, and nothing else: active keys stay active."""
    ivs, clock = SimulatedIvs(), ManualClock()
    two = [Neighbour(migrated, number, ivs, clock) for number in (0, 1)]
    for move in [*moves, ("acts", 0, "advance"), ("acts", 1, "advance")]:
        match move:
            case ("acts", who, deed):
                two[who].act(deed)
            case ("is killed", who, deed, at):
                with contextlib.suppress(Crash):
                    two[who].act(deed, CrashPoint(at))
            case ("is frozen", who, deed, at, others):
                other = two[1 - who]
                two[who].act(deed, CrashPoint(at, callback=partial(other.act, others)))
            case ("waits", seconds):
                clock.advance(seconds)
        for deployment in two:
            deployment.check_invariants()
    for deployment in two:
        known = {
            placement.arn
            for record in deployment.store.keys.list()
            for placement in record.placements
            if placement.is_imported
        }
        own_id = deployment.store.deployment.read().id
        assert known >= {pair["arn"] for pair in ivs.tagged(DEPLOYMENT_TAG, own_id)}, "no orphan"
        for _, placement in deployment.placements(EAST, KeyState.ACTIVE) + deployment.placements(WEST, KeyState.ACTIVE):
            assert ivs.pairs[placement.arn]["tags"][DEPLOYMENT_TAG] == own_id
        deployment.store.close()
