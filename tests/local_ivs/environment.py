"""What tests of the local IVS set up: a place, a clock, chance that can be foretold, keys, and a look at all state."""

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

HERE = AccountRegion("000000000000", "us-west-2")
OTHER_REGION = AccountRegion("000000000000", "eu-west-1")
OTHER_ACCOUNT = AccountRegion("111122223333", "us-west-2")
START = 1_800_000_000.0


class StandingClock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


def counting_token() -> RandomString:
    """Never the same twice, always the same in each run."""
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
    """The public half of a key."""
    return public_pem(private_key(number).public_key())


def start_stream(resources: SqliteResourceStore, channel: object, clock: Clock | None = None) -> str:
    """Let a channel go live; without that its playback URL answers 404.

    Over HTTP, `POST /streams/start` on the management listener does the same, and `parts.streams.start(arn)` where the
    local IVS is in the same process."""
    return Simulator(resources, clock or StandingClock(), random_string).start(str(channel))


def everything(resources: SqliteResourceStore, *places: AccountRegion) -> list[Any]:
    """All that is kept, to see that nothing changed."""
    with resources.begin(write=False) as transaction:
        return [
            transaction.page(place, kind, after=0, limit=10_000)
            for place in places or (HERE,)
            for kind in (*RESOURCE_TYPES, "single-use", revocations.KIND, STREAM, SESSION)
        ] + [events.events_after(transaction, 0, 10_000)]


OPERATIONS = sorted(api_model.load().operations)
