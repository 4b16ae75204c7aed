"""The signer around the extension: what goes to AWS-LC instead, what is verified, and what happens when that fails."""

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

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
_KEYS = [keypair.generate() for _ in range(3)]


class Stage:
    """A signer on an extension that faults can be given to, with everything that it reports."""

    def __init__(self, fault: Fault = no_fault) -> None:
        self.extension = FaultyExtension(fault)
        self.metrics = RecordedMetrics()
        self.clock = ManualClock()
        self.signer = MultiBufferSigner(self.extension, self.metrics, self.clock.monotonic)
        self._numbers = count()

    def key(self, private_key: PrivateKey = _KEYS[0], *, verified: bool = False) -> MultiBufferKey:
        """A prepared key; `verified` as if its first signatures had been verified."""
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
def stage() -> Stage:
    return Stage()


class TestWhoSigns:
    def test_fewer_than_the_crossover_go_to_aws_lc(self, stage: Stage) -> None:
        key = stage.key()
        for number in range(MIN_BATCH):
            stage.sign(*[key] * number)
        assert stage.extension.calls == []
        assert (stage.metrics.filled, stage.metrics.fallbacks) == ([], [])
        stage.sign(*[key] * MIN_BATCH)
        assert stage.extension.calls == stage.metrics.filled == [MIN_BATCH]

    def test_one_alone_goes_to_aws_lc(self, stage: Stage) -> None:
        key = stage.key()
        assert key.aws_lc.verify(digest(b"data"), key.sign(digest(b"data")))
        assert stage.extension.calls == []

    @pytest.mark.parametrize(
        ("requests", "calls"),
        [(7, [7]), (8, [8]), (9, [8]), (10, [8]), (11, [8, 3]), (16, [8, 8]), (100, [8] * 12 + [4])],
    )
    def test_many_are_signed_eight_at_a_time_and_in_order(self, requests: int, calls: list[int], stage: Stage) -> None:
        keys = [stage.key(private_key) for private_key in _KEYS]
        assert len({*stage.sign(*(keys[number % 3] for number in range(requests)))}) == requests
        assert stage.extension.calls == stage.metrics.filled == calls

    @pytest.mark.parametrize("lanes", [{0}, {7}, {2, 5}, {*range(8)}])
    def test_a_lane_that_failed_is_signed_by_aws_lc_and_counted(self, lanes: set[int], stage: Stage) -> None:
        stage.extension.fault = failed(*lanes)
        key = stage.key()
        signatures = stage.sign(*[key] * 8)
        assert {lane for lane in range(8) if signatures[lane] not in stage.extension.made} == lanes
        assert stage.metrics.fallbacks == [("lane_failed", 1)] * len(lanes)
        assert stage.signer.problem() == ""

    @needs_multibuffer
    @pytest.mark.parametrize("number", [0, ORDER, 2**384 - 1])
    def test_a_digest_that_the_extension_leaves_out_is_signed_by_aws_lc_and_counted(self, number: int) -> None:
        metrics = RecordedMetrics()
        signer = choose_signer("multibuffer", metrics).signer
        key = signer.prepare(_KEYS[0])
        requests = [(key, digest(bytes([lane]))) for lane in range(8)]
        requests[3] = (key, number.to_bytes(48, "big"))
        assert_verify(requests, signer.sign_many(requests))
        assert metrics.fallbacks == [("lane_failed", 1)]
        assert False not in metrics.verified


