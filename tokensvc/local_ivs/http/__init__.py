"""The local IVS's and the edge's URLs, which `serve` never mounts.

`build` makes all of it from a store, settings and a clock. `tokensvc demo` mounts its `routes` beside the service;
`tokensvc ivs serve` listens with `site`. `management_app` gets a loopback listener of its own in both.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from tokensvc.clock import Clock
from tokensvc.local_ivs import api_model
from tokensvc.local_ivs.clock import AdvanceableClock
from tokensvc.local_ivs.edge.playback import PlaybackHandler
from tokensvc.local_ivs.faults import Faults
from tokensvc.local_ivs.http.edge import PATHS as EDGE_PATHS
from tokensvc.local_ivs.http.edge import EdgeApp
from tokensvc.local_ivs.http.ivs_api import IvsApi
from tokensvc.local_ivs.http.lifespan import run_lifespan
from tokensvc.local_ivs.http.management import ManagementContext, management_app
from tokensvc.local_ivs.rate_limits import OperationRateLimiter
from tokensvc.local_ivs.resource_store import ResourceStore
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.sigv4 import Credentials, AccessKeySecret, SignatureVerifier
from tokensvc.local_ivs.simulator import Simulator
from tokensvc.local_ivs.stream_store import StreamSource
from tokensvc.local_ivs.viewers import Viewers

NOT_AWS = "This is tokensvc's local IVS, a stand-in for development and tests. It is not AWS, and not for production."
DEFAULT_CREDENTIALS: Mapping[str, AccessKeySecret] = {"test": AccessKeySecret("test", "000000000000")}
PAGE_SECRET_BYTES = 32
_CLOCK = "clock_offset_seconds"


@dataclass(frozen=True)
class LocalIvsSettings:
    """What whoever starts the local IVS may choose."""

    credentials: Credentials = field(default_factory=lambda: DEFAULT_CREDENTIALS)
    prefix: str = ""
    """Where the API is mounted: "" or "/ivs"."""
    public_url: str | None = None
    """What playback URLs begin with; None for the Host that the caller used."""
    rates: bool = True
    """Whether callers are held to IVS's own rates."""
    any_region: bool = False
    """Whether calls may be signed for regions in which there is no IVS."""


@dataclass(frozen=True, kw_only=True)
class LocalIvsComponents:
    """The applications, and the local IVS itself for whoever is in the same process."""

    api: ASGIApp
    edge: ASGIApp
    site: ASGIApp
    """Both on one listener."""
    management_app: ASGIApp
    ivs: LocalIvs
    clock: AdvanceableClock
    streams: StreamSource
    closing: threading.Event
    """To be set before the management listener is closed: whoever listens to events is let go."""


def build(resources: ResourceStore, settings: LocalIvsSettings, clock: AdvanceableClock) -> LocalIvsComponents:
    """Put the local IVS together. `clock` is its own time; signatures are dated by the clock that it stands on."""
    model, viewers, faults, closing = api_model.load(), Viewers(), Faults(), threading.Event()
    page_secret = resources.secret("pages", lambda: secrets.token_bytes(PAGE_SECRET_BYTES))
    rates = OperationRateLimiter() if settings.rates else None
    ivs = LocalIvs(
        model=model,
        resources=resources,
        clock=clock,
        token=random_string,
        page_secret=page_secret,
        viewers=viewers,
        rates=rates,
        faults=faults,
    )
    verifier = SignatureVerifier(api_model.SERVICE, settings.credentials, None if settings.any_region else api_model.regions())
    api = IvsApi(
        local=ivs,
        model=model,
        verifier=verifier,
        wall_clock=clock.base,
        faults=faults,
        prefix=settings.prefix,
        public_url=settings.public_url,
    )
    edge = EdgeApp(PlaybackHandler(resources, random_string, viewers), clock, public_url=settings.public_url)
    streams = Simulator(resources, clock, random_string)
    managed = ManagementContext(model=model, resources=resources, clock=clock, streams=streams, faults=faults, closing=closing)
    return LocalIvsComponents(
        api=api,
        edge=edge,
        site=_site(api, edge),
        management=management_app(managed),
        ivs=ivs,
        clock=clock,
        streams=streams,
        closing=closing,
    )


def stored_clock(resources: ResourceStore, base: Clock) -> AdvanceableClock:
    """The local IVS's own time, as far ahead of `base` as it was when these resources were last used."""
    return AdvanceableClock(base, resources.number(_CLOCK), lambda offset: resources.store_number(_CLOCK, offset))


def routes(parts: LocalIvsComponents, prefix: str) -> list[Mount]:
    """API and edge for an application that has other routes too; `prefix` as in the settings."""
    return [Mount(prefix, app=parts.api), *(Mount(path.rstrip("/"), app=parts.edge) for path in EDGE_PATHS)]


def random_string(alphabet: str, length: int) -> str:
    """Characters that nobody can guess."""
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _site(api: ASGIApp, edge: ASGIApp) -> ASGIApp:
    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await run_lifespan(receive, send)
        return await (edge if scope["path"].startswith(EDGE_PATHS) else api)(scope, receive, send)

    return site
