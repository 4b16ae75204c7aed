"""Brings an account of the local IVS to what a seed file says.

Invariants
- Everything happens in one transaction: a file that breaks a rule of IVS changes nothing.
- It may be applied again. A channel or policy is found by its name and changed where it differs, a key pair by its
  public key; what the file does not name stays as it is.
- Each resource is created by IVS's own operation, so the file can have nothing that a client could not create.
- IVS refuses to change a live channel, and a stream keeps the restriction policy that it started with. Where one of the
  two differs, the stream is stopped for the change and started again, since at the start of a server nobody else could
  stop it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from tokensvc.aws.arn import AccountRegion
from tokensvc.clock import Clock
from tokensvc.errors import SettingsError
from tokensvc.local_ivs import api_model
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.id_generators import RandomString
from tokensvc.local_ivs.live_streams import stream_of
from tokensvc.local_ivs.resource_store import Resource, ResourceStore, ResourceTransaction
from tokensvc.local_ivs.resources.channels import CHANNEL
from tokensvc.local_ivs.resources.playback_key_pairs import PLAYBACK_KEY_PAIR, strict_der
from tokensvc.local_ivs.resources.restriction_policies import RESTRICTION_POLICY
from tokensvc.local_ivs.resources.types import ResourceType
from tokensvc.local_ivs.seed_file import ChannelSeed, KeyPairSeed, RestrictionPolicySeed, SeedFile
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.simulator import PrepareMedia, Simulator, prepare_nothing


def apply_seed(
    file: SeedFile,
    here: AccountRegion,
    resources: ResourceStore,
    clock: Clock,
    random_string: RandomString,
    prepare_media: PrepareMedia = prepare_nothing,
) -> None:
    """Create and change the resources of an account as the file says, in the region that it names or else in this one.

    Raises SettingsError; then nothing has changed.
    """
    account_region = here._replace(region=file.seed.region or here.region)
    with resources.begin(write=True) as transaction:
        store = _OneTransaction(resources, transaction)
        ivs = LocalIvs(api_model.load(), store, clock, random_string, page_secret=b"")
        streams = Simulator(store, clock, random_string, prepare_media)
        _Seeding(file, account_region, transaction, ivs, streams).apply()


class _Seeding:
    """One application of a seed file."""

    def __init__(
        self,
        file: SeedFile,
        account_region: AccountRegion,
        transaction: ResourceTransaction,
        ivs: LocalIvs,
        streams: Simulator,
    ) -> None:
        self._file = file
        self._account_region = account_region
        self._transaction = transaction
        self._ivs = ivs
        self._streams = streams

    def apply(self) -> None:
        seed = self._file.seed
        if self._account_region.region not in api_model.regions():
            raise SettingsError([self._file.error(("region",), "must be a region of Amazon IVS")])
        policies = {}
        for name, policy in seed.restriction_policies.items():
            with self._located("restriction_policies", name):
                policies[name] = self._policy(name, policy)
        for name, pair in seed.playback_key_pairs.items():
            with self._located("playback_key_pairs", name):
                self._key_pair(name, pair)
        for name, channel in seed.channels.items():
            with self._located("channels", name):
                self._channel(name, channel, policies.get(channel.restriction_policy or "", ""))

    def _policy(self, name: str, policy: RestrictionPolicySeed) -> str:
        """Create or change a policy; return its ARN."""
        members = {
            "allowedCountries": policy.allowed_countries,
            "allowedOrigins": policy.allowed_origins,
            "enableStrictOriginEnforcement": policy.strict_origin_enforcement,
        }
        return self._create_or_update(RESTRICTION_POLICY, name, members, policy.tags)

    def _channel(self, name: str, channel: ChannelSeed, policy_arn: str) -> None:
        """A stream is stopped before its channel is changed, since a live channel cannot be."""
        members = {"authorized": channel.authorized, "playbackRestrictionPolicyArn": policy_arn}
        found = self._find(CHANNEL, name)
        was_live = found is not None and self._is_live(found.arn)
        if found is not None and was_live:
            differs = _differing(found, members) or self._enforces_another_policy(found, policy_arn)
            if differs or channel.live is False:
                self._streams.stop(found.arn)
        arn = self._create_or_update(CHANNEL, name, members, channel.tags)
        shall_be_live = was_live if channel.live is None else channel.live
        if shall_be_live and not self._is_live(arn):
            self._streams.start(arn)

    def _key_pair(self, name: str, pair: KeyPairSeed) -> None:
        digest = hashlib.sha256(strict_der(pair.public_key)).hexdigest()
        found = self._transaction.find(self._account_region, PLAYBACK_KEY_PAIR.kind, unique_key=digest)
        if found:
            self._set_tags(found[0], pair.tags)
        else:
            request = {"name": name, "publicKeyMaterial": pair.public_key, "tags": pair.tags}
            self._call(PLAYBACK_KEY_PAIR.operations["create"].name, request)

    def _create_or_update(
        self, resource_type: ResourceType, name: str, members: Mapping[str, Any], tags: Mapping[str, str]
    ) -> str:
        """Create the resource with this name, or change what differs; return its ARN."""
        operations, found = resource_type.operations, self._find(resource_type, name)
        if found is None:
            created = self._call(operations["create"].name, {"name": name, "tags": tags, **members})
            return str(created[resource_type.member]["arn"])
        if changed := _differing(found, members):
            self._call(operations["update"].name, {"arn": found.arn, **changed})
        self._set_tags(found, tags)
        return found.arn

    def _find(self, resource_type: ResourceType, name: str) -> Resource | None:
        """The first resource with this name."""
        page = self._transaction.page(self._account_region, resource_type.kind, after=0, limit=1, equal={"name": name})
        return page[0][1] if page else None

    def _is_live(self, channel_arn: str) -> bool:
        return stream_of(self._transaction, channel_arn) is not None

    def _enforces_another_policy(self, channel: Resource, policy_arn: str) -> bool:
        """Whether the channel's stream started with other restrictions than the policy has now."""
        stream, policy = stream_of(self._transaction, channel.arn), self._transaction.get(policy_arn)
        enforced = stream and stream.body["playbackRestrictionPolicy"]
        return _restrictions(enforced) != _restrictions(policy and policy.body)

    def _set_tags(self, resource: Resource, tags: Mapping[str, str]) -> None:
        before: Mapping[str, str] = resource.body["tags"]
        if removed := sorted(before.keys() - tags.keys()):
            self._call("UntagResource", {"resourceArn": resource.arn, "tagKeys": removed})
        if tags and before != tags:
            self._call("TagResource", {"resourceArn": resource.arn, "tags": tags})

    def _call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        return self._ivs.call(self._account_region, operation, request, base_url="")

    @contextmanager
    def _located(self, table: str, name: str) -> Iterator[None]:
        """Turn an error of IVS into one of the file."""
        try:
            yield
        except IvsError as error:
            raise SettingsError([self._file.error((table, name), f"is refused by IVS: {error.message}")]) from None


def _restrictions(policy: Mapping[str, Any] | None) -> list[Any]:
    members = ("allowedCountries", "allowedOrigins", "enableStrictOriginEnforcement")
    return [policy and policy[member] for member in members]


def _differing(found: Resource, members: Mapping[str, Any]) -> dict[str, Any]:
    """The members whose values are not those of the resource."""
    return {member: value for member, value in members.items() if found.body[member] != value}


class _OneTransaction:
    """A store whose every transaction is part of the same one."""

    def __init__(self, store: ResourceStore, transaction: ResourceTransaction) -> None:
        self._store = store
        self._transaction = transaction

    def begin(self, *, write: bool) -> AbstractContextManager[ResourceTransaction]:  # noqa: ARG002 - it is a writing one
        return nullcontext(self._transaction)

    def get_or_create_secret(self, name: str, create: Callable[[], bytes]) -> bytes:
        return self._store.get_or_create_secret(name, create)

    def get_number(self, name: str) -> float:
        return self._store.get_number(name)

    def set_number(self, name: str, value: float) -> None:
        self._store.set_number(name, value)
