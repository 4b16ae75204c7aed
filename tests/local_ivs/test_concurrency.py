"""Two accounts and two regions, eight threads, ten thousand mixed calls: nothing is lost, nothing crosses over."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import pytest

from tests.local_ivs.environment import StandingClock, pem
from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.http import random_token
from tokensvc.local_ivs.model import Model
from tokensvc.local_ivs.resources.types import KINDS
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.storage import LocalIvsResources

PLACES = [AccountRegion(*place) for place in product(("000000000000", "111122223333"), ("us-west-2", "eu-west-1"))]
THREADS, CALLS_EACH = 8, 1250
EXPECTED = {"ServiceQuotaExceededException", "ConflictException", "ResourceNotFoundException"}


class Actor:
    """One thread: it acts in every place, and remembers what it did there."""

    def __init__(self, local: LocalIvs, shared: dict[AccountRegion, str], number: int) -> None:
        self.local, self.shared, self.number = local, shared, number
        self.dice = random.Random(number)
        self.own: dict[AccountRegion, dict[str, str]] = {place: {} for place in PLACES}
        """Channels of this thread alone, and the name that it gave each last."""
        self.outcomes: Counter[str] = Counter()

    def act(self) -> None:
        steps = (self.create, self.rename, self.rename, self.look, self.look, self.list, self.tag, self.delete)
        for _ in range(CALLS_EACH):
            step = self.dice.choice((*steps, self.import_key, self.slate))
            try:
                step(self.dice.choice(PLACES))
                self.outcomes["done"] += 1
            except IvsError as refusal:
                self.outcomes[refusal.code] += 1

    def call(self, place: AccountRegion, operation: str, **request: Any) -> dict[str, Any]:
        return self.local.call(place, operation, request, "")

    def create(self, place: AccountRegion) -> None:
        if len(self.own[place]) > 20:
            return self.look(place)
        name = f"t{self.number}-{self.dice.random():.9f}".replace(".", "-")
        self.own[place][self.call(place, "CreateChannel", name=name)["channel"]["arn"]] = name
        return None

    def rename(self, place: AccountRegion) -> None:
        if self.own[place]:
            arn = self.dice.choice(sorted(self.own[place]))
            self.own[place][arn] = name = f"t{self.number}-{self.dice.randrange(10**9)}"
            assert self.call(place, "UpdateChannel", arn=arn, name=name)["channel"]["name"] == name

    def look(self, place: AccountRegion) -> None:
        if self.own[place]:
            arn = self.dice.choice(sorted(self.own[place]))
            assert self.call(place, "GetChannel", arn=arn)["channel"]["name"] == self.own[place][arn]
            elsewhere = self.dice.choice([other for other in PLACES if other != place])
            self.call(elsewhere, "GetChannel", arn=arn)  # refused

    def list(self, place: AccountRegion) -> None:
        listed = self.call(place, "ListChannels", maxResults=30)["channels"]
        assert all(channel["arn"].split(":")[3:5] == [place.region, place.account] for channel in listed)

    def tag(self, place: AccountRegion) -> None:
        """All threads tag one channel of each place: each its own key, counting."""
        arn = self.shared[place]
        count = int(self.call(place, "ListTagsForResource", resourceArn=arn)["tags"].get(f"t{self.number}", "0"))
        self.call(place, "TagResource", resourceArn=arn, tags={f"t{self.number}": str(count + 1)})
        self.outcomes[f"tagged {PLACES.index(place)}"] += 1

    def delete(self, place: AccountRegion) -> None:
        if len(self.own[place]) > 10:
            arn, _ = self.own[place].popitem()
            self.call(place, "DeleteChannel", arn=arn)

    def import_key(self, place: AccountRegion) -> None:
        pair = self.call(place, "ImportPlaybackKeyPair", publicKeyMaterial=pem(self.dice.randrange(6)))["keyPair"]
        self.call(place, "DeletePlaybackKeyPair", arn=pair["arn"])

    def slate(self, place: AccountRegion) -> None:
        made = self.call(place, "CreateFailoverSlateConfiguration")["failoverSlateConfiguration"]["arn"]
        self.call(place, "UpdateChannel", arn=self.shared[place], failoverSlateConfigurationArn=made)
        self.call(place, "DeleteFailoverSlateConfiguration", arn=made)  # refused, unless another thread was faster


@pytest.mark.slow
def test_ten_thousand_calls_at_once(model: Model) -> None:
    resources = LocalIvsResources(":memory:")
    local = LocalIvs(model, resources, StandingClock(), random_token, b"secret")
    shared = {place: local.call(place, "CreateChannel", {"name": "shared"}, "")["channel"]["arn"] for place in PLACES}
    actors = [Actor(local, shared, number) for number in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as threads:
        for finished in [threads.submit(actor.act) for actor in actors]:
            finished.result()

    outcomes = sum((actor.outcomes for actor in actors), Counter[str]())
    assert sum(n for outcome, n in outcomes.items() if not outcome.startswith("tagged")) == THREADS * CALLS_EACH
    assert {o for o in outcomes if o != "done" and not o.startswith("tagged")} == EXPECTED
    for index, place in enumerate(PLACES):
        expected = {arn: name for actor in actors for arn, name in actor.own[place].items()} | {shared[place]: "shared"}
        with resources.begin(write=False) as transaction:
            assert {c.arn: c.body["name"] for c in transaction.find(place, "channel")} == expected
            assert transaction.count(place, "stream-key") == len(expected)
            assert transaction.count(place, "playback-key") == 0
            assert (
                transaction.count(place, "failover-slate-configuration") <= KINDS["failover-slate-configuration"].quota
            )
        tags = local.call(place, "ListTagsForResource", {"resourceArn": shared[place]}, "")["tags"]
        assert tags == {
            f"t{actor.number}": str(count) for actor in actors if (count := actor.outcomes[f"tagged {index}"])
        }
    resources.close()
