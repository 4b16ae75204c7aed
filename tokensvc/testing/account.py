"""An AWS account in the local IVS, in which a test creates what it needs.

Invariants
- What is created here skips HTTP, so no injected fault and no rate limit affects it. `client` is an unmodified boto3
  client, which they do affect.
- Nothing of one account is visible in another, as on AWS.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from cryptography.hazmat.primitives import serialization

from tokensvc.aws.arn import AccountRegion
from tokensvc.jose import keypair
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.http import LocalIvsComponents
from tokensvc.local_ivs.sigv4 import AccessKeySecret
from tokensvc.testing.clock import ResettableClock
from tokensvc.testing.environment import aws_environment

if TYPE_CHECKING:
    from tokensvc.testing.token_service import TokenService

MOTO_ACCESS_KEY = ("FOOBARKEY", "FOOBARSECRET")
"""The credentials that `moto.mock_aws` puts into the environment, so that no call reaches AWS."""


class AccessKey(NamedTuple):
    """An access key, with the account that it gives access to."""

    access_key_id: str
    secret: AccessKeySecret


class ServiceFiles(NamedTuple):
    """Where the stores of token services are, and an empty one to copy."""

    folder: Path
    empty_store: Path


class Server(Protocol):
    """What an account needs of the local IVS that it is in."""

    @property
    def url(self) -> str: ...

    @property
    def region(self) -> str: ...

    @property
    def components(self) -> LocalIvsComponents: ...

    @property
    def clock(self) -> ResettableClock: ...

    @property
    def credentials(self) -> MutableMapping[str, AccessKeySecret]:
        """The access keys that it accepts."""
        ...

    @property
    def boto3_session(self) -> Any:
        """A boto3 session that no app configures."""
        ...

    @property
    def service_files(self) -> ServiceFiles:
        """Where the stores of token services are."""
        ...


class Channel(NamedTuple):
    """A channel."""

    arn: str
    name: str
    playback_url: str


@dataclass(frozen=True)
class KeyPair:
    """A playback key pair whose public key is imported into IVS."""

    arn: str
    private_key: str = field(repr=False)
    """The private key as PEM; tokens are signed with it by ES384."""


class IvsAccount:
    """An account. As a context manager, it is the one that boto3 uses inside the block, by AWS's environment variables;
    after the outermost block the local IVS no longer accepts its access key."""

    def __init__(self, server: Server, access_key: AccessKey) -> None:
        self._server = server
        self._access_key = access_key
        self._blocks: list[ExitStack] = []
        """What ends each block that the account was entered for, the outermost first."""
        self._clients = ExitStack()
        server.credentials[access_key.access_key_id] = access_key.secret

    def __repr__(self) -> str:
        return f"IvsAccount({self.account_id!r}, region={self.region!r}, endpoint_url={self.endpoint_url!r})"

    @property
    def account_id(self) -> str:
        """The number of the account: 12 digits."""
        return self._access_key.secret.account

    @property
    def region(self) -> str:
        return self._server.region

    @property
    def endpoint_url(self) -> str:
        """The URL of the IVS API, for a client in any language."""
        return self._server.url

    @property
    def access_key_id(self) -> str:
        return self._access_key.access_key_id

    @property
    def secret_access_key(self) -> str:
        return self._access_key.secret.secret_access_key

    def __enter__(self) -> Self:
        with ExitStack() as entered:
            if not self._blocks:
                self._server.credentials[self.access_key_id] = self._access_key.secret  # an earlier block removed it
                entered.callback(self._server.credentials.pop, self.access_key_id, None)
                entered.callback(self._clients.close)
            entered.enter_context(self._accept_moto_key())
            entered.enter_context(
                aws_environment(self.endpoint_url, self.region, self.access_key_id, self.secret_access_key)
            )
            self._blocks.append(entered.pop_all())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._blocks:  # `close` may have ended them
            self._blocks.pop().close()

    def close(self) -> None:
        """Close the account's clients, and restore what entering it has changed."""
        while self._blocks:
            self._blocks.pop().close()
        self._clients.close()

    def client(self, region: str | None = None, **options: Any) -> Any:
        """A boto3 client of this account; `options` are those of `boto3.client`, such as `config`."""
        from botocore.config import Config

        config = Config(proxies={}).merge(options.pop("config", None) or Config())
        client = self._server.boto3_session.client(
            "ivs",
            region_name=region or self.region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=config,
            **options,
        )
        self._clients.callback(client.close)
        return client

    def create_channel(self, name: str = "", *, authorized: bool = True, live: bool = True, **members: Any) -> Channel:
        """Create a channel, private and live unless said otherwise. `members` are further ones of CreateChannel.

        Raises IvsError.
        """
        request = {"name": name, "authorized": authorized, **members}
        channel = _channel(self._call("CreateChannel", request)["channel"])
        if live:
            self.start_stream(channel.arn)
        return channel

    def channel(self, name: str, *, region: str | None = None) -> Channel:
        """The first channel with this name, of a seed file for example. Raises LookupError."""
        found = self._call("ListChannels", {"filterByName": name}, region)["channels"]
        if not found:
            raise LookupError(f"account {self.account_id} has no channel {name!r} in {region or self.region}")
        return _channel(self._call("GetChannel", {"arn": found[0]["arn"]}, region)["channel"])

    def create_key_pair(self, name: str = "") -> KeyPair:
        """Create a key pair and import its public key. IVS holds three in an account and region. Raises IvsError."""
        private_key = keypair.generate()
        request = {"name": name, "publicKeyMaterial": keypair.public_pem(private_key.public_key())}
        imported = self._call("ImportPlaybackKeyPair", request)["keyPair"]
        pem = private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return KeyPair(imported["arn"], pem.decode("ascii"))

    @contextmanager
    def token_service(self) -> Iterator[TokenService]:
        """Run a token service of its own on this account while the block runs. The account must be entered."""
        from tokensvc.testing.token_service import token_service

        if not self._is_entered():
            raise RuntimeError("enter the account first: the service finds IVS by AWS's environment variables")
        folder, empty_store = self._server.service_files
        with token_service(self.region, folder, empty_store, self._server.clock, self._delete_key_pair) as service:
            yield service

    def start_stream(self, channel_arn: str) -> None:
        """Start the channel's stream. Raises IvsError."""
        self._server.components.streams.start(channel_arn)

    def stop_stream(self, channel_arn: str) -> None:
        """Stop the channel's stream. Raises IvsError."""
        self._server.components.streams.stop(channel_arn)

    def _delete_key_pair(self, arn: str) -> None:
        with suppress(IvsError):  # a test may have deleted it
            self._call("DeletePlaybackKeyPair", {"arn": arn})

    def _is_entered(self) -> bool:
        """Whether the environment names this account, by its own access key or by moto's."""
        key = self._server.credentials.get(os.environ.get("AWS_ACCESS_KEY_ID", ""))
        is_here = os.environ.get("AWS_ENDPOINT_URL_IVS") == self.endpoint_url
        return is_here and key is not None and key.account == self.account_id

    def _call(self, operation: str, request: Mapping[str, Any], region: str | None = None) -> dict[str, Any]:
        account_region = AccountRegion(self.account_id, region or self.region)
        return self._server.components.ivs.call(account_region, operation, request, self.endpoint_url)

    def _accept_moto_key(self) -> AbstractContextManager[object]:
        """While the block runs, the credentials of `moto.mock_aws` are this account's too: an app that is tested with
        it has no others."""
        credentials, (key_id, secret) = self._server.credentials, MOTO_ACCESS_KEY
        before = credentials.get(key_id)
        credentials[key_id] = AccessKeySecret(secret, self.account_id)
        restored = ExitStack()
        if before is None:
            restored.callback(credentials.pop, key_id, None)
        else:
            restored.callback(credentials.__setitem__, key_id, before)
        return restored


def _channel(channel: Mapping[str, Any]) -> Channel:
    return Channel(channel["arn"], channel["name"], channel["playbackUrl"])
