"""Puts into a fresh demo what a newcomer needs: a private channel, a signing key, a caller.

Rules of the file
- Everything goes the way a user's would: the channel by boto3, the key by the lifecycle, the caller by the store.
- What is there already is found again, but for the API key: only its digest is kept, so each start makes a new one.
  A key whose private half, or whose pair in the local IVS, was deleted is followed by a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from tokensvc import wiring
from tokensvc.adapters.aws import AwsControlPlane
from tokensvc.core.arn import Place, parse_arn
from tokensvc.core.lifecycle import KeyState
from tokensvc.core.policy import ALL_CHANNELS, CallerPolicy
from tokensvc.errors import CallerNotFound, PrivateKeyMissing, ResourceMissing, Throttled
from tokensvc.rotate.wishes import rotate
from tokensvc.rotate.world import World
from tokensvc.settings import read_settings

CHANNEL_NAME = "demo"
CALLER_NAME = "demo"
THROTTLED_TRIES = 20
THROTTLED_PAUSE_SECONDS = 0.5


class Furniture(NamedTuple):
    """What is there now."""

    channel_arn: str
    playback_url: str
    api_key: str


def furnish(environ: Mapping[str, str], region: str, report: Callable[[str], None]) -> Furniture:
    """Make or find everything. Raises TokensvcError."""
    settings = read_settings(environ)
    channel = _channel(region)
    world = wiring.key_world(settings, report)
    place = parse_arn(channel["arn"], "channel").place
    if not _has_key(world, place):
        _forget_what_is_gone(world, place)
        rotate(world, [region], "the demo")
    store = wiring.store_of(settings)
    try:
        api_key, secret = wiring.new_api_key()
        try:
            present = store.callers.get(CALLER_NAME)
            store.callers.rotate_secret(CALLER_NAME, present.secrets[0].key_id, secret, datetime.now(UTC))
        except CallerNotFound:
            store.callers.add(CALLER_NAME, CallerPolicy((ALL_CHANNELS,), allow_anonymous_viewers=True), secret)
    finally:
        store.close()
    return Furniture(channel["arn"], channel["playbackUrl"], api_key)


def _has_key(world: World, place: Place) -> bool:
    """Whether a key signs there whose private half is in the vault and whose public half IVS holds."""
    places = ((r.id, t) for r in world.keys.list() for t in r.places)
    active = next(((key_id, t.arn) for key_id, t in places if t.place == place and t.state is KeyState.ACTIVE), None)
    if active is None:
        return False
    key_id, arn = active
    try:
        world.vault.open(key_id)
        _get_pair(world, place, arn)
    except (PrivateKeyMissing, ResourceMissing) as gone:
        world.report(f"key {key_id} is of no use any more: {gone.message}")
        return False
    return True


def _forget_what_is_gone(world: World, place: Place) -> None:
    """Note which of the keys that do not sign the local IVS lost with its database. Nobody else would: that IVS shows
    nothing at all may elsewhere mean that it is another account's."""
    for there in (t for r in world.keys.list() for t in r.places if t.place == place):
        if there.is_held and there.state is not KeyState.ACTIVE:
            try:
                _get_pair(world, place, there.arn)
            except ResourceMissing:
                world.keys.begin_delete(there, world.now())
                world.keys.retire(there.key_id, place, world.now())


def _get_pair(world: World, place: Place, arn: str) -> None:
    """Look at a pair that IVS holds. The rotation of the same process looks at the start too, and IVS allows three such
    calls a second: a throttled one is made again. Raises ControlPlaneError."""
    for _ in range(THROTTLED_TRIES):
        with suppress(Throttled):
            world.control_plane.call(place.region, "GetPlaybackKeyPair", {"arn": arn})
            return
        world.sleep(THROTTLED_PAUSE_SECONDS)
    world.control_plane.call(place.region, "GetPlaybackKeyPair", {"arn": arn})


def _channel(region: str) -> Mapping[str, str]:
    control_plane = AwsControlPlane("local")
    found = control_plane.call(region, "ListChannels", {"filterByName": CHANNEL_NAME})["channels"]
    if found:
        answer = control_plane.call(region, "GetChannel", {"arn": found[0]["arn"]})
    else:
        answer = control_plane.call(region, "CreateChannel", {"name": CHANNEL_NAME, "authorized": True})
    channel: Mapping[str, str] = answer["channel"]
    return channel
