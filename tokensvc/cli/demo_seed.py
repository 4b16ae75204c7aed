"""Seeds a demo with a private channel, a signing key and a caller.

Invariants
- Everything is created as a user would: the channel with boto3, the key by the lifecycle, the caller in the store.
- Existing resources are reused. A key whose private key, or whose pair in the local IVS, was deleted is replaced.
- The store has only the API key's digest. The key itself is in a file of mode 0600, and is replaced if that file is
  missing, other users could read it, or the store no longer accepts its content.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

from tokensvc.audit.requester import Requester
from tokensvc.aws.arn import AccountRegion, parse_arn
from tokensvc.aws.ivs import AwsControlPlane
from tokensvc.callers.api_keys import key_digest
from tokensvc.callers.policy import ALL_CHANNELS, SCOPES, CallerPolicy
from tokensvc.callers.store import CallerStore
from tokensvc.cli.connection_info import write_private_file
from tokensvc.cli.operator import operator_actor
from tokensvc.container.api_keys import new_api_key
from tokensvc.container.deployment import open_deployment
from tokensvc.container.keys_context import make_command_context
from tokensvc.errors import (
    CallerNotFound,
    Conflict,
    ControlPlaneResourceMissing,
    ControlPlaneThrottled,
    InvalidKey,
    PrivateKeyMissing,
)
from tokensvc.keys.commands import rotate
from tokensvc.keys.context import KeysContext
from tokensvc.keys.inventory import list_pairs
from tokensvc.keys.lifecycle import KeyState, require_key
from tokensvc.keys.private_keys import open_private_key
from tokensvc.secret_files import InsecureFile, read_private_file
from tokensvc.settings import read_settings

CHANNEL_NAME = "demo"
CALLER_NAME = "demo"
THROTTLES_MAX = 5
_Response = TypeVar("_Response")


class DemoResources(NamedTuple):
    """The demo's resources."""

    channel_arn: str
    playback_url: str
    api_key: str


def seed(environ: Mapping[str, str], region: str, report: Callable[[str], None], api_key_file: Path) -> DemoResources:
    """Create or find all resources. Raises TokensvcError."""
    settings = read_settings(environ)
    channel = _channel(region)
    account_region = parse_arn(channel["arn"], "channel").account_region
    control_plane, store, cipher = open_deployment(settings)
    try:
        context = make_command_context(settings, store, control_plane, cipher, report, Requester(operator_actor()))
        if not _has_usable_key(context, account_region):
            _record_absent_pairs(context, account_region)
            rotate(context, [region], "the demo")
        api_key = _api_key(store.callers, api_key_file)
    finally:
        store.close()
    return DemoResources(channel["arn"], channel["playbackUrl"], api_key)


def _api_key(callers: CallerStore, file: Path) -> str:
    """The API key of the demo's caller: the stored one while it is valid, else a new one. Raises Conflict."""
    try:
        caller = callers.get(CALLER_NAME)
    except CallerNotFound:
        caller = None
    if caller is not None:
        if caller.disabled_at is not None:
            raise Conflict(f"the caller {CALLER_NAME} is disabled, so no token can be requested; run `rm -r .demo`")
        stored_key = _stored_key(file)
        lasting_digests = [secret.digest for secret in caller.secrets if secret.expires_at is None]
        if stored_key and key_digest(stored_key) in lasting_digests:
            return stored_key
    api_key, secret = new_api_key()
    requester = Requester(operator_actor())
    if caller is None:
        policy = CallerPolicy((ALL_CHANNELS,), frozenset(SCOPES), allow_anonymous_viewers=True)
        callers.add(CALLER_NAME, policy, secret, requester.event("callers.add"))
    else:
        event = requester.event("callers.rotate_secret")
        callers.rotate_secret(CALLER_NAME, caller.secrets[0].key_id, secret, datetime.now(UTC), event)
    write_private_file(file, api_key.encode())
    return api_key


def _stored_key(file: Path) -> str:
    """The content of the file; "" if it is missing or other users may have read it."""
    try:
        return read_private_file(file).decode("ascii", "replace").strip()
    except (InsecureFile, OSError):
        return ""


def _has_usable_key(context: KeysContext, account_region: AccountRegion) -> bool:
    """Whether there is an active key whose private key is in the vault and whose public key is in the local IVS."""
    placements = ((r.id, t) for r in context.keys.list() for t in r.placements)
    active = next(
        (
            (key_id, t.arn)
            for key_id, t in placements
            if t.account_region == account_region and t.state is KeyState.ACTIVE
        ),
        None,
    )
    if active is None:
        return False
    key_id, arn = active
    try:
        open_private_key(context.vault, require_key(context.keys.list(), key_id))
        _retry_throttled(
            context, lambda: context.control_plane.call(account_region.region, "GetPlaybackKeyPair", {"arn": arn})
        )
    except (PrivateKeyMissing, InvalidKey, ControlPlaneResourceMissing) as absent:
        context.report(f"key {key_id} can no longer be used: {absent.message}")
        return False
    return True


def _record_absent_pairs(context: KeysContext, account_region: AccountRegion) -> None:
    """Record the keys that the local IVS lost with its database.

    Unlike elsewhere no verification is needed: this demo's own IVS returns a complete list.
    """
    pairs = _retry_throttled(
        context, lambda: list_pairs(context.control_plane, account_region.region, account_region.account)
    )
    arns = {str(pair["arn"]) for pair in pairs}
    records = context.keys.list()
    absent = [
        t
        for r in records
        for t in r.placements
        if t.account_region == account_region and t.is_imported and t.arn not in arns
    ]
    unable = {placement.key_id for placement in absent} | ({record.id for record in records} - context.vault.key_ids())
    for placement in absent:
        context.keys.record_absence(placement, context.now(), context.policy().propagation_seconds, unable=unable)


def _retry_throttled(context: KeysContext, call: Callable[[], _Response]) -> _Response:
    """Call IVS, retrying throttles: the service, which starts at the same time, may use up the rate for a second."""
    for _ in range(THROTTLES_MAX):
        try:
            return call()
        except ControlPlaneThrottled:
            context.sleep(1.0)
    return call()


def _channel(region: str) -> Mapping[str, str]:
    control_plane = AwsControlPlane("local")
    found = control_plane.call(region, "ListChannels", {"filterByName": CHANNEL_NAME})["channels"]
    if found:
        response = control_plane.call(region, "GetChannel", {"arn": found[0]["arn"]})
    else:
        response = control_plane.call(region, "CreateChannel", {"name": CHANNEL_NAME, "authorized": True})
    channel: Mapping[str, str] = response["channel"]
    return channel
