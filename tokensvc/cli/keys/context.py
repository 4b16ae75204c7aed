"""Opens what the key commands need: the store alone, or store, vault and IVS for reading or for writing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, NamedTuple

import typer

from tokensvc.audit.requester import Requester
from tokensvc.aws.control_plane import ControlPlane
from tokensvc.cli.operator import operator_actor
from tokensvc.cli.output import print_progress
from tokensvc.cli.remedies import failure_text
from tokensvc.container.deployment import deployment_max_staleness, open_deployment
from tokensvc.container.store import open_configured_store
from tokensvc.container.vault import make_read_only_cipher, required_kek_settings
from tokensvc.errors import FieldError, ForeignDeployment, InvalidRequest, TokensvcError
from tokensvc.keys.context import KeysContext
from tokensvc.keys.stale_workers import StaleWorker, find_stale_workers
from tokensvc.keys.views import ReferenceTime
from tokensvc.settings import Settings, read_settings, require
from tokensvc.storage.store import Store
from tokensvc.vault.cipher import SecretCipher

PROGRESS_INTERVAL_SECONDS = 10.0

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="Key id, as shown by `tokensvc keys list`.")]
RegionsOption = Annotated[
    list[str] | None,
    typer.Option("--region", metavar="REGION", help="Region; may be repeated. Default: all configured regions."),
]


class KeysSession(NamedTuple):
    """What a key command works with: an open store, and the context of the use cases."""

    settings: Settings
    store: Store
    context: KeysContext
    regions: tuple[str, ...]
    """The configured regions, into which keys are imported."""


@contextmanager
def open_store() -> Iterator[tuple[Settings, Store]]:
    """Open the store only, for commands that need neither IVS nor the vault."""
    settings = read_settings(os.environ)
    store = open_configured_store(settings)
    try:
        yield settings, store
    finally:
        store.close()


@contextmanager
def open_for_write() -> Iterator[KeysSession]:
    """Open store, vault and IVS; binds the store to the control plane and registers a new wrapping key."""
    settings = read_settings(os.environ)
    control_plane, store, cipher = open_deployment(settings)
    try:
        yield _make_session(settings, store, control_plane, cipher)
    finally:
        store.close()


@contextmanager
def open_read_only(settings: Settings | None = None) -> Iterator[KeysSession]:
    """Open store, vault and IVS without changing anything: nothing is bound or registered. The settings are read
    unless they are given: what a pipe held cannot be read twice."""
    from tokensvc.container.control_plane import make_control_plane  # loads boto3

    settings = settings or read_settings(os.environ)
    require(settings, "control_plane", "database_url", *required_kek_settings(settings))
    control_plane = make_control_plane(settings)
    store = open_configured_store(settings)
    try:
        bound = store.deployment.read().control_plane
        if bound not in (None, settings.control_plane):
            raise ForeignDeployment(f"the store belongs to control plane {bound}, not to {settings.control_plane}")
        yield _make_session(settings, store, control_plane, make_read_only_cipher(settings, store))
    finally:
        store.close()


def require_configured_regions(regions: Sequence[str], given: Sequence[str] | None) -> tuple[str, ...]:
    """The given regions, or all by default. Raises InvalidRequest for a region that is not one of `regions`."""
    unknown = [region for region in given or () if region not in regions]
    if unknown:
        known = ", ".join(regions)
        raise InvalidRequest([FieldError("--region", f"{region} is not one of {known}") for region in unknown])
    return tuple(dict.fromkeys(given)) if given else tuple(regions)


def reference_time(settings: Settings, store: Store) -> ReferenceTime:
    """The store's current time, and the rotation policy from which deadlines are computed."""
    policy = store.deployment.read().rotation_policy(deployment_max_staleness(settings, store))
    return ReferenceTime(datetime.fromtimestamp(store.versions.read().now, UTC), policy)


def list_stale_workers(store: Store, at: ReferenceTime) -> list[StaleWorker]:
    """The workers that may still use an older key set."""
    return find_stale_workers(store.workers.list(), store.versions.read().keys, at.now)


def _make_session(settings: Settings, store: Store, control_plane: ControlPlane, cipher: SecretCipher) -> KeysSession:
    from tokensvc.container.control_plane import configured_regions
    from tokensvc.container.keys_context import make_command_context

    context = make_command_context(settings, store, control_plane, cipher, print_progress, Requester(operator_actor()))
    return KeysSession(
        settings, store, replace(context, sleep=_sleep, report_failure=_report_failure), configured_regions(settings)
    )


def _report_failure(region: str, error: TokensvcError) -> None:
    print_progress(f"{region}: skipped, will retry: {failure_text(error)}")


def _sleep(seconds: float) -> None:
    """Wait, and print the remaining time at intervals."""
    ends_at = time.monotonic() + seconds
    while (remaining := ends_at - time.monotonic()) > 0:
        if remaining < seconds - 1:
            print_progress(f"  {remaining:.0f} s remaining")
        time.sleep(min(remaining, PROGRESS_INTERVAL_SECONDS))
