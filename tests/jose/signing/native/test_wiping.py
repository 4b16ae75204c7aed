"""What a call leaves in memory: nothing of a nonce, of a key, or of what gives one of them away.

After a call all that the process can write to is searched, its stack, its data and its heap, while it waits. The search
knows the forms that the numbers have on their way: 64-bit limbs in either order of bytes, the library's 52-bit limbs,
and its Montgomery form. It finds the signatures, which may stay, in those forms: it searches where the library works.
Processor registers cannot be searched in this way, nor can coordinates of points, whose form we do not know.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jose.signing.compiled import build_shared, why_not
from tests.jose.signing.native.checks import BYTES, LANES, ORDER, Checks, Nonced, nonce, signature, writable_memory
from tests.support.signers import needs_multibuffer

_MONTGOMERY = 2**416
"""The library's factor: eight limbs of 52 bits."""


def forms(number: int) -> set[int]:
    """Every run of eight bytes that this number shows in memory; those that chance could show are left out."""
    whole = number.to_bytes(BYTES, "little")
    limbs = {whole[start : start + 8] for start in range(0, BYTES, 8)}
    limbs |= {limb[::-1] for limb in limbs} | {limb.to_bytes(8, "little") for limb in limbs_of_52_bits(number)}
    return {int.from_bytes(limb, "little") for limb in limbs if len(limb.strip(b"\0")) >= 5}


def limbs_of_52_bits(number: int) -> set[int]:
    return {number >> 52 * limb & 2**52 - 1 for limb in range(8)} - {0}


def all_forms(*numbers: int) -> set[int]:
    """Also in Montgomery form, and halfway out of it."""
    found: set[int] = set()
    for number in numbers:
        for factor in (1, _MONTGOMERY, pow(_MONTGOMERY, -1, ORDER)):
            found |= forms(number * factor % ORDER)
    return found


def left(secret: set[int], regions: list[bytes]) -> set[int]:
    """Which of these runs of eight bytes are in memory, at whatever address."""
    found: set[int] = set()
    for region in regions:
        for offset in range(8):
            end = offset + (len(region) - offset) // 8 * 8
            found |= secret.intersection(memoryview(region)[offset:end].cast("Q"))
    return found


def secrets_of(lane: Nonced) -> set[int]:
    """The nonce and its inverse, and what gives it away beside the signature: r times the key, s times the nonce."""
    r = int.from_bytes(signature(lane)[:BYTES], "big")
    inverse, product = pow(lane.nonce, -1, ORDER), r * lane.key % ORDER
    return all_forms(lane.nonce, inverse, product, (lane.digest + product) % ORDER)


@pytest.mark.parametrize("checks", ["as shipped"], indirect=True)
@pytest.mark.parametrize("count", [1, 3, LANES])
def test_a_call_leaves_no_nonce_and_no_key(count: int, checks: Checks) -> None:
    pool = os.urandom(BYTES * LANES)
    lanes = [(1 + secrets.randbelow(ORDER - 1), 1 + secrets.randbelow(ORDER - 1)) for _ in range(count)]
    outcome = checks.sign(lanes, pool)
    regions = checks.memory()
    for number, (key, digest) in enumerate(lanes):
        random = pool[BYTES * number : BYTES * (number + 1)]
        lane = Nonced(key, nonce(random, key, digest, number), digest)
        assert outcome.signatures[number] == signature(lane), "these are the numbers to search for"
        assert not left(secrets_of(lane), regions)
        assert not left(all_forms(key), regions)
        assert not left(forms(int.from_bytes(random, "little")), regions)
        s = int.from_bytes(signature(lane)[BYTES:], "big")
        assert left(limbs_of_52_bits(s), regions), (
            "the search finds what the library's 52-bit limbs leave of a signature"
        )


@pytest.mark.parametrize("checks", ["as shipped"], indirect=True)
def test_a_call_without_random_bytes_leaves_no_key(checks: Checks) -> None:
    """The second lane fails, after the first one's nonce was made."""
    keys = [1 + secrets.randbelow(ORDER - 1) for _ in range(LANES)]
    outcome = checks.sign([(key, 1) for key in keys], os.urandom(1024), hashes=[5, 0], steps=[127, -5])
    assert outcome.failed == (1 << LANES) - 1
    assert not left(all_forms(*keys), checks.memory())


@pytest.mark.parametrize("checks", ["as shipped"], indirect=True)
def test_the_search_finds_a_key_that_was_left(checks: Checks) -> None:
    key = 1 + secrets.randbelow(ORDER - 1)
    checks.sign([(key, 1)], os.urandom(1024), keep=True)
    assert len(left(forms(key), checks.memory())) == BYTES // 8


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
def test_a_python_process_that_signed_has_no_nonce_and_after_the_key_is_freed_no_key(tmp_path: Path) -> None:
    """The shipped extension in a Python of its own, with random bytes that the test knows."""
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
        Nonced(key, nonce(bytes([0x5C]) * BYTES, key, digest, number), digest) for number, digest in enumerate(digests)
    ]
    assert made == [signature(lane) for lane in lanes], "these are the numbers to search for"
    assert not left(set().union(*map(secrets_of, lanes)), regions)
    limbs = {*memoryview(key.to_bytes(BYTES, "little")).cast("Q")}
    assert left(limbs, regions) == limbs, "in the Key: so the search works"
    assert not left(limbs, without_key), "what Python has of it is in another order: the bytes and the line"
