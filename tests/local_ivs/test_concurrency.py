"""Two accounts, two regions, eight threads, ten thousand mixed calls: nothing is lost or leaks across
accounts."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import pytest

from tests.local_ivs.environment import FrozenClock, pem
from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.http import random_string
from tokensvc.local_ivs.model import ApiModel
from tokensvc.local_ivs.resources.registry import RESOURCE_TYPES
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.storage import SqliteResourceStore

ACCOUNT_REGIONS = [
    AccountRegion(*account_region)
    for account_region in product(("000000000000", "111122223333"), ("us-west-2", "eu-west-1"))
]
THREADS, CALLS_EACH = 8, 1250
EXPECTED = {"ServiceQuotaExceededException", "ConflictException", "ResourceNotFoundException"}


class ThreadActor:
    """One thread, which works in every account and region and remembers what it did there."""

    def __init__(self, local: LocalIvs, shared: dict[AccountRegion, str], number: int) -> None:
        self.local, self.shared, self.number = local, shared, number
        self.rng = random.Random(number)
        self.own: dict[AccountRegion, dict[str, str]] = {account_region: {} for account_region in ACCOUNT_REGIONS}
        """Channel of this thread -> the name that it set last."""
        self.outcomes: Counter[str] = Counter()

    def run(self) -> None:
        actions = (self.create, self.rename, self.rename, self.read, self.read, self.list, self.tag, self.delete)
        for _ in range(CALLS_EACH):
            action = self.rng.choice((*actions, self.import_key, self.replace_slate))
            try:
                action(self.rng.choice(ACCOUNT_REGIONS))
                self.outcomes["done"] += 1
            except IvsError as error:
                self.outcomes[error.code] += 1

    def call(self, account_region: AccountRegion, operation: str, **request: Any) -> dict[str, Any]:
        return self.local.call(account_region, operation, request, "")

    def create(self, account_region: AccountRegion) -> None:
        if len(self.own[account_region]) > 20:
            return self.read(account_region)
        name = f"t{self.number}-{self.rng.random():.9f}".replace(".", "-")
        self.own[account_region][self.call(account_region, "CreateChannel", name=name)["channel"]["arn"]] = name
        return None

    def rename(self, account_region: AccountRegion) -> None:
        if self.own[account_region]:
            arn = self.rng.choice(sorted(self.own[account_region]))
            self.own[account_region][arn] = name = f"t{self.number}-{self.rng.randrange(10**9)}"
            assert self.call(account_region, "UpdateChannel", arn=arn, name=name)["channel"]["name"] == name

    def read(self, account_region: AccountRegion) -> None:
        if self.own[account_region]:
            arn = self.rng.choice(sorted(self.own[account_region]))
            assert self.call(account_region, "GetChannel", arn=arn)["channel"]["name"] == self.own[account_region][arn]
            elsewhere = self.rng.choice([other for other in ACCOUNT_REGIONS if other != account_region])
            self.call(elsewhere, "GetChannel", arn=arn)  # rejected

    def list(self, account_region: AccountRegion) -> None:
        listed = self.call(account_region, "ListChannels", maxResults=30)["channels"]
        assert all(
            channel["arn"].split(":")[3:5] == [account_region.region, account_region.account] for channel in listed
        )

    def tag(self, account_region: AccountRegion) -> None:
        """All threads tag one channel per account and region, each with its own counting key."""
        arn = self.shared[account_region]
        count = int(
            self.call(account_region, "ListTagsForResource", resourceArn=arn)["tags"].get(f"t{self.number}", "0")
        )
        self.call(account_region, "TagResource", resourceArn=arn, tags={f"t{self.number}": str(count + 1)})
        self.outcomes[f"tagged {ACCOUNT_REGIONS.index(account_region)}"] += 1

    def delete(self, account_region: AccountRegion) -> None:
        if len(self.own[account_region]) > 10:
            arn, _ = self.own[account_region].popitem()
            self.call(account_region, "DeleteChannel", arn=arn)

    def import_key(self, account_region: AccountRegion) -> None:
        pair = self.call(account_region, "ImportPlaybackKeyPair", publicKeyMaterial=pem(self.rng.randrange(6)))[
            "keyPair"
        ]
        self.call(account_region, "DeletePlaybackKeyPair", arn=pair["arn"])

    def replace_slate(self, account_region: AccountRegion) -> None:
        created = self.call(account_region, "CreateFailoverSlateConfiguration")["failoverSlateConfiguration"]["arn"]
        self.call(
            account_region, "UpdateChannel", arn=self.shared[account_region], failoverSlateConfigurationArn=created
        )
        self.call(
            account_region, "DeleteFailoverSlateConfiguration", arn=created
        )  # rejected, unless another thread was faster


@pytest.mark.slow
def test_ten_thousand_concurrent_calls_lose_and_mix_nothing(model: ApiModel) -> None:
    resources = SqliteResourceStore(":memory:")
    local = LocalIvs(model, resources, FrozenClock(), random_string, b"secret")
    shared = {
        account_region: local.call(account_region, "CreateChannel", {"name": "shared"}, "")["channel"]["arn"]
        for account_region in ACCOUNT_REGIONS
    }
    actors = [ThreadActor(local, shared, number) for number in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as threads:
        for finished in [threads.submit(actor.run) for actor in actors]:
            finished.result()

    outcomes = sum((actor.outcomes for actor in actors), Counter[str]())
    assert sum(n for outcome, n in outcomes.items() if not outcome.startswith("tagged")) == THREADS * CALLS_EACH
    assert {o for o in outcomes if o != "done" and not o.startswith("tagged")} == EXPECTED
    for index, account_region in enumerate(ACCOUNT_REGIONS):
        expected = {arn: name for actor in actors for arn, name in actor.own[account_region].items()} | {
            shared[account_region]: "shared"
        }
        with resources.begin(write=False) as transaction:
            assert {c.arn: c.body["name"] for c in transaction.find(account_region, "channel")} == expected
            assert transaction.count(account_region, "stream-key") == len(expected)
            assert transaction.count(account_region, "playback-key") == 0
            assert (
                transaction.count(account_region, "failover-slate-configuration")
                <= RESOURCE_TYPES["failover-slate-configuration"].quota
            )
        tags = local.call(account_region, "ListTagsForResource", {"resourceArn": shared[account_region]}, "")["tags"]
        assert tags == {
            f"t{actor.number}": str(count) for actor in actors if (count := actor.outcomes[f"tagged {index}"])
        }
    resources.close()
