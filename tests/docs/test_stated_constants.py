"""Numbers that pages state are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

import tokensvc
from tokensvc.background import heartbeat, prune, refresh
from tokensvc.clock import CLOCK_SKEW_SECONDS
from tokensvc.container.keys_context import ROTATION_LEASE_SECONDS
from tokensvc.deployment.record import RotationPolicy
from tokensvc.keys import absences, leader, rotation_policy
from tokensvc.settings import Settings
from tokensvc.tokens import playback_session as session
from tokensvc.web.request_head import HEAD_MAX_BYTES

DOCS = Path(tokensvc.__file__).parent.parent / "docs"
LEASE = Settings.model_fields["snapshot_lease_seconds"].default
STORE_TIMEOUT = Settings.model_fields["store_timeout_seconds"].default
INITIAL_TTL, INITIAL_PROPAGATION = 3600, 30
MAX_STALENESS = rotation_policy.max_staleness_seconds(LEASE, STORE_TIMEOUT)
DRAIN = RotationPolicy(INITIAL_PROPAGATION, MAX_STALENESS).drain_seconds(INITIAL_TTL)
LIFE, PROPAGATION = "explanation/life-of-a-key.md", "explanation/propagation.md"
AUTHORIZE = "how-to/authorize.md"


@pytest.mark.parametrize(
    ("page", "stated"),
    [
        (
            LIFE,
            f"{LEASE:g} + {STORE_TIMEOUT:g} + {CLOCK_SKEW_SECONDS} + {INITIAL_TTL} + {CLOCK_SKEW_SECONDS} = {DRAIN:g}",
        ),
        (LIFE, f"a lease of {ROTATION_LEASE_SECONDS:g} seconds"),
        (LIFE, f"every {leader.INSPECTION_INTERVAL_SECONDS:g} seconds"),
        (LIFE, f"twice, {absences.CONFIRM_SECONDS:g} seconds apart"),
        (LIFE, f"last {prune.WORKER_RETENTION_SECONDS / 3600:g} hours"),
        (PROPAGATION, f"{LEASE:g} + {STORE_TIMEOUT:g} + {CLOCK_SKEW_SECONDS} = {MAX_STALENESS:g} seconds"),
        (PROPAGATION, f"about every {refresh.INTERVAL_SECONDS:g} seconds"),
        (PROPAGATION, f"Every {heartbeat.INTERVAL_SECONDS:g} seconds each process"),
        (PROPAGATION, f"heartbeat for {heartbeat.UNRESPONSIVE_AFTER_SECONDS:g} seconds"),
        (PROPAGATION, f"counts for {prune.WORKER_RETENTION_SECONDS / 3600:g} hours"),
        (PROPAGATION, f"drain of {DRAIN:g} seconds"),
        (
            AUTHORIZE,
            f"pauses of {session.IDLE_SECONDS / 60:g} minutes at most, and {session.MAX_SECONDS / 3600:g} hours",
        ),
        (AUTHORIZE, f"replaced when it is {session.RENEWAL_SECONDS} seconds old"),
        (AUTHORIZE, f"at most {HEAD_MAX_BYTES // 1024} KiB of headers"),
        ("how-to/rotate-keys.md", f"{DRAIN / 60:.0f} minutes with the initial settings"),
    ],
)
def test_a_number_that_a_page_states_is_the_one_in_the_code(page: str, stated: str) -> None:
    text = " ".join((DOCS / page).read_text("utf-8").split())
    assert stated in text


def test_workers_learn_of_a_change_within_two_seconds() -> None:
    """As the pages say throughout."""
    assert rotation_policy.PROPAGATION_SECONDS == 2
