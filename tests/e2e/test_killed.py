"""`kill -9` before every step of a rotation, in turn, on real stores and the local IVS.

The next process always reaches the same final state.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from tests.support.deployment import Deployment, LocalIvs
from tests.support.postgres import PostgresServer
from tests.support.processes import run

ROOT = Path(__file__).parents[2]


def new_site(ivs: LocalIvs, folder: Path, database_url: str = "") -> Deployment:
    """A deployment without a key."""
    site = Deployment(ivs, folder, database_url)
    site.environ["TOKENSVC_KEY_STANDBY"] = "true"
    site.run("db", "upgrade")
    return site


def test_a_rotation_killed_before_any_step_is_completed_to_the_same_state(ivs: LocalIvs, tmp_path: Path) -> None:
    assert kill_before_every(1, new_site(ivs, tmp_path)) == {"generate", "import", "activate", "delete"}


def test_a_killed_rotation_is_completed_on_postgresql(ivs: LocalIvs, tmp_path: Path, postgres: PostgresServer) -> None:
    """Before every third step: only the store differs, and its own tests cover races at each of its steps."""
    kill_before_every(3, new_site(ivs, tmp_path, postgres.url(postgres.fresh())))


def kill_before_every(stride: int, site: Deployment) -> set[str]:
    """Check that each rotation completes; return the kinds of steps that were killed."""
    environ = site.environ | {"PYTHONPATH": str(ROOT)}
    said = run(
        [sys.executable, "-m", "tests.e2e.killed_rotations", str(stride)], site.folder, environ, within_seconds=180
    )
    rounds = [json.loads(line) for line in said.out.splitlines()]
    _, before, unasked, *killed, undisturbed = rounds
    assert undisturbed["code"] == 0, said.err
    assert [one["at"] for one in killed] == list(range(stride, undisturbed["steps"], stride))
    assert unasked["code"] == -9
    assert Counter(unasked["states"].values()) == {"active": 1, "prepared": 1}, "what nobody has heard of is not done"
    for one, last in zip([*killed, undisturbed], [unasked, *killed], strict=True):
        assert (one["code"], one["resumed"]) in {(-9, 0), (0, 0)}, said.err
        states, were = one["states"], last["states"]
        assert Counter(states.values()) == {"active": 1, "prepared": 1, "retiring": 1}, one
        assert {key_id for key_id, state in states.items() if state == "retiring"} == {
            key_id for key_id, state in were.items() if state == "active"
        }
        assert one["agrees"], "IVS holds what the store says, under our tags"
        assert one["vault"] == sorted(states), "and the vault what may sign, and nothing else"
        assert (one["unplaced"], one["open"], one["findings"]) == ([], 0, [])
    assert Counter(before["states"].values()) == {"active": 1, "prepared": 1, "retiring": 1}
    return {kind for one in killed for kind in one["begun"]}
