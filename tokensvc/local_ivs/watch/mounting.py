"""Puts the watch page beside the local IVS: with routes in `demo`, around the whole listener in `ivs serve`."""

from __future__ import annotations

from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs import api_model
from tokensvc.local_ivs.http import LocalIvsComponents
from tokensvc.local_ivs.watch.actions import WatchContext
from tokensvc.local_ivs.watch.page import PATH, WatchPage
from tokensvc.local_ivs.watch.token_source import TokenSource


def watch_page(components: LocalIvsComponents, tokens: TokenSource, region: str) -> WatchPage:
    """The page for the channels of all accounts of the local IVS; it creates channels in `region`."""
    settings = components.settings
    accounts = dict.fromkeys(secret.account for secret in settings.credentials.values())
    regions = dict.fromkeys((region, *sorted(api_model.regions())))
    return WatchPage(
        WatchContext(
            ivs=components.ivs,
            resources=components.resources,
            clock=components.clock,
            streams=components.streams,
            tokens=tokens,
            account_regions=[AccountRegion(account, region) for account in accounts for region in regions],
            public_url=settings.public_url,
            propagation_seconds=settings.propagation_seconds,
        )
    )


def page_routes(page: WatchPage) -> list[BaseRoute]:
    """The page's routes, for an application that has other routes too."""
    return [Route(PATH, page), Mount(PATH, app=page)]


def with_page(page: WatchPage, site: ASGIApp) -> ASGIApp:
    """A site whose paths under `/watch` are the page's."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and (scope["path"] == PATH or scope["path"].startswith(f"{PATH}/"))
        await (page if is_page else site)(scope, receive, send)

    return serve
