"""The C code below the Python module, in a test executable: given nonces, failing and short random reads, and
rejected candidates.

Each test runs on two builds: with the shipped flags, and with AddressSanitizer and UndefinedBehaviorSanitizer (which
check the code of the extension, not Intel's, which is already compiled).
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.jose.signing.native.checks import (
    BYTES,
    LANES,
    ORDER,
    SIGNATURE_BYTES,
    UNTOUCHED,
    Checks,
    NoncedLane,
    nonce,
    signature,
)

NO_SIGNATURE = bytes(SIGNATURE_BYTES)
POOL = bytes(os.urandom(4096))
_EDGES = [1, 2, 3, ORDER - 1, ORDER - 2, ORDER // 2, 1 << 64, (1 << 320) - 1, 1 << 383]
scalars = st.one_of(st.sampled_from(_EDGES), st.integers(1, ORDER - 1), st.integers(0, 383).map(lambda bit: 1 << bit))
requests = st.tuples(scalars, scalars)


def expected(lanes: Sequence[tuple[int, int]], pool: bytes = POOL) -> list[bytes]:
    """The signatures of these (key, digest) lanes if each lane takes the next 48 bytes of the pool."""
    return [
        signature(NoncedLane(key, nonce(pool[BYTES * lane : BYTES * (lane + 1)], key, digest, lane), digest))
        for lane, (key, digest) in enumerate(lanes)
    ]


def some_lanes(count: int = LANES) -> list[tuple[int, int]]:
    return [(1 + secrets.randbelow(ORDER - 1), 1 + secrets.randbelow(ORDER - 1)) for _ in range(count)]


@pytest.mark.slow
def test_the_self_test_passes(checks: Checks) -> None:
    assert checks.self_test() == 0


class TestSigningWithGivenNonces:
    @pytest.mark.slow
    @pytest.mark.parametrize("given_nonce", _EDGES)
    def test_smallest_and_largest_values(self, given_nonce: int, checks: Checks) -> None:
        lanes = [NoncedLane(key, given_nonce, digest) for key, digest in some_lanes()]
        assert checks.sign_with(lanes) == (0, [signature(lane) for lane in lanes])

    @given(lanes=st.lists(st.builds(NoncedLane, scalars, scalars, scalars), min_size=LANES, max_size=LANES))
    def test_results_equal_integer_arithmetic(self, lanes: list[NoncedLane], checks: Checks) -> None:
        """For keys, nonces and digests of all sizes. Like in ECDSA, a lane has no signature if s would be 0."""
        failed, signatures = checks.sign_with(lanes)
        for lane, (requested, made) in enumerate(zip(lanes, signatures, strict=True)):
            wanted = signature(requested)
            without = wanted.endswith(bytes(BYTES))
            assert failed >> lane & 1 == without
            assert made == (NO_SIGNATURE if without else wanted)

    @pytest.mark.parametrize("lane", range(LANES))
    def test_only_the_lane_whose_s_is_zero_fails(self, lane: int, checks: Checks) -> None:
        lanes = [NoncedLane(key, 5, digest) for key, digest in some_lanes()]
        r = int.from_bytes(signature(lanes[lane])[:BYTES], "big")
        lanes[lane] = lanes[lane]._replace(digest=-r * lanes[lane].key % ORDER)
        assert_only_failure(lane, lanes, checks)

    @pytest.mark.parametrize("digest", [0, ORDER, ORDER + 1, 2**384 - 1])
    @pytest.mark.parametrize("lane", range(LANES))
    def test_only_the_lane_with_a_digest_out_of_range_fails(self, lane: int, digest: int, checks: Checks) -> None:
        lanes = [NoncedLane(key, 5 + number, hashed) for number, (key, hashed) in enumerate(some_lanes())]
        lanes[lane] = lanes[lane]._replace(digest=digest)
        assert_only_failure(lane, lanes, checks)


def assert_only_failure(lane: int, lanes: list[NoncedLane], checks: Checks) -> None:
    failed, signatures = checks.sign_with(lanes)
    assert failed == 1 << lane
    assert signatures == [
        NO_SIGNATURE if number == lane else signature(requested) for number, requested in enumerate(lanes)
    ]


class TestReadScalar:
    @pytest.mark.slow
    @pytest.mark.parametrize("number", [0, 1, ORDER - 1, ORDER, ORDER + 1, 2**384 - 1])
    def test_smallest_and_largest_values(self, number: int, checks: Checks) -> None:
        assert checks.read_scalar(number) == (number if 0 < number < ORDER else None)

    @given(
        number=st.one_of(
            st.integers(0, 2**384 - 1),
            st.builds(lambda bit, times: ORDER + times * 2**bit, st.integers(0, 188), st.integers(-2, 2)),
            st.integers(0, 5).map(lambda limb: ORDER ^ (2**64 - 1) << 64 * limb),
        )
    )
    def test_results_equal_integer_arithmetic(self, number: int, checks: Checks) -> None:
        """For numbers of all sizes, many of them near the order, with some limbs equal to the order's."""
        assert checks.read_scalar(number) == (number if 0 < number < ORDER else None)


