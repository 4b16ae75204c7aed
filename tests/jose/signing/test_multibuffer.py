"""MultiBufferSigner: what AWS-LC signs instead of the extension, what is verified, and what follows if that fails."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.jose.signing.faulty import (
    Fault,
    FaultyExtension,
    RecordedMetrics,
    bit_flipped,
    failed,
    no_fault,
    swapped,
    zeros,
)
from tests.support.clocks import ManualClock
from tests.support.signers import needs_multibuffer
from tokensvc.jose import keypair
from tokensvc.jose.es384 import digest
from tokensvc.jose.keypair import PrivateKey
from tokensvc.jose.signing.choice import choose_signer
from tokensvc.jose.signing.multibuffer import (
    MIN_BATCH,
    VERIFY_EVERY,
    VERIFY_FIRST,
    VERIFY_PER_SECOND,
    MultiBufferKey,
    MultiBufferSigner,
)

pytestmark = pytest.mark.slow

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
_KEYS = [keypair.generate() for _ in range(3)]


class Scenario:
    """A signer with an extension that can be made faulty, with the recorded metrics."""

    def __init__(self, fault: Fault = no_fault) -> None:
        self.extension = FaultyExtension(fault)
        self.metrics = RecordedMetrics()
        self.clock = ManualClock()
        self.signer = MultiBufferSigner(self.extension, self.metrics, self.clock.monotonic)
        self._numbers = count()

    def key(self, private_key: PrivateKey = _KEYS[0], *, verified: bool = False) -> MultiBufferKey:
        """A prepared key; with `verified` as if its first signatures had been verified."""
        key = self.signer.prepare(private_key)
        if verified:
            key.unverified = 0
        return key

    def sign(self, *keys: MultiBufferKey) -> list[bytes]:
        """Sign something new with each key, and require that each signature verifies."""
        requests = [(key, digest(b"%d" % next(self._numbers))) for key in keys]
        signatures = self.signer.sign_many(requests)
        assert_verify(requests, signatures)
        return signatures


def assert_verify(requests: Sequence[tuple[MultiBufferKey, bytes]], signatures: Sequence[bytes]) -> None:
    assert len(signatures) == len(requests)
    for (key, hashed), signature in zip(requests, signatures, strict=True):
        assert key.aws_lc.verify(hashed, signature)


@pytest.fixture
def scenario() -> Scenario:
    return Scenario()


class TestChoiceOfLibrary:
    def test_aws_lc_signs_fewer_than_the_minimum(self, scenario: Scenario) -> None:
        key = scenario.key()
        for number in range(MIN_BATCH):
            scenario.sign(*[key] * number)
        assert scenario.extension.calls == []
        assert (scenario.metrics.filled, scenario.metrics.fallbacks) == ([], [])
        scenario.sign(*[key] * MIN_BATCH)
        assert scenario.extension.calls == scenario.metrics.filled == [MIN_BATCH]

    def test_aws_lc_signs_a_single_digest(self, scenario: Scenario) -> None:
        key = scenario.key()
        assert key.aws_lc.verify(digest(b"data"), key.sign(digest(b"data")))
        assert scenario.extension.calls == []

    @pytest.mark.parametrize(
        ("requests", "calls"),
        [(7, [7]), (8, [8]), (9, [8]), (10, [8]), (11, [8, 3]), (16, [8, 8]), (100, [8] * 12 + [4])],
    )
    def test_many_requests_are_signed_eight_at_a_time_and_in_order(
        self, requests: int, calls: list[int], scenario: Scenario
    ) -> None:
        keys = [scenario.key(private_key) for private_key in _KEYS]
        assert len({*scenario.sign(*(keys[number % 3] for number in range(requests)))}) == requests
        assert scenario.extension.calls == scenario.metrics.filled == calls

    @pytest.mark.parametrize("lanes", [{0}, {7}, {2, 5}, {*range(8)}])
    def test_aws_lc_signs_for_a_failed_lane_which_is_counted(self, lanes: set[int], scenario: Scenario) -> None:
        scenario.extension.fault = failed(*lanes)
        key = scenario.key()
        signatures = scenario.sign(*[key] * 8)
        assert {lane for lane in range(8) if signatures[lane] not in scenario.extension.made} == lanes
        assert scenario.metrics.fallbacks == [("lane_failed", 1)] * len(lanes)
        assert scenario.signer.problem() == ""

    @needs_multibuffer
    @pytest.mark.parametrize("number", [0, ORDER, 2**384 - 1])
    def test_aws_lc_signs_a_digest_that_the_extension_rejects(self, number: int) -> None:
        metrics = RecordedMetrics()
        signer = choose_signer("multibuffer", metrics).signer
        key = signer.prepare(_KEYS[0])
        requests = [(key, digest(bytes([lane]))) for lane in range(8)]
        requests[3] = (key, number.to_bytes(48, "big"))
        assert_verify(requests, signer.sign_many(requests))
        assert metrics.fallbacks == [("lane_failed", 1)]
        assert False not in metrics.verified


class TestVerification:
    def test_the_first_signatures_of_a_key_are_verified_and_then_a_fraction(self, scenario: Scenario) -> None:
        key = scenario.key()
        for _ in range(VERIFY_FIRST // 8):
            scenario.sign(*[key] * 8)
            scenario.clock.advance(1)
        assert scenario.metrics.verified == [True] * VERIFY_FIRST
        for _ in range(10 * VERIFY_EVERY // 8):
            scenario.sign(*[key] * 8)
            scenario.clock.advance(1)
        assert scenario.metrics.verified == [True] * (VERIFY_FIRST + 10)

    def test_a_new_key_is_verified_even_if_the_old_one_no_longer_is(self, scenario: Scenario) -> None:
        """After a rotation, in a call with both keys."""
        old, new = scenario.key(_KEYS[0], verified=True), scenario.key(_KEYS[1])
        scenario.sign(old, old, new, old, old, new, old)
        assert scenario.metrics.verified == [True] * 2
        assert new.unverified == VERIFY_FIRST - 2

    def test_the_number_of_verifications_per_second_is_limited(self, scenario: Scenario) -> None:
        keys = [scenario.key(private_key) for private_key in _KEYS]
        in_each_second = []
        for _ in range(4):
            before = len(scenario.metrics.verified)
            for _ in range(10):
                scenario.sign(*(keys[number % 3] for number in range(24)))
                scenario.clock.advance(0.09)
            in_each_second.append(len(scenario.metrics.verified) - before)
            scenario.clock.advance(0.1)
        assert in_each_second[0] == VERIFY_PER_SECOND
        assert 3 * VERIFY_FIRST <= sum(in_each_second[:2]) <= 2 * VERIFY_PER_SECOND, "skipped ones are made up for"
        assert [key.unverified for key in keys] == [0, 0, 0]
        assert max(in_each_second[2:]) <= -(-240 // VERIFY_EVERY)

    def test_a_burst_with_old_keys_stays_within_the_limit(self, scenario: Scenario) -> None:
        key = scenario.key(verified=True)
        requests = [(key, digest(bytes([number]))) for number in range(8)]
        for _ in range(2 * VERIFY_PER_SECOND * VERIFY_EVERY // 8):
            scenario.signer.sign_many(requests)
        assert len(scenario.metrics.verified) == VERIFY_PER_SECOND

    @pytest.mark.parametrize("lane", range(8))
    def test_every_lane_is_verified_in_turn(self, lane: int, scenario: Scenario) -> None:
        """A lane that is always wrong is found by the time every lane has been verified once."""
        key = scenario.key(verified=True)
        requests = [(key, digest(bytes([number]))) for number in range(8)]
        scenario.extension.fault = bit_flipped(lane, 0)
        with capture_logs():
            while not scenario.signer.problem():
                assert len(scenario.extension.calls) < VERIFY_EVERY
                scenario.signer.sign_many(requests)
        assert scenario.metrics.verified == [True] * (len(scenario.metrics.verified) - 1) + [False]

    @given(sizes=st.lists(st.integers(MIN_BATCH, 8), min_size=100, max_size=200))
    def test_the_verified_fraction_does_not_depend_on_the_size_of_the_calls(self, sizes: list[int]) -> None:
        scenario = Scenario()
        key = scenario.key(verified=True)
        requests = [(key, digest(b"data"))] * 8
        for size in sizes:
            scenario.clock.advance(1)
            scenario.signer.sign_many(requests[:size])
        assert scenario.metrics.verified == [True] * (sum(sizes) // VERIFY_EVERY)


class TestInvalidSignature:
    @given(
        fault=st.one_of(
            st.builds(bit_flipped, st.integers(0, 2), st.integers(0, 767)),
            st.sampled_from([swapped(0, 1), swapped(2, 0), zeros(0), zeros(2)]),
        ),
        number=st.integers(MIN_BATCH, 8),
    )
    def test_it_is_not_returned_and_its_whole_call_is_signed_again(self, fault: Fault, number: int) -> None:
        scenario = Scenario(fault)
        keys = [scenario.key(private_key) for private_key in _KEYS]
        with capture_logs() as lines:
            signatures = scenario.sign(*(keys[lane % 3] for lane in range(number)))
        assert not scenario.extension.made & {*signatures}, "the other signatures of that call are not trusted either"
        assert scenario.metrics.fallbacks == [("not_verified", number)]
        assert scenario.metrics.verified[-1] is False
        assert [(line["event"], line["log_level"]) for line in lines] == [
            ("multi-buffer signing switched off: invalid signature", "critical")
        ]
        assert lines[0]["lane"] == len(scenario.metrics.verified) - 1
        assert "AWS-LC signs instead" in scenario.signer.problem()

    @given(lane=st.integers(0, 7), bit=st.integers(0, 767))
    def test_a_wrong_bit_in_any_lane_of_a_new_key_is_found(self, lane: int, bit: int) -> None:
        scenario = Scenario(bit_flipped(lane, bit))
        with capture_logs() as lines:
            scenario.sign(*[scenario.key()] * 8)
        assert [line["lane"] for line in lines] == [lane]

    def test_afterwards_the_extension_is_not_called(self, scenario: Scenario) -> None:
        key = scenario.key()
        scenario.extension.fault = swapped(0, 1)
        with capture_logs():
            scenario.sign(*[key] * 8)
        scenario.extension.fault = no_fault
        problem = scenario.signer.problem()
        assert problem
        assert scenario.extension.calls == [8]
        with capture_logs() as lines:
            for number in (8, 3, 2, 1, 19):
                scenario.sign(*[key] * number)
            scenario.clock.advance(3600)
            scenario.sign(*[scenario.key(_KEYS[1])] * 8)
        assert scenario.extension.calls == [8]
        assert scenario.signer.problem() == problem
        assert scenario.metrics.fallbacks[1:] == [("switched_off", number) for number in (8, 3, 8, 8, 3, 8)]
        assert lines == [], "one log line, not one per call"

    def test_aws_lc_signs_the_rest_of_the_batch(self, scenario: Scenario) -> None:
        def wrong_in_the_second_call(signatures: list[bytes]) -> list[bytes | None]:
            return [*signatures] if len(scenario.extension.calls) == 1 else bit_flipped(4, 9)(signatures)

        scenario.extension.fault = wrong_in_the_second_call
        with capture_logs():
            signatures = scenario.sign(*[scenario.key()] * 24)
        assert {*signatures[:8]} <= scenario.extension.made, "these were verified"
        assert not {*signatures[8:]} & scenario.extension.made
        assert scenario.extension.calls == [8, 8]

    def test_other_signers_are_not_switched_off(self, scenario: Scenario) -> None:
        scenario.extension.fault = swapped(0, 1)
        with capture_logs():
            scenario.sign(*[scenario.key()] * 8)
        assert MultiBufferSigner(FaultyExtension()).problem() == ""

    @needs_multibuffer
    def test_one_wrong_bit_of_the_real_extension_is_found(self) -> None:
        """The real extension's signatures, changed on their way to the signer."""
        from tokensvc.jose.signing import _multibuffer

        class OneBitWrong:
            LANES = _multibuffer.LANES
            Key = _multibuffer.Key

            def sign(self, requests: tuple[tuple[_multibuffer.Key, bytes], ...], /) -> list[bytes | None]:
                signatures = [signature for signature in _multibuffer.sign(requests) if signature is not None]
                return bit_flipped(6, 100)(signatures)

        metrics = RecordedMetrics()
        signer = MultiBufferSigner(OneBitWrong(), metrics)
        requests = [(signer.prepare(private_key), digest(b"data")) for private_key in [*_KEYS, *_KEYS, *_KEYS][:8]]
        with capture_logs():
            assert_verify(requests, signer.sign_many(requests))
        assert metrics.fallbacks == [("not_verified", 8)]
        assert signer.problem()
