"""`kill -9` before every step of a rotation, in turn, on real stores and the local IVS.

The next process always reaches the same final state.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.deployment import Deployment, LocalIvs
from tests.support.postgres import PostgresServer
from tests.support.processes import run

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


def new_deployment(ivs: LocalIvs, folder: Path, database_url: str = "") -> Deployment:
    """A deployment without a key."""
    deployment = Deployment(ivs, folder, database_url)
    deployment.environ["TOKENSVC_KEY_STANDBY"] = "true"
    deployment.run("db", "upgrade")
    return deployment


def test_a_rotation_killed_before_any_step_is_completed_to_the_same_state(ivs: LocalIvs, tmp_path: Path) -> None:
    assert kill_before_every(1, new_deployment(ivs, tmp_path)) == {"generate", "import", "activate", "delete"}


@pytest.mark.long
def test_a_killed_rotation_is_completed_on_postgresql(ivs: LocalIvs, tmp_path: Path, postgres: PostgresServer) -> None:
    """Before every third step: only the store differs, and its own tests cover races at each of its steps."""
    kill_before_every(3, new_deployment(ivs, tmp_path, postgres.url(postgres.fresh())))


def kill_before_every(stride: int, deployment: Deployment) -> set[str]:
    """Check that each rotation completes; return the kinds of steps that were killed."""
    environ = deployment.environ | {"PYTHONPATH": str(ROOT)}
    result = run(
        [sys.executable, "-m", "tests.e2e.killed_rotations", str(stride)],
        deployment.folder,
        environ,
        within_seconds=600,
    )
    rounds = [json.loads(line) for line in result.out.splitlines()]
    _, before, unrecorded, *killed, completed = rounds
    assert completed["code"] == 0, result.err
    assert [round_["at"] for round_ in killed] == list(range(stride, completed["steps"], stride))
    assert unrecorded["code"] == -9
    assert Counter(unrecorded["states"].values()) == {"active": 1, "prepared": 1}, (
        "a rotation killed before it is recorded has no effect"
    )
    for round_, previous in zip([*killed, completed], [unrecorded, *killed], strict=True):
        assert (round_["code"], round_["reconcile_code"]) in {(-9, 0), (0, 0)}, result.err
        states, previous_states = round_["states"], previous["states"]
        assert Counter(states.values()) == {"active": 1, "prepared": 1, "retiring": 1}, round_
        assert {key_id for key_id, state in states.items() if state == "retiring"} == {
            key_id for key_id, state in previous_states.items() if state == "active"
        }
        assert round_["store_and_ivs_agree"], "the pairs in IVS or their tags differ from the store"
        assert round_["vault"] == sorted(states), "the vault does not hold exactly the imported keys"
        assert (round_["unplaced"], round_["open_entries"], round_["problems"]) == ([], 0, [])
    assert Counter(before["states"].values()) == {"active": 1, "prepared": 1, "retiring": 1}
    return {kind for round_ in killed for kind in round_["open_before"]}
