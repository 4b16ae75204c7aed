"""LocalIVS: a local IVS in the process of the tests.

Invariants
- It is ready when the block begins, and everything of it is gone when the block ends. Its state is in memory.
- The environment stays as it is: only an account that is entered changes it (`account.py`).
- Each `new_account` has a number that no other account of this local IVS has.
"""

from __future__ import annotations

import itertools
import secrets
import tempfile
from contextlib import ExitStack
from functools import cached_property
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tokensvc.aws.arn import AccountRegion
from tokensvc.clock import SystemClock
from tokensvc.local_ivs.http import DEFAULT_CREDENTIALS, LocalIvsComponents, LocalIvsSettings, build, random_string
from tokensvc.local_ivs.sigv4 import AccessKeySecret
from tokensvc.local_ivs.storage import SqliteResourceStore
from tokensvc.testing.account import AccessKey, IvsAccount, ServiceFiles
from tokensvc.testing.clock import ResettableClock
from tokensvc.testing.edge import Edge
from tokensvc.testing.faults import IvsFaults
from tokensvc.testing.server_thread import serving

REGION = "us-east-1"
_FIRST_ACCOUNT = 100_000_000_001
_INSIDE = ("url", "components", "account", "clock", "faults", "edge")
"""The attributes that a LocalIVS has inside its block only."""


class LocalIVS:
    """A local IVS that runs inside a `with` block:

    with LocalIVS() as ivs, ivs.new_account() as account:
        channel = account.create_channel()
        assert ivs.edge.open(channel.playback_url).rule == "segments"
    """

    url: str
    """The URL of the IVS API and the playback edge."""
    components: LocalIvsComponents
    """The objects behind it."""
    account: IvsAccount
    """The account 000000000000, whose access key is `test` with the secret `test`."""
    clock: ResettableClock
    """Its time: `clock.advance(seconds)` lets time pass."""
    faults: IvsFaults
    """Makes calls of IVS fail."""
    edge: Edge
    """Opens playback URLs."""

    def __init__(
        self, *, seed: str | PathLike[str] | None = None, region: str = REGION, rate_limits: bool = False
    ) -> None:
        """`seed` is a seed file for `account`. `region` is that of all accounts. IVS's rate limits are enforced only
        with `rate_limits`, since most tests call IVS more often than an app does."""
        self.region = region
        self._seed = seed
        self.credentials: dict[str, AccessKeySecret] = {}
        self._rate_limits = rate_limits
        self._numbers = itertools.count(_FIRST_ACCOUNT)
        self._block = ExitStack()

    def __repr__(self) -> str:
        return f"LocalIVS(url={getattr(self, 'url', None)!r}, region={self.region!r})"

    def __enter__(self) -> Self:
        """Raises SettingsError if the seed file is refused, and RuntimeError if this is inside its block already."""
        if "url" in vars(self):
            raise RuntimeError("this LocalIVS is running already: use it, or create another one")
        with ExitStack() as entered:
            entered.callback(self._forget)
            resources = SqliteResourceStore(":memory:")
            entered.callback(resources.close)
            self.clock = ResettableClock(SystemClock())
            settings = LocalIvsSettings(credentials=self.credentials, rate_limits=self._rate_limits)
            self.components = build(resources, settings, self.clock)
            entered.callback(self.components.closing.set)
            self.url = entered.enter_context(serving(self.components.site, "local-ivs"))
            self.faults, self.edge = IvsFaults(self.components.faults), Edge(self.url)
            self.account = self._account(AccessKey(*next(iter(DEFAULT_CREDENTIALS.items()))), self._seed)
            entered.callback(self.account.close)
            self._block.push(entered.pop_all())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._block.close()

    def _forget(self) -> None:
        """Remove what is there inside the block only."""
        for name in (*_INSIDE, "service_files"):
            vars(self).pop(name, None)

    if not TYPE_CHECKING:  # a type checker would take every name for an attribute

        def __getattr__(self, name: str) -> object:
            if name in _INSIDE:
                raise AttributeError(f"LocalIVS has {name!r} inside its block only: with LocalIVS() as ivs: ...")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def new_account(self, *, seed: str | PathLike[str] | None = None) -> IvsAccount:
        """An account with what a seed file says, or with nothing in it. Enter it to make boto3 use it.

        Raises SettingsError if the seed file is refused.
        """
        number = next(self._numbers)
        secret = AccessKeySecret(secrets.token_hex(20), str(number))
        return self._account(AccessKey(f"AKIA{number}", secret), seed)

    def _account(self, access_key: AccessKey, seed: str | PathLike[str] | None) -> IvsAccount:
        if seed is not None:
            from tokensvc.local_ivs.seed_file import read_seed_file
            from tokensvc.local_ivs.seeding import apply_seed

            here, resources = AccountRegion(access_key.secret.account, self.region), self.components.resources
            apply_seed(read_seed_file(seed), here, resources, self.clock, random_string)
        return IvsAccount(self, access_key)

    @cached_property
    def boto3_session(self) -> Any:
        """A boto3 session of its own: one that an app configures, or that moto replaces, stays as it is. botocore loads
        its description of IVS once in it."""
        import boto3
        import botocore.session

        return boto3.session.Session(botocore_session=botocore.session.Session())

    @cached_property
    def service_files(self) -> ServiceFiles:
        """Where the stores of token services are, until the block ends."""
        from tokensvc.testing.token_service import create_store

        folder = Path(self._block.enter_context(tempfile.TemporaryDirectory(prefix="tokensvc-")))
        empty_store = folder / "empty.db"
        create_store(empty_store)
        return ServiceFiles(folder, empty_store)