class TestNonces:
    @pytest.mark.parametrize("count", range(1, LANES + 1))
    def test_each_lane_hashes_its_own_random_bytes_with_its_key_digest_and_number(
        self, count: int, checks: Checks
    ) -> None:
        lanes = some_lanes(count)
        outcome = checks.sign(lanes, POOL)
        assert outcome.signatures == [*expected(lanes), *[UNTOUCHED] * (LANES - count)]
        assert outcome[:4] == (0, BYTES * count, 1, count)

    @given(lanes=st.lists(requests, min_size=1, max_size=LANES), pool=st.binary(min_size=LANES * BYTES))
    def test_any_random_bytes_give_the_expected_signatures(
        self, lanes: list[tuple[int, int]], pool: bytes, checks: Checks
    ) -> None:
        assert checks.sign(lanes, pool).signatures[: len(lanes)] == expected(lanes, pool)

    def test_a_broken_source_of_randomness_repeats_no_nonce(self, checks: Checks) -> None:
        """With constant random bytes the nonce still depends on the key, the digest and the lane."""
        (key, digest), *_ = some_lanes(1)
        lanes = [(key, digest), (key, digest), (key, digest + 1), (key + 1, digest)]
        again = [(key, digest + 2), (key + 2, digest), (key, digest + 3), (key + 3, digest)]
        made = checks.sign(lanes, bytes(4096)).signatures[:4] + checks.sign(again, bytes(4096)).signatures[:4]
        assert len({each[:BYTES] for each in made}) == 8

    @pytest.mark.parametrize("rejected", [0, ORDER, ORDER + 1, 2**384 - 1])
    @pytest.mark.parametrize("times", [1, 2, 3])
    def test_a_rejected_candidate_is_replaced_using_fresh_bytes(
        self, times: int, rejected: int, checks: Checks
    ) -> None:
        lanes = some_lanes(3)
        outcome = checks.sign(lanes, POOL, hashes=[rejected] * times)
        last = BYTES * (3 + times - 1)
        pool = POOL[last : last + BYTES] + POOL[BYTES:]
        assert outcome.signatures[:3] == expected(lanes, pool)
        assert outcome[:4] == (0, BYTES * (3 + times), 1 + times, 3 + times)

    def test_a_candidate_may_be_rejected_in_a_later_lane(self, checks: Checks) -> None:
        lanes = some_lanes(3)
        outcome = checks.sign(lanes, POOL, hashes=[7, 0, 9, 11])
        nonces = [7, 9, 11]
        assert outcome.failed == 0
        assert outcome.signatures[:3] == [
            signature(NoncedLane(key, given_nonce, digest))
            for (key, digest), given_nonce in zip(lanes, nonces, strict=True)
        ]

    @pytest.mark.parametrize("count", [1, 3, LANES])
    def test_after_four_rejections_nothing_is_signed(self, count: int, checks: Checks) -> None:
        """A hash that is never below the order is broken, so nothing is signed."""
        outcome = checks.sign(some_lanes(count), POOL, hashes=[ORDER, 0, 2**384 - 1, ORDER])
        assert_nothing_signed(count, outcome.failed, outcome.signatures)
        assert outcome.hash_calls == 4


class TestGetrandom:
    @pytest.mark.parametrize(
        "steps", [[1], [1, 2, 3], [47, 48, 49], [127, 127], [-errno.EINTR], [-errno.EINTR] * 5, [5, -errno.EINTR, 7]]
    )
    def test_short_and_interrupted_reads_are_continued(self, steps: list[int], checks: Checks) -> None:
        lanes = some_lanes()
        outcome = checks.sign(lanes, POOL, steps=[*steps])
        assert outcome.signatures == expected(lanes)
        assert outcome.bytes_taken == LANES * BYTES

    @pytest.mark.parametrize(
        "steps", [[-errno.ENOSYS], [-errno.EIO], [-errno.EAGAIN], [0], [100, -errno.EIO], [100, 0]]
    )
    @pytest.mark.parametrize("count", [1, 4, LANES])
    def test_without_random_bytes_nothing_is_signed(self, count: int, steps: list[int], checks: Checks) -> None:
        steps = [min(step, BYTES * count - 1) for step in steps]
        outcome = checks.sign(some_lanes(count), POOL, steps=steps)
        assert_nothing_signed(count, outcome.failed, outcome.signatures)
        assert outcome.getrandom_calls == len(steps)

    def test_nothing_is_signed_if_it_fails_after_a_rejected_candidate(self, checks: Checks) -> None:
        outcome = checks.sign(some_lanes(), POOL, hashes=[5, 0], steps=[127, -errno.EIO])
        assert_nothing_signed(LANES, outcome.failed, outcome.signatures)


def assert_nothing_signed(count: int, failed: int, signatures: Sequence[bytes]) -> None:
    assert failed == (1 << count) - 1
    assert signatures == [NO_SIGNATURE] * count + [UNTOUCHED] * (LANES - count)
