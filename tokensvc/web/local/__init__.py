"""The local IVS's and the edge's URLs, which `serve` never mounts.

`build` makes all of it from a store, settings and a clock. `tokensvc demo` mounts `api` and `edge` beside the service;
`tokensvc ivs serve` listens with `site`. `management` gets a loopback listener of its own in both.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from tokensvc.edge.gate import Gate
from tokensvc.ivs import surface
from tokensvc.ivs.clock import AdvanceableClock
from tokensvc.ivs.embedded import LocalIvs
from tokensvc.ivs.sigv4 import Credentials, Secret, Verifier
from tokensvc.ports.resources import Resources
from tokensvc.web.local.edge import PATHS as EDGE_PATHS
from tokensvc.web.local.edge import EdgeApp
from tokensvc.web.local.ivs_api import IvsApi
from tokensvc.web.local.management import management
from tokensvc.web.local.wire import live

NOT_AWS = "This is tokensvc's local IVS, a stand-in for development and tests. It is not AWS, and not for production."
DEFAULT_CREDENTIALS: Mapping[str, Secret] = {"test": Secret("test", "000000000000")}
PAGE_SECRET_BYTES = 32


@dataclass(frozen=True)
class LocalIvsSettings:
    """What whoever starts the local IVS may choose."""

    credentials: Credentials = field(default_factory=lambda: DEFAULT_CREDENTIALS)
    prefix: str = ""
    """Where the API is mounted: "" or "/ivs"."""
    public_url: str | None = None
    """What playback URLs begin with; None for the Host that the caller used."""


class LocalIvsParts(NamedTuple):
    """The applications, and the local IVS itself for whoever is in the same process."""

    api: ASGIApp
    edge: ASGIApp
    site: ASGIApp
    """Both on one listener."""
    management: ASGIApp
    ivs: LocalIvs
    clock: AdvanceableClock


def build(resources: Resources, settings: LocalIvsSettings, clock: AdvanceableClock) -> LocalIvsParts:
    """Put the local IVS together. `clock` is its own time; signatures are dated by the clock that it stands on."""
    model = surface.load()
    ivs = LocalIvs(model, resources, clock, random_token, secrets.token_bytes(PAGE_SECRET_BYTES))
    verifier = Verifier(surface.SERVICE, settings.credentials)
    api = IvsApi(ivs, model, verifier, clock.base, prefix=settings.prefix, public_url=settings.public_url)
    edge = EdgeApp(Gate(resources, random_token), clock, public_url=settings.public_url)
    return LocalIvsParts(api, edge, _site(api, edge), management(clock), ivs, clock)


def random_token(alphabet: str, length: int) -> str:
    """Characters that nobody can guess."""
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _site(api: ASGIApp, edge: ASGIApp) -> ASGIApp:
    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await live(receive, send)
        return await (edge if scope["path"].startswith(EDGE_PATHS) else api)(scope, receive, send)

    return site
