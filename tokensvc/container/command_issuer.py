"""Issues a single token in a command, from the store that the settings name.

Invariants
- The same snapshot, checks and preparation as in a worker: a denied viewer, a stale clock or a missing key is refused
  with the same errors.
- The audit record is written before the token is returned: without the record there is no token.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from time import monotonic
from typing import Any

from tokensvc.audit.requester import Requester
from tokensvc.audit.viewers import ViewerDigests
from tokensvc.background.denylist_sync import DenylistSync
from tokensvc.background.refresh import Refresh
from tokensvc.callers.policy import Caller
from tokensvc.clock import SystemClock
from tokensvc.container.deployment import open_deployment
from tokensvc.container.vault import open_vault
from tokensvc.errors import ControlPlaneError
from tokensvc.jose.signing.openssl import OpenSslSigner
from tokensvc.keys.rotation_policy import max_staleness_seconds
from tokensvc.settings import Settings
from tokensvc.timestamps import rfc3339
from tokensvc.tokens.authorization import authorize
from tokensvc.tokens.channel_cache import ChannelCache
from tokensvc.tokens.issuer import prepare
from tokensvc.tokens.request import TokenRequest
from tokensvc.tokens.snapshot import KnownChannel, Snapshot, require_fresh
from tokensvc.tokens.token_response import require_channel, token_response
from tokensvc.tokens.viewer_id_resolver import ViewerIdResolver

ACTION = "tokens.issue"
_POLL_SECONDS = 0.05
_LOOKUP_MAX_SECONDS = 10
"""For the turn of this process: the deployment's workers share one rate of calls."""


def issue_token(settings: Settings, caller: Caller, request: TokenRequest, requester: Requester) -> dict[str, Any]:
    """Issue one token; returns the members of a token response. Raises as `POST /v1/tokens` does, and SettingsError."""
    clock = SystemClock()
    control_plane, store, cipher = open_deployment(settings)
    try:
        refresh = Refresh(
            versions=store.versions,
            deployment=store.deployment,
            keys=store.keys,
            callers=store.callers,
            channels=store.channels,
            denials=DenylistSync(store.denials, pause=lambda _: None),
            vault=open_vault(settings, store, cipher),
            subjects=ViewerIdResolver(store.deployment, lambda: cipher),
            signer=OpenSslSigner(),
            clock=clock,
            max_staleness_seconds=max_staleness_seconds(
                settings.snapshot_lease_seconds, settings.store_timeout_seconds
            ),
        )
        refresh.run_once()
        snapshot = refresh.current
        request, limits = authorize(caller, request, snapshot)
        channels = ChannelCache(
            store=store.channels,
            leases=store.leases,
            control_plane=control_plane,
            clock=clock,
            lookup_timeout_seconds=min(_LOOKUP_MAX_SECONDS, 2 / settings.channel_calls_per_second),
            calls_per_second=settings.channel_calls_per_second,
        )
        channel = _known_channel(request, caller, snapshot, channels)
        now = clock.now()
        require_fresh(snapshot, now, clock.monotonic(), settings.snapshot_lease_seconds)
        unsigned = prepare(request, limits, snapshot, int(now), uuid.uuid4)
        viewer = ViewerDigests(store.audit)(request.viewer_id or request.subject)
        details = {"expires_at": rfc3339(unsigned.exp)}
        store.audit.append([requester.event(ACTION, request.channel_arn, viewer=viewer, details=details)])
        return token_response(unsigned, channel, unsigned.signed())
    finally:
        store.close()


def _known_channel(
    request: TokenRequest, caller: Caller, snapshot: Snapshot, channels: ChannelCache
) -> KnownChannel | None:
    """The channel, from the snapshot, the store or IVS; None if IVS cannot be asked. Raises ChannelNotFound if there is
    no such channel, and PlaybackUrlUnavailable if the request requires its URL."""
    channel = snapshot.channels.get(request.channel_arn)
    if channel is None:
        channel = _looked_up(channels, request.channel_arn, caller.name)
    return require_channel(request, channel)


def _looked_up(channels: ChannelCache, channel_arn: str, caller: str) -> KnownChannel | None:
    """The channel as the store or IVS describes it; None if neither can be asked in time. The workers may have used up
    the rate of calls for the moment."""
    lookup, within_seconds = channels.look_up(channel_arn, caller)
    ends_at = monotonic() + within_seconds
    while not lookup.done() and monotonic() < ends_at:
        try:
            channels.run_once()
        except ControlPlaneError:
            return None
        with suppress(TimeoutError):
            lookup.result(timeout=_POLL_SECONDS)
    return lookup.result() if lookup.done() else None
