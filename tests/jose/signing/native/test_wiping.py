"""After a call, memory contains no nonce, no key, and nothing from which they could be computed.

The tests search all writable memory of the waiting process: stack, data and heap. The search knows the forms of the
numbers during the computation: 64-bit limbs in either byte order, the library's 52-bit limbs, and its Montgomery form.
It finds the signatures, which may remain, in those forms, so it covers the memory that the library uses. It covers
neither processor registers nor coordinates of points, whose form is not known.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jose.signing.compiled import build_shared, why_not
from tests.jose.signing.native.checks import BYTES, LANES, ORDER, Checks, NoncedLane, nonce, signature, writable_memory
from tests.support.signers import needs_multibuffer

_MONTGOMERY = 2**416
"""The library's factor: eight limbs of 52 bits."""


def forms(number: int) -> set[int]:
    """All sequences of eight bytes that this number may have in memory, without those that could occur by chance."""
    whole = number.to_bytes(BYTES, "little")
    limbs = {whole[start : start + 8] for start in range(0, BYTES, 8)}
    limbs |= {limb[::-1] for limb in limbs} | {limb.to_bytes(8, "little") for limb in limbs_of_52_bits(number)}
    return {int.from_bytes(limb, "little") for limb in limbs if len(limb.strip(b"\0")) >= 5}


def limbs_of_52_bits(number: int) -> set[int]:
    return {number >> 52 * limb & 2**52 - 1 for limb in range(8)} - {0}


def all_forms(*numbers: int) -> set[int]:
    """The forms of numbers, also in Montgomery form and half converted from it."""
    found: set[int] = set()
    for number in numbers:
        for factor in (1, _MONTGOMERY, pow(_MONTGOMERY, -1, ORDER)):
            found |= forms(number * factor % ORDER)
    return found


def found_in_memory(secret: set[int], regions: list[bytes]) -> set[int]:
    """The sequences of eight bytes that are found in memory, at any address."""
    found: set[int] = set()
    for region in regions:
        for offset in range(8):
            end = offset + (len(region) - offset) // 8 * 8
            found |= secret.intersection(memoryview(region)[offset:end].cast("Q"))
    return found


def secrets_of(lane: NoncedLane) -> set[int]:
    """The nonce, its inverse, and what reveals it together with the signature: r times the key, s times the nonce."""
    r = int.from_bytes(signature(lane)[:BYTES], "big")
    inverse, product = pow(lane.nonce, -1, ORDER), r * lane.key % ORDER
    return all_forms(lane.nonce, inverse, product, (lane.digest + product) % ORDER)


@pytest.mark.slow
@pytest.mark.parametrize("checks", ["as shipped"], indirect=True)
@pytest.mark.parametrize("count", [1, 3, LANES])
def test_a_call_leaves_neither_nonce_nor_key_in_memory(count: int, checks: Checks) -> None:
    pool = os.urandom(BYTES * LANES)
    lanes = [(1 + secrets.randbelow(ORDER - 1), 1 + secrets.randbelow(ORDER - 1)) for _ in range(count)]
    outcome = checks.sign(lanes, pool)
    regions = checks.memory()
    for number, (key, digest) in enumerate(lanes):
        random = pool[BYTES * number : BYTES * (number + 1)]
        lane = NoncedLane(key, nonce(random, key, digest, number), digest)
        assert outcome.signatures[number] == signature(lane), "these are the numbers to search for"
        assert not found_in_memory(secrets_of(lane), regions)
        assert not found_in_memory(all_forms(key), regions)
        assert not found_in_memory(forms(int.from_bytes(random, "little")), regions)
        s = int.from_bytes(signature(lane)[BYTES:], "big")
        assert found_in_memory(limbs_of_52_bits(s), regions), "the search finds the 52-bit limbs of a signature"


@pytest.mark.slow
@pytest.mark.parametrize("checks", ["as shipped"], indirect=True)
def test_a_call_without_random_bytes_leaves_no_key_in_memory(checks: Checks) -> None:
    """The second lane fails after the nonce of the first was derived."""
    keys = [1 + secrets.randbelow(ORDER - 1) for _ in range(LANES)]
    outcome = checks.sign([(key, 1) for key in keys], os.urandom(1024), hashes=[5, 0], steps=[127, -5])
    assert outcome.failed == (1 << LANES) - 1
    assert not found_in_memory(all_forms(*keys), checks.memory())


@pytest.mark.parametrize("checks", ["as shipped"], indirect=True)
def test_the_search_finds_a_key_that_is_in_memory(checks: Checks) -> None:
    key = 1 + secrets.randbelow(ORDER - 1)
    checks.sign([(key, 1)], os.urandom(1024), keep=True)
    assert len(found_in_memory(forms(key), checks.memory())) == BYTES // 8


_PYTHON = """
import sys
from tokensvc.jose.signing import _multibuffer
key = _multibuffer.Key(bytes.fromhex(sys.stdin.readline()))
digests = [bytes.fromhex(sys.stdin.readline()) for _ in range(8)]
for signature in _multibuffer.sign(tuple([(key, digest) for digest in digests])):
    print(signature.hex(), flush=True)
sys.stdin.readline()
del key
print(flush=True)
sys.stdin.readline()
"""


@needs_multibuffer
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_python_leaves_no_nonce_in_memory_and_no_key_after_it_is_freed(tmp_path: Path) -> None:
    """The shipped extension in another Python process, with random bytes that the test knows."""
    random = build_shared(Path(__file__).parent / "known_random.c", tmp_path / "known_random.so")
    key, digests = 1 + secrets.randbelow(ORDER - 1), [1 + secrets.randbelow(ORDER - 1) for _ in range(LANES)]
    with subprocess.Popen(
        [sys.executable, "-c", _PYTHON],
        env={**os.environ, "LD_PRELOAD": str(random), "PYTHONHASHSEED": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as python:
        assert python.stdin is not None
        assert python.stdout is not None
        python.stdin.write("".join(f"{number:096x}\n" for number in [key, *digests]))
        python.stdin.flush()
        made = [bytes.fromhex(python.stdout.readline()) for _ in range(LANES)]
        regions = writable_memory(python.pid)
        python.stdin.write("\n")
        python.stdin.flush()
        python.stdout.readline()
        without_key = writable_memory(python.pid)
        python.stdin.close()
    lanes = [
        NoncedLane(key, nonce(bytes([0x5C]) * BYTES, key, digest, number), digest)
        for number, digest in enumerate(digests)
    ]
    assert made == [signature(lane) for lane in lanes], "these are the numbers to search for"
    assert not found_in_memory(set().union(*map(secrets_of, lanes)), regions)
    limbs = {*memoryview(key.to_bytes(BYTES, "little")).cast("Q")}
    assert found_in_memory(limbs, regions) == limbs, "the search finds the key in the Key object"
    assert not found_in_memory(limbs, without_key), "Python's own copies have another byte order"