class TestWhatIsVerified:
    def test_the_first_signatures_of_a_key_are_verified_and_then_one_in_so_many(self, stage: Stage) -> None:
        key = stage.key()
        for _ in range(VERIFY_FIRST // 8):
            stage.sign(*[key] * 8)
            stage.clock.advance(1)
        assert stage.metrics.verified == [True] * VERIFY_FIRST
        for _ in range(10 * VERIFY_EVERY // 8):
            stage.sign(*[key] * 8)
            stage.clock.advance(1)
        assert stage.metrics.verified == [True] * (VERIFY_FIRST + 10)

    def test_a_new_key_is_verified_although_the_old_one_no_longer_is(self, stage: Stage) -> None:
        """After a rotation, and in a call that both keys share."""
        old, new = stage.key(_KEYS[0], verified=True), stage.key(_KEYS[1])
        stage.sign(old, old, new, old, old, new, old)
        assert stage.metrics.verified == [True] * 2
        assert new.unverified == VERIFY_FIRST - 2

    def test_no_more_are_verified_in_a_second_than_may_be(self, stage: Stage) -> None:
        keys = [stage.key(private_key) for private_key in _KEYS]
        in_each_second = []
        for _ in range(4):
            before = len(stage.metrics.verified)
            for _ in range(10):
                stage.sign(*(keys[number % 3] for number in range(24)))
                stage.clock.advance(0.09)
            in_each_second.append(len(stage.metrics.verified) - before)
            stage.clock.advance(0.1)
        assert in_each_second[0] == VERIFY_PER_SECOND
        assert 3 * VERIFY_FIRST <= sum(in_each_second[:2]) <= 2 * VERIFY_PER_SECOND, "what was left out is made up for"
        assert [key.unverified for key in keys] == [0, 0, 0]
        assert max(in_each_second[2:]) <= -(-240 // VERIFY_EVERY)

    def test_a_burst_stays_within_the_rate_once_the_keys_are_old(self, stage: Stage) -> None:
        key = stage.key(verified=True)
        requests = [(key, digest(bytes([number]))) for number in range(8)]
        for _ in range(2 * VERIFY_PER_SECOND * VERIFY_EVERY // 8):
            stage.signer.sign_many(requests)
        assert len(stage.metrics.verified) == VERIFY_PER_SECOND

    @pytest.mark.parametrize("lane", range(8))
    def test_every_lane_has_its_turn(self, lane: int, stage: Stage) -> None:
        """A lane that is wrong all the time is found by the time that each has been verified once."""
        key = stage.key(verified=True)
        requests = [(key, digest(bytes([number]))) for number in range(8)]
        stage.extension.fault = bit_flipped(lane, 0)
        with capture_logs():
            while not stage.signer.problem():
                assert len(stage.extension.calls) < VERIFY_EVERY
                stage.signer.sign_many(requests)
        assert stage.metrics.verified == [True] * (len(stage.metrics.verified) - 1) + [False]

    @given(sizes=st.lists(st.integers(MIN_BATCH, 8), min_size=100, max_size=200))
    def test_one_in_so_many_whatever_the_calls_hold(self, sizes: list[int]) -> None:
        stage = Stage()
        key = stage.key(verified=True)
        requests = [(key, digest(b"data"))] * 8
        for size in sizes:
            stage.clock.advance(1)
            stage.signer.sign_many(requests[:size])
        assert stage.metrics.verified == [True] * (sum(sizes) // VERIFY_EVERY)


class TestAWrongSignature:
    @given(
        fault=st.one_of(
            st.builds(bit_flipped, st.integers(0, 2), st.integers(0, 767)),
            st.sampled_from([swapped(0, 1), swapped(2, 0), zeros(0), zeros(2)]),
        ),
        number=st.integers(MIN_BATCH, 8),
    )
    def test_it_is_not_given_out_and_all_of_its_call_is_signed_again(self, fault: Fault, number: int) -> None:
        stage = Stage(fault)
        keys = [stage.key(private_key) for private_key in _KEYS]
        with capture_logs() as lines:
            signatures = stage.sign(*(keys[lane % 3] for lane in range(number)))
        assert not stage.extension.made & {*signatures}, "the others of that call are not trusted either"
        assert stage.metrics.fallbacks == [("not_verified", number)]
        assert stage.metrics.verified[-1] is False
        assert [(line["event"], line["log_level"]) for line in lines] == [
            ("multi-buffer signing switched off: a signature did not verify", "critical")
        ]
        assert lines[0]["lane"] == len(stage.metrics.verified) - 1
        assert "AWS-LC signs instead" in stage.signer.problem()

    @given(lane=st.integers(0, 7), bit=st.integers(0, 767))
    def test_a_bit_in_any_lane_of_a_new_key(self, lane: int, bit: int) -> None:
        stage = Stage(bit_flipped(lane, bit))
        with capture_logs() as lines:
            stage.sign(*[stage.key()] * 8)
        assert [line["lane"] for line in lines] == [lane]

    def test_afterwards_nothing_calls_the_extension(self, stage: Stage) -> None:
        key = stage.key()
        stage.extension.fault = swapped(0, 1)
        with capture_logs():
            stage.sign(*[key] * 8)
        stage.extension.fault = no_fault
        problem = stage.signer.problem()
        assert problem
        assert stage.extension.calls == [8]
        with capture_logs() as lines:
            for number in (8, 3, 2, 1, 19):
                stage.sign(*[key] * number)
            stage.clock.advance(3600)
            stage.sign(*[stage.key(_KEYS[1])] * 8)
        assert stage.extension.calls == [8]
        assert stage.signer.problem() == problem
        assert stage.metrics.fallbacks[1:] == [("switched_off", number) for number in (8, 3, 8, 8, 3, 8)]
        assert lines == [], "one alarm, not one a call"

    def test_the_rest_of_a_batch_is_signed_by_aws_lc(self, stage: Stage) -> None:
        def wrong_in_the_second_call(signatures: list[bytes]) -> list[bytes | None]:
            return [*signatures] if len(stage.extension.calls) == 1 else bit_flipped(4, 9)(signatures)

        stage.extension.fault = wrong_in_the_second_call
        with capture_logs():
            signatures = stage.sign(*[stage.key()] * 24)
        assert {*signatures[:8]} <= stage.extension.made, "these were verified"
        assert not {*signatures[8:]} & stage.extension.made
        assert stage.extension.calls == [8, 8]

    def test_it_is_only_this_signer_that_is_switched_off(self, stage: Stage) -> None:
        stage.extension.fault = swapped(0, 1)
        with capture_logs():
            stage.sign(*[stage.key()] * 8)
        assert MultiBufferSigner(FaultyExtension()).problem() == ""

    @needs_multibuffer
    def test_the_real_extension_with_one_bit_wrong(self) -> None:
        """The real one's signatures, with the fault between it and the signer."""
        from tokensvc.jose.signing import _multibuffer

        class Between:
            LANES = _multibuffer.LANES
            Key = _multibuffer.Key

            def sign(self, requests: tuple[tuple[_multibuffer.Key, bytes], ...], /) -> list[bytes | None]:
                signatures = [signature for signature in _multibuffer.sign(requests) if signature is not None]
                return bit_flipped(6, 100)(signatures)

        metrics = RecordedMetrics()
        signer = MultiBufferSigner(Between(), metrics)
        requests = [(signer.prepare(private_key), digest(b"data")) for private_key in [*_KEYS, *_KEYS, *_KEYS][:8]]
        with capture_logs():
            assert_verify(requests, signer.sign_many(requests))
        assert metrics.fallbacks == [("not_verified", 8)]
        assert signer.problem()
