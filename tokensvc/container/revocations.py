"""Assembles the service that accepts revocations, for `serve` and for a command."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from tokensvc.audit.viewers import ViewerDigests
from tokensvc.clock import Clock, StoreClock
from tokensvc.container.deployment import deployment_max_staleness
from tokensvc.container.vault import make_cipher
from tokensvc.revocations.acceptance import ServedRegions
from tokensvc.revocations.service import RevocationService
from tokensvc.settings import Settings
from tokensvc.storage.store import Store
from tokensvc.tokens.viewer_id_resolver import ViewerIdResolver


def make_served_regions(settings: Settings, store: Store) -> ServedRegions:
    """The regions that this deployment serves. boto3's default region is looked up only if nothing else decides."""

    def default_regions() -> tuple[str, ...]:
        from tokensvc.container.control_plane import known_regions  # loads boto3

        return known_regions(settings)

    return ServedRegions(store.keys, store.deployment, default_regions)


def make_revocation_service(
    *,
    settings: Settings,
    store: Store,
    subjects: ViewerIdResolver,
    clock: Clock,
    on_accepted: Callable[[], None] = lambda: None,
) -> RevocationService:
    """Create the service; `on_accepted` is called after each acceptance and must return immediately."""
    return RevocationService(
        store=store.revocations,
        subjects=subjects,
        clock=clock,
        max_staleness=lambda: deployment_max_staleness(settings, store),
        new_id=new_revocation_id,
        regions=make_served_regions(settings, store),
        digest_viewer=ViewerDigests(store.audit),
        on_accepted=on_accepted,
    )


def open_revocation_service(settings: Settings, store: Store) -> RevocationService:
    """The same for a command. A KEK is required only when a subject is given."""
    subjects = ViewerIdResolver(store.deployment, lambda: make_cipher(settings, store))
    clock = StoreClock(store.versions.read().now)
    return make_revocation_service(settings=settings, store=store, subjects=subjects, clock=clock)


def new_revocation_id() -> str:
    """A new random id of a revocation: unique and not guessable."""
    return "r" + secrets.token_hex(8)
