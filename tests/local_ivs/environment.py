"""What tests of the local IVS share: accounts and regions, a clock, predictable strings, keys, all stored state."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from tokensvc.aws.arn import AccountRegion
from tokensvc.clock import Clock
from tokensvc.jose.keypair import public_pem
from tokensvc.local_ivs import api_model, revocations
from tokensvc.local_ivs.http import random_string
from tokensvc.local_ivs.id_generators import RandomString
from tokensvc.local_ivs.live_streams import STREAM
from tokensvc.local_ivs.resources.registry import RESOURCE_TYPES
from tokensvc.local_ivs.simulator import Simulator
from tokensvc.local_ivs.storage import SqliteResourceStore
from tokensvc.local_ivs.streams import events
from tokensvc.local_ivs.streams.sessions import SESSION
from tokensvc.local_ivs.streams.timed_metadata import TIMED_METADATA

HERE = AccountRegion("000000000000", "us-west-2")
OTHER_REGION = AccountRegion("000000000000", "eu-west-1")
OTHER_ACCOUNT = AccountRegion("111122223333", "us-west-2")
START = 1_800_000_000.0


class FrozenClock:
    """A clock that stands still until a test sets `at`."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


def counting_strings() -> RandomString:
    """Strings that are never the same twice, and the same in each run."""
    numbers = itertools.count(1)

    def token(alphabet: str, length: int) -> str:
        number, drawn = next(numbers), ""
        for _ in range(length):
            number, digit = divmod(number, len(alphabet))
            drawn = alphabet[digit] + drawn
        return drawn

    return token


@lru_cache(maxsize=64)
def private_key(number: int) -> ec.EllipticCurvePrivateKey:
    """A P-384 key, the same for the same number."""
    return ec.derive_private_key(number + 1000, ec.SECP384R1())


def pem(number: int) -> str:
    """The public key as PEM."""
    return public_pem(private_key(number).public_key())


def start_stream(resources: SqliteResourceStore, channel: object, clock: Clock | None = None) -> str:
    """Start a stream on a channel; without one its playback URL is not found.

    `POST /streams/start` on the management listener does the same over HTTP, and `components.streams.start(arn)` in the
    same process."""
    return Simulator(resources, clock or FrozenClock(), random_string).start(str(channel))


def all_stored(resources: SqliteResourceStore, *account_regions: AccountRegion) -> list[Any]:
    """All that is stored, to check that nothing changed."""
    with resources.begin(write=False) as transaction:
        return [
            transaction.page(account_region, kind, after=0, limit=10_000)
            for account_region in account_regions or (HERE,)
            for kind in (*RESOURCE_TYPES, "single-use", revocations.KIND, STREAM, SESSION, TIMED_METADATA)
        ] + [events.events_after(transaction, 0, 10_000)]


OPERATIONS = sorted(api_model.load().operations)
