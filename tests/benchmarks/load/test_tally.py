"""The counts of a generator."""

from __future__ import annotations

from benchmarks.load.request_kinds import TokenRequest
from benchmarks.load.reservoir import Reservoir
from benchmarks.load.tally import Tally
from benchmarks.load.wire import Request

TOKEN = Request("token", (TokenRequest("c", "v"),), b"")
BATCH = Request("batch", (TokenRequest("c", "v"),) * 2, b"")


def test_a_request_counts_when_it_was_due_and_its_tokens_when_they_were_received() -> None:
    tally = Tally(0)
    tally.sent(1.9, 0.0, waits=False)
    assert tally.completed(1.9, 2.4, TOKEN, 201, b'{"token":"t"}')
    assert (tally.seconds[1].sent, tally.seconds[1].tokens, sum(tally.seconds[1].latencies.values())) == (1, 0, 1)
    assert (tally.seconds[2].sent, tally.seconds[2].tokens, tally.seconds[2].completed) == (0, 1, 1)


def test_a_rejected_request_of_a_batch_is_counted_by_its_code() -> None:
    tally = Tally(0)
    response = b'{"results":[{"token":"t"},{"problem":{"code":"channel_not_allowed"}}]}'
    assert tally.completed(0.5, 0.6, BATCH, 200, response)
    assert tally.errors == {"channel_not_allowed in a batch": 1}
    assert (tally.seconds[0].failed, tally.seconds[0].tokens) == (1, 1)


def test_a_failure_without_a_code_is_counted_by_its_status() -> None:
    tally = Tally(0)
    assert not tally.completed(0.5, 0.6, TOKEN, 502, b"<html>Bad Gateway</html>")
    assert tally.errors == {"502": 1}


def test_a_failure_during_the_warm_up_is_not_counted() -> None:
    tally = Tally(1)
    tally.completed(0.5, 0.6, TOKEN, 502, b"")
    tally.unfinished(0.5, 0.6, TOKEN, "timeout")
    assert not tally.errors


def test_every_response_is_sampled_with_the_same_probability() -> None:
    sample = [0] * 100
    for seed in range(400):
        reservoir = Reservoir(10, seed)
        for number in range(100):
            reservoir.offer(TOKEN, b"%d" % number)
        assert len(reservoir.samples) == 10
        for one in reservoir.samples:
            sample[int(one.body)] += 1
    assert 15 < min(sample) < 40 < max(sample) < 70
    assert abs(sum(sample[:50]) - 2000) < 200, "neither the first nor the last are preferred"


def test_only_responses_that_should_contain_tokens_are_sampled() -> None:
    reservoir = Reservoir(10, 1)
    reservoir.offer(Request("revocation", (TokenRequest("c", "v"),), b""), b'{"id":"r1","state":"queued"}')
    reservoir.offer(TOKEN, b"{}")
    assert [sample.request for sample in reservoir.samples] == [TOKEN], (
        "a success without a token is sampled, so that it is noticed"
    )
