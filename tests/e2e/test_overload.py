"""At four times what a worker can do, what it accepts stays quick, the rest is rejected, and probes respond."""

from __future__ import annotations

import pytest

from benchmarks.overload import measure

pytestmark = [pytest.mark.long, pytest.mark.timing]

SECONDS = 4
SIGNATURE_SECONDS = 0.001


def test_an_overloaded_worker_answers_soon_whatever_arrives() -> None:
    result = measure(SECONDS, SIGNATURE_SECONDS)
    usual, overloaded = result["at_70_percent"], result["at_400_percent"]
    assert set(usual["statuses"]) == {201}
    assert set(overloaded["statuses"]) == {201, 503}
    assert overloaded["accepted_per_second"] > usual["accepted_per_second"] / 4, "rejecting must be cheap"
    assert overloaded["accepted_ms"]["p99"] < max(10 * usual["accepted_ms"]["p99"], 250)
    assert overloaded["livez_ms"]["p99"] < 500
    assert result["rss_mib"]["after"] < result["rss_mib"]["before"] + 20
