"""Runs checks.c, and computes the expected results in Python."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from hashlib import sha384
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
LANES, BYTES, SIGNATURE_BYTES = 8, 48, 96
UNTOUCHED = b"\xa5" * SIGNATURE_BYTES
_STEPS, _POOL_BYTES, _HASHES, _ALL = 16, 4096, 64, 127


class NoncedLane(NamedTuple):
    """One lane with a given nonce."""

    key: int
    nonce: int
    digest: int


class Outcome(NamedTuple):
    """The result of p384_sign."""

    failed: int
    bytes_taken: int
    getrandom_calls: int
    hash_calls: int
    signatures: list[bytes]


class Checks:
    """The running executable."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _, stderr = self._process.communicate(timeout=60)
        if kind is None:
            assert (self._process.returncode, stderr.decode()) == (0, "")

    def supported(self) -> bool:
        return self._integer("p") != 0

    def self_test(self) -> int:
        return self._integer("t")

    def read_scalar(self, number: int) -> int | None:
        """The number that p384_read_scalar returned, or None if it rejected the number."""
        response = self._call(b"r" + as_bytes(number), 4 + BYTES)
        result, scalar = struct.unpack(f"<i{BYTES}s", response)
        return int.from_bytes(scalar, "big") if result == 0 else None

    def sign_with(self, lanes: Sequence[NoncedLane]) -> tuple[int, list[bytes]]:
        """The failed lanes, a bit for each, and the signatures."""
        assert len(lanes) == LANES
        response = self._call(
            b"n" + b"".join(as_bytes(number) for lane in lanes for number in lane), 4 + LANES * SIGNATURE_BYTES
        )
        return struct.unpack_from("<I", response)[0], _split(response[4:])

    def sign(
        self,
        lanes: Sequence[tuple[int, int]],
        pool: bytes,
        *,
        steps: Sequence[int] = (),
        hashes: Sequence[int] = (),
        keep: bool = False,
    ) -> Outcome:
        """p384_sign of (key, digest) lanes. getrandom follows `steps`; the hash function returns `hashes` first."""
        spare = [(0, 0)] * (LANES - len(lanes))
        request = struct.pack(
            f"<cB?{_STEPS}b{_POOL_BYTES}sB{_HASHES * BYTES}s",
            *(b"s", len(lanes), keep),
            *(*steps, *[_ALL] * (_STEPS - len(steps))),
            *(pool, len(hashes), b"".join(map(as_bytes, hashes))),
        )
        keys = b"".join(as_bytes(key) for key, _ in [*lanes, *spare])
        digests = b"".join(as_bytes(digest) for _, digest in [*lanes, *spare])
        response = self._call(request + keys + digests, 16 + LANES * SIGNATURE_BYTES)
        failed, taken, calls, hashed = struct.unpack_from("<4I", response)
        return Outcome(failed, taken, calls, hashed, _split(response[16:]))

    def memory(self) -> list[bytes]:
        """All memory that the executable can write to. It is waiting for a request."""
        return writable_memory(self._process.pid)

    def _integer(self, request: str) -> int:
        return int(struct.unpack("<i", self._call(request.encode(), 4))[0])

    def _call(self, request: bytes, size: int) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(request)
        response = b""
        while len(response) < size:
            more = self._process.stdout.read(size - len(response))
            if not more:
                assert self._process.stderr is not None
                raise AssertionError(f"the executable ended: {self._process.stderr.read().decode()}")
            response += more
        return response


def writable_memory(pid: int) -> list[bytes]:
    """The content of all writable memory of a waiting process."""
    regions = []
    try:
        with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                span, permissions, *_ = line.split()
                if "w" in permissions:
                    start, end = (int(address, 16) for address in span.split("-"))
                    memory.seek(start)
                    regions.append(memory.read(end - start))
    except PermissionError:
        pytest.skip("this system lets no process read the memory of its children")
    return regions


def as_bytes(number: int) -> bytes:
    return number.to_bytes(BYTES, "big")


def signature(lane: NoncedLane) -> bytes:
    """FIPS 186-5, 6.4.1, with integers; OpenSSL multiplies the base point."""
    r = ec.derive_private_key(lane.nonce, ec.SECP384R1()).public_key().public_numbers().x % ORDER
    s = pow(lane.nonce, -1, ORDER) * (lane.digest + r * lane.key) % ORDER
    return as_bytes(r) + as_bytes(s)


def nonce(random: bytes, key: int, digest: int, lane: int) -> int:
    """The nonce that ecdsa_p384.c derives; the limbs of the key are hashed least significant first."""
    hashed = sha384(random + key.to_bytes(BYTES, "little") + as_bytes(digest) + lane.to_bytes(8, "little"))
    return int.from_bytes(hashed.digest(), "big")


def _split(signatures: bytes) -> list[bytes]:
    return [signatures[start : start + SIGNATURE_BYTES] for start in range(0, len(signatures), SIGNATURE_BYTES)]
