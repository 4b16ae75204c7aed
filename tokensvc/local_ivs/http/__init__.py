"""The HTTP interfaces of the local IVS: API, playback edge and management listener. `serve` never mounts them.

`build` makes all of them from a store, settings and a clock. `tokensvc demo` mounts the `routes` beside the service;
`tokensvc ivs serve` serves `site`. In both, `management` has a loopback listener of its own.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from tokensvc.clock import Clock
from tokensvc.local_ivs import api_model
from tokensvc.local_ivs.clock import AdvanceableClock
from tokensvc.local_ivs.edge.countries import CountrySource, NoCountries
from tokensvc.local_ivs.edge.delivery import Delivery
from tokensvc.local_ivs.edge.playback import PlaybackHandler
from tokensvc.local_ivs.edge.sessions import MAX_CONCURRENT_VIEWS, Sessions
from tokensvc.local_ivs.faults import Faults
from tokensvc.local_ivs.http.asgi import run_lifespan
from tokensvc.local_ivs.http.edge import PATHS as EDGE_PATHS
from tokensvc.local_ivs.http.edge import EdgeApp
from tokensvc.local_ivs.http.ivs_api import IvsApi
from tokensvc.local_ivs.http.management import ManagementContext, management_app
from tokensvc.local_ivs.live_streams import StreamSource
from tokensvc.local_ivs.media.loop import MediaLibrary
from tokensvc.local_ivs.media.ready_made import ReadyMadeLibrary
from tokensvc.local_ivs.rate_limits import OperationRateLimiter
from tokensvc.local_ivs.resource_store import ResourceStore
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.sigv4 import AccessKeySecret, Credentials, SignatureVerifier
from tokensvc.local_ivs.simulator import Simulator

NOT_AWS = "This is tokensvc's local IVS, a stand-in for development and tests. It is not AWS, and not for production."
DEFAULT_CREDENTIALS: Mapping[str, AccessKeySecret] = {"test": AccessKeySecret("test", "000000000000")}
PAGE_SECRET_BYTES = 32
_CLOCK_OFFSET = "clock_offset_seconds"


@dataclass(frozen=True)
class LocalIvsSettings:
    """Settings of the local IVS."""

    credentials: Credentials = field(default_factory=lambda: DEFAULT_CREDENTIALS)
    prefix: str = ""
    """The path under which the API is mounted: "" or "/ivs"."""
    public_url: str | None = None
    """The URL with which playback URLs begin; None uses the Host header of the request."""
    rate_limits: bool = True
    """Whether IVS's rate limits are enforced."""
    any_region: bool = False
    """Whether requests for regions without IVS are accepted."""
    media: MediaLibrary = field(default_factory=ReadyMadeLibrary)
    """What the edge plays."""
    max_views: int = MAX_CONCURRENT_VIEWS
    """The quota of concurrent views per account and region."""
    propagation_seconds: float = 0.0
    """How much later than the API the edge knows of revocations, of imported and deleted keys, and of deleted
    channels; at most `propagation.MAX_DELAY_SECONDS`."""
    countries: CountrySource = field(default_factory=NoCountries)
    """Determines the viewers' countries, for playback restriction policies."""


@dataclass(frozen=True, kw_only=True)
class LocalIvsComponents:
    """The ASGI applications, and the objects behind them for users in the same process."""

    api: ASGIApp
    edge: ASGIApp
    site: ASGIApp
    """API and edge on one listener."""
    management: ASGIApp
    settings: LocalIvsSettings
    resources: ResourceStore
    ivs: LocalIvs
    clock: AdvanceableClock
    streams: StreamSource
    faults: Faults
    closing: threading.Event
    """Set this before closing the management listener, to end its event streams."""


def build(resources: ResourceStore, settings: LocalIvsSettings, clock: AdvanceableClock) -> LocalIvsComponents:
    """Build the local IVS. `clock` is its time; the dates of signatures are checked against the base of that clock."""
    model, faults, closing = api_model.load(), Faults(), threading.Event()
    page_secret = resources.get_or_create_secret("pages", lambda: secrets.token_bytes(PAGE_SECRET_BYTES))
    rate_limiter = OperationRateLimiter() if settings.rate_limits else None
    ivs = LocalIvs(
        model=model,
        resources=resources,
        clock=clock,
        random_string=random_string,
        page_secret=page_secret,
        rate_limiter=rate_limiter,
        faults=faults,
    )
    regions = None if settings.any_region else api_model.regions()
    verifier = SignatureVerifier(api_model.SERVICE, settings.credentials, regions)
    api = IvsApi(
        local_ivs=ivs,
        model=model,
        verifier=verifier,
        wall_clock=clock.base,
        faults=faults,
        prefix=settings.prefix,
        public_url=settings.public_url,
    )
    sessions = Sessions(resources, random_string, settings.max_views)
    handler = PlaybackHandler(
        resources,
        sessions,
        settings.media,
        random_string,
        countries=settings.countries,
        propagation_seconds=settings.propagation_seconds,
    )
    delivery = Delivery(resources, sessions, settings.media, propagation_seconds=settings.propagation_seconds)
    edge = EdgeApp(handler, delivery, clock, public_url=settings.public_url)
    streams = Simulator(resources, clock, random_string, settings.media.loop_for)
    context = ManagementContext(
        model=model,
        resources=resources,
        clock=clock,
        streams=streams,
        faults=faults,
        sessions=sessions,
        closing=closing,
    )
    return LocalIvsComponents(
        api=api,
        edge=edge,
        site=_site(api, edge),
        management=management_app(context),
        settings=settings,
        resources=resources,
        ivs=ivs,
        clock=clock,
        streams=streams,
        faults=faults,
        closing=closing,
    )


def stored_clock(resources: ResourceStore, base: Clock) -> AdvanceableClock:
    """The clock of the local IVS, as far ahead of `base` as it was when this store was last used."""
    return AdvanceableClock(
        base, resources.get_number(_CLOCK_OFFSET), lambda offset: resources.set_number(_CLOCK_OFFSET, offset)
    )


def routes(components: LocalIvsComponents, prefix: str) -> list[Mount]:
    """Routes of API and edge for an application that has other routes too; `prefix` as in the settings."""
    return [Mount(prefix, app=components.api), *(Mount(path.rstrip("/"), app=components.edge) for path in EDGE_PATHS)]


def random_string(alphabet: str, length: int) -> str:
    """A cryptographically random string of characters of the alphabet."""
    table, uneven = _translation(alphabet)
    drawn = b""
    while len(drawn) < length:
        drawn += secrets.token_bytes(2 * length).translate(table, uneven)
    return drawn[:length].decode("latin-1")


@lru_cache(maxsize=16)
def _translation(alphabet: str) -> tuple[bytes, bytes]:
    """For `bytes.translate`: a byte's character, and the bytes that would make the first characters more frequent."""
    characters = alphabet.encode("latin-1")
    table = bytes(characters[byte % len(characters)] for byte in range(256))
    return table, bytes(range(256 - 256 % len(characters), 256))


def _site(api: ASGIApp, edge: ASGIApp) -> ASGIApp:
    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await run_lifespan(receive, send)
        return await (edge if scope["path"].startswith(EDGE_PATHS) else api)(scope, receive, send)

    return site
