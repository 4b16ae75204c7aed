"""Random histories of events: viewers notice nothing, and in the end the keys are in a correct state.

Time passes, processes are killed or frozen at any step, calls are lost before and after their effect, IVS throttles and
regions are unavailable, workers are stale, foreign keys appear and disappear, and operators change the policy, rotate,
activate, delete, compromise, and delete pairs manually.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.support.audit import EVENT
from tests.support.crashes import Crash
from tests.support.in_memory_deployment import EAST
from tests.support.rotation_histories import REGIONS, History, region_of
from tests.support.simulated_ivs import outage, throttle
from tokensvc.errors import StoreUnavailable, TokensvcError
from tokensvc.keys import commands
from tokensvc.keys.context import KeysContext
from tokensvc.keys.lifecycle import KeyState
from tokensvc.keys.reconciler import reconcile

pytestmark = pytest.mark.long

PROPAGATION_DELAYS, CEILINGS = (0.0, 30.0, 120.0), (300, 3600, 86_400)
MAX_AGE = max(PROPAGATION_DELAYS) + 910 + max(CEILINGS) + 5
"""The shortest maximum age that is valid with every other value here."""
SPANS = (1.0, 20.0, 31.0, 61.0, 130.0, 600.0, 911.0, 1516.0, 4516.0, MAX_AGE, 3 * MAX_AGE)
STEPS = 45
"""More steps than any run takes."""

_index = st.integers(0, 7)
_region = st.sampled_from(REGIONS)
_action = st.one_of(
    st.tuples(st.just("reconcile")),
    st.tuples(st.just("compromise"), _index, st.booleans()),
    st.tuples(st.just("rotate")),
    st.tuples(st.just("generate")),
    st.tuples(st.just("activate"), _index, _region),
    st.tuples(st.just("delete"), _index, _region),
)
_event = st.one_of(
    st.tuples(st.just("pass"), st.sampled_from(SPANS)),
    st.tuples(st.just("request")),
    st.tuples(st.just("delete_manually"), _index),
    st.tuples(st.just("foreign_pair_appears"), _region),
    st.tuples(st.just("foreign_pair_disappears"), _region),
    st.tuples(
        st.just("policy"),
        st.sampled_from(PROPAGATION_DELAYS),
        st.sampled_from([None, MAX_AGE, 3 * MAX_AGE]),
        st.booleans(),
    ),
    st.tuples(st.just("ceiling"), st.sampled_from(CEILINGS)),
    st.tuples(st.just("down"), st.sampled_from([*REGIONS, "ImportPlaybackKeyPair", "DeletePlaybackKeyPair"])),
    st.tuples(st.just("throttled"), st.sampled_from(["ListPlaybackKeyPairs", "GetPlaybackKeyPair"])),
    st.tuples(st.just("up")),
    st.tuples(st.just("backup")),
    st.tuples(st.just("restore")),
    st.tuples(
        st.just("lose"),
        st.sampled_from(["ImportPlaybackKeyPair", "DeletePlaybackKeyPair", "GetPlaybackKeyPair"]),
        st.sampled_from(["before", "after"]),
    ),
)
_step = st.integers(0, STEPS)


class Histories(RuleBasedStateMachine):
    """One deployment, starting with its first key."""

    migrated: Path

    @initialize(standby=st.booleans(), both=st.booleans())
    def begin(self, standby: bool, both: bool) -> None:
        self.history = History(self.migrated)
        self.configured: tuple[str, ...] = REGIONS if both else (EAST,)
        self.history.store.deployment.set_rotation(
            propagation_seconds=30, max_age_seconds=None, standby=standby, event=EVENT
        )

    @rule(event=_event)
    def something_happens(self, event: tuple[Any, ...]) -> None:
        self._apply(event)

    @rule(seconds=st.sampled_from(SPANS))
    def time_passes_and_the_leader_runs(self, seconds: float) -> None:
        self._apply(("pass", seconds))
        self._do(("reconcile",))

    @rule(spans=st.lists(st.sampled_from(SPANS), min_size=1, max_size=4))
    def a_rotation_is_requested_and_completed(self, spans: list[float]) -> None:
        self._apply(("request",))
        for seconds in spans:
            self.time_passes_and_the_leader_runs(seconds)

    @rule(spans=st.lists(st.sampled_from(SPANS[:6]), min_size=1, max_size=3), actions=st.lists(_action, max_size=3))
    def the_store_is_restored_from_before_a_compromise(
        self, spans: list[float], actions: list[tuple[Any, ...]]
    ) -> None:
        self._apply(("backup",))
        for action in (("compromise", 1, False), *actions):
            self._do(action)
        for seconds in spans:
            self.time_passes_and_the_leader_runs(seconds)
        self._apply(("restore",))
        self._do(("reconcile",))

    @rule(action=_action)
    def a_process_acts(self, action: tuple[Any, ...]) -> None:
        self._do(action)

    @rule(action=_action, at=_step)
    def a_process_is_killed(self, action: tuple[Any, ...], at: int) -> None:
        with contextlib.suppress(Crash):
            self._do(action, at=at)

    @rule(action=_action, at=_step, meanwhile=st.lists(st.one_of(_action, _event), min_size=1, max_size=6))
    def a_process_is_frozen_while_others_run(
        self, action: tuple[Any, ...], at: int, meanwhile: list[tuple[Any, ...]]
    ) -> None:
        def run_others() -> None:
            for step in meanwhile:
                (self._apply if hasattr(self, f"_on_{step[0]}") else self._do)(step)

        self._do(action, at=at, callback=run_others)

    @rule(action=_action, at=_step, after=st.booleans())
    def the_store_fails_for_a_process(self, action: tuple[Any, ...], at: int, after: bool) -> None:
        def fail() -> None:
            raise StoreUnavailable("the store does not answer")

        self._do(action, at=at, after=after, callback=fail, ivs_too=False)

    @rule(index=_index)
    def a_private_key_of_a_prepared_key_is_lost(self, index: int) -> None:
        prepared = [
            record.id
            for record in self.history.store.keys.list()
            if all(placement.state is KeyState.PREPARED for placement in record.placements)
        ]
        if prepared:
            self.history.vault.remove(prepared[index % len(prepared)])

    @rule(regions=st.sampled_from([(EAST,), REGIONS, REGIONS[1:]]))
    def the_configured_regions_change(self, regions: tuple[str, ...]) -> None:
        self.configured = regions

    @precondition(lambda self: hasattr(self, "history"))
    @rule()
    def no_pair_of_ours_is_unknown(self) -> None:
        """Checked after a run of the leader."""
        if not self.history.ivs.errors and not self.history.ivs.losses:
            self._do(("reconcile",))
            for region in self.configured:
                self.history.check_no_orphan(region)

    def teardown(self) -> None:
        if not hasattr(self, "history"):
            return
        history = self.history
        self._apply(("up",))
        for arn in history.left_for_operators(self.configured):
            history.delete_manually(history.ivs.pairs[arn])
        for region in REGIONS:
            for _ in range(2):
                self._apply(("foreign_pair_disappears", region))
        for _ in range(3):
            self._apply(("pass", SPANS[-2]))
            for seconds in (max(PROPAGATION_DELAYS), 61.0):
                self._do(("reconcile",))
                self._apply(("pass", seconds))
            self._do(("reconcile",))
        history.check_final_state(self.configured, standby=history.store.deployment.read().key_standby)
        history.store.close()

    def _do(
        self,
        action: tuple[Any, ...],
        *,
        at: int | None = None,
        after: bool = False,
        callback: Callable[[], None] | None = None,
        ivs_too: bool = True,
    ) -> None:
        """Run a use case in a process of its own. `reconcile` raises only errors of the store."""
        history = self.history
        context = history.context(history.crash_point(at, after=after, **({"callback": callback} if callback else {})))
        if not ivs_too:
            context = replace(context, control_plane=history.ivs)
        expected = TokensvcError if action[0] != "reconcile" else StoreUnavailable
        with contextlib.suppress(expected):
            getattr(self, f"_do_{action[0]}")(context, *action[1:])
        history.refresh()

    def _do_reconcile(self, context: KeysContext) -> None:
        reconcile(context, self.configured)

    def _do_rotate(self, context: KeysContext) -> None:
        commands.rotate(context, self.configured, "a test")

    def _do_generate(self, context: KeysContext) -> None:
        commands.generate(context, self.configured)

    def _do_compromise(self, context: KeysContext, index: int, include_standby: bool) -> None:
        if key_id := self._some_key(index):
            commands.compromise(context, key_id, self.configured, include_standby=include_standby)

    def _do_activate(self, context: KeysContext, index: int, region: str) -> None:
        if key_id := self._some_key(index):
            commands.activate(context, key_id, [region])

    def _do_delete(self, context: KeysContext, index: int, region: str) -> None:
        if key_id := self._some_key(index):
            commands.delete(context, key_id, [region])

    def _some_key(self, index: int) -> str | None:
        """An active key, or one of the newest."""
        records = self.history.store.keys.list()
        active = [r.id for r in records if any(placement.state is KeyState.ACTIVE for placement in r.placements)]
        candidates = active if active and index % 2 else [record.id for record in records[-4:]]
        return candidates[index // 2 % len(candidates)] if candidates else None

    def _apply(self, event: tuple[Any, ...]) -> None:
        getattr(self, f"_on_{event[0]}")(*event[1:])
        self.history.refresh()

    def _on_pass(self, seconds: float) -> None:
        self.history.advance_clock(seconds)

    def _on_request(self) -> None:
        with contextlib.suppress(TokensvcError):
            commands.request_rotation(self.history.context(), self.configured, "a test")

    def _on_delete_manually(self, index: int) -> None:
        if ours := self.history.our_pairs():
            self.history.delete_manually(ours[index % len(ours)])

    def _on_foreign_pair_appears(self, region: str) -> None:
        if sum(region_of(arn) == region for arn in self.history.ivs.pairs) < 3:
            self.history.foreign.update(self.history.ivs.add_foreign(region))

    def _on_foreign_pair_disappears(self, region: str) -> None:
        for arn in [arn for arn in self.history.foreign if region_of(arn) == region][:1]:
            self.history.foreign.remove(arn)
            del self.history.ivs.pairs[arn]

    def _on_backup(self) -> None:
        self.history.back_up()

    def _on_restore(self) -> None:
        if self.history.has_backup:
            self.history.restore()

    def _on_policy(self, propagation: float, max_age: float | None, standby: bool) -> None:
        self.history.store.deployment.set_rotation(
            propagation_seconds=propagation, max_age_seconds=max_age, standby=standby, event=EVENT
        )

    def _on_ceiling(self, seconds: int) -> None:
        self.history.store.deployment.set_max_ttl_seconds(seconds, event=EVENT)

    def _on_down(self, what: str) -> None:
        self.history.ivs.errors[what] = outage()

    def _on_throttled(self, operation: str) -> None:
        self.history.ivs.errors[operation] = throttle(operation)

    def _on_up(self) -> None:
        self.history.ivs.errors.clear()
        self.history.ivs.losses.clear()

    def _on_lose(self, operation: str, when: Any) -> None:
        self.history.ivs.losses[operation] = when


def test_viewers_notice_nothing_in_any_history(migrated: Path) -> None:
    Histories.migrated = migrated
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=18,
            stateful_step_count=25,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
