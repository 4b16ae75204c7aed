"""A token service of its own for a test, on the account of that test.

Invariants
- It is the service that `tokensvc serve` runs, in a thread of this process, with a store of its own: nothing of one
  test, such as a denial, is left for the next.
- It lives in the time of the local IVS: its own clock and that of its store are the one that a test advances.
- When it is ready, its key is imported in the account and active, and its API key may do everything. Its keys are
  deleted from the account when it ends, since IVS holds three in an account and region.
- What it changes in the process is restored: the garbage collector's settings, and structlog's configuration, which it
  leaves alone if an app has one.
"""

from __future__ import annotations

import gc
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from tokensvc.audit.requester import system_requester
from tokensvc.callers.policy import ALL_CHANNELS, SCOPES, CallerPolicy
from tokensvc.clock import Clock
from tokensvc.container.api_keys import new_api_key
from tokensvc.container.application import build_application
from tokensvc.container.deployment import apply_deployment_settings, open_deployment
from tokensvc.container.keys_context import make_command_context
from tokensvc.container.service import Service, assemble
from tokensvc.keys.commands import generate
from tokensvc.log import structlog
from tokensvc.settings import Settings, read_settings
from tokensvc.storage import migrate
from tokensvc.testing.clock import ResettableClock, ServiceClock
from tokensvc.testing.server_thread import serving

CALLER = "tests"
SECONDS_OF_DAY = 86_400
UNIX_EPOCH_JULIAN_DAY = 2_440_587.5
REFRESH_TIMEOUT_SECONDS = 10.0
_REQUESTER = system_requester("tests")


@dataclass(frozen=True)
class TokenService:
    """A running token service."""

    url: str
    api_key: str = field(repr=False)


def create_store(file: Path) -> None:
    """Create an empty store, to be copied for each service: creating one takes longer than starting a service."""
    migrate.upgrade(_url(file))


@contextmanager
def token_service(
    region: str, folder: Path, empty_store: Path, clock: ResettableClock, delete_key_pair: Callable[[str], None]
) -> Iterator[TokenService]:
    """Run a service while the block runs, with its store in the folder. boto3's environment names the account.

    `delete_key_pair` is called with the ARN of each key pair that the service has imported, when it has ended.
    """
    store = folder / f"{secrets.token_hex(8)}.db"
    settings = _settings(region, store)
    with ExitStack() as stack:
        stack.callback(_remove, store)
        shutil.copyfile(empty_store, store)
        stack.enter_context(_own_log())
        stack.enter_context(_garbage_collection_restored())
        api_key = _prepare(settings, region)
        service = assemble(settings, checked=True, clock=ServiceClock(clock))
        stack.callback(service.store.close)
        stack.callback(_delete_key_pairs, service, delete_key_pair)
        _set_clock(service.store.engine, clock)
        application = build_application(service)
        url = stack.enter_context(serving(application.asgi, "tokensvc", application.readiness.drain))
        stack.enter_context(clock.followed_by(lambda: _refresh(service)))
        yield TokenService(url, api_key)


def _delete_key_pairs(service: Service, delete_key_pair: Callable[[str], None]) -> None:
    for placement in (placement for record in service.store.keys.list() for placement in record.placements):
        delete_key_pair(placement.arn)


def _remove(store: Path) -> None:
    for file in store.parent.glob(f"{store.name}*"):  # SQLite's own files among them
        file.unlink()


def _set_clock(engine: sa.Engine, clock: Clock) -> None:
    """Make this clock that of a store: the function of SQLite that `storage/dialect.py` asks for the time."""

    def replace_function(connection: sqlite3.Connection, _record: object) -> None:
        connection.create_function("julianday", 1, lambda _now: clock.now() / SECONDS_OF_DAY + UNIX_EPOCH_JULIAN_DAY)

    sa.event.listen(engine, "connect", replace_function)
    engine.dispose()  # a connection that is open already has SQLite's own


def _refresh(service: Service) -> None:
    """Let the service read its store's time now, which it does twice a second by itself."""
    changed_at = time.monotonic()
    while service.snapshot().refresh_started_at < changed_at:
        if time.monotonic() > changed_at + REFRESH_TIMEOUT_SECONDS:
            raise RuntimeError(f"the token service did not notice the time within {REFRESH_TIMEOUT_SECONDS:g} seconds")
        service.refresh_soon()
        time.sleep(0.002)


def _settings(region: str, store: Path) -> Settings:
    return read_settings(
        {
            "TOKENSVC_CONTROL_PLANE": "local",
            "TOKENSVC_DATABASE_URL": _url(store),
            "TOKENSVC_PASSPHRASE": secrets.token_hex(32),
            "TOKENSVC_VAULT": "store",
            "TOKENSVC_REGIONS": region,
            "TOKENSVC_KEY_PROPAGATION_SECONDS": "0",
            "TOKENSVC_KEY_STANDBY": "false",
            "TOKENSVC_CHANNEL_CALLS_PER_SECOND": "5",
            "TOKENSVC_CHANNEL_LOOKUP_TIMEOUT_SECONDS": "5",
            "TOKENSVC_ACCESS_LOG": "false",
        }
    )


def _prepare(settings: Settings, region: str) -> str:
    """Create a key and a caller; return the caller's API key."""
    control_plane, store, cipher = open_deployment(settings)
    try:
        apply_deployment_settings(settings, store, _REQUESTER)
        context = make_command_context(settings, store, control_plane, cipher, lambda _text: None, _REQUESTER)
        generate(context, [region])
        api_key, secret = new_api_key()
        policy = CallerPolicy((ALL_CHANNELS,), frozenset(SCOPES), allow_anonymous_viewers=True)
        store.callers.add(CALLER, policy, secret, _REQUESTER.event("callers.add"))
    finally:
        store.close()
    return api_key


@contextmanager
def _own_log() -> Iterator[None]:
    """Unless the app has configured structlog, the service's lines go to the standard library's loggers, where pytest
    shows those of a failed test. structlog would print all of them otherwise."""
    if structlog.is_configured():
        yield
        return
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    try:
        yield
    finally:
        structlog.reset_defaults()


@contextmanager
def _garbage_collection_restored() -> Iterator[None]:
    threshold = gc.get_threshold()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)


def _url(store: Path) -> str:
    return f"sqlite:///{store}"
