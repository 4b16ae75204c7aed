"""The watch page's tokens in `ivs serve`: signed with a key pair that the page has for itself.

Invariants
- The key pair of an account and region is made when a token is first requested there. Its private key exists in memory
  only; the public key is imported with ImportPlaybackKeyPair, under a name and a tag that say whose it is.
- At most two of the page's key pairs are imported at a time: the one that signs and the one before, whose tokens stay
  valid. IVS holds three, so one is left for the tests that run against the same local IVS.
- A key pair that a previous process left behind is deleted, since nobody has its private key; none of others is.
- Tokens are prepared by `tokens/issuer.py`, with its rules and messages, at the local IVS's time. What that needs is
  imported when the first token is requested: most processes of `ivs serve` never show the page.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from tokensvc.aws.arn import AccountRegion, Arn, parse_arn
from tokensvc.clock import Clock
from tokensvc.errors import ChannelNotFound
from tokensvc.jose import keypair
from tokensvc.jose.signing.openssl import OpenSslSigner
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.watch.token_source import Reply
from tokensvc.tokens.denylist import Denylist, ViewerRestriction, viewer_digest
from tokensvc.tokens.keyring import Keyring, RegionKeys, SigningKey
from tokensvc.tokens.validation import PlaybackAttempt

MAX_TTL_SECONDS = 24 * 3600
KEY_NAME = "watch-page"
TAGS = {"tokensvc:made-by": KEY_NAME}
_SUBJECT_KEY_BYTES = 32


class _OwnKey(NamedTuple):
    """A key pair of the page, and its ARN in the local IVS."""

    arn: str
    key: SigningKey


class OwnKeyTokens:
    """`TokenSource` of a local IVS that runs without the service."""

    description = "This page signs the tokens with a key pair of its own, imported into the local IVS."

    def __init__(self, ivs: LocalIvs, clock: Clock) -> None:
        self._ivs = ivs
        self._clock = clock
        self._keys: dict[AccountRegion, _OwnKey] = {}
        self._denylist = Denylist()
        self._subject_key = secrets.token_bytes(_SUBJECT_KEY_BYTES)
        self._lock = threading.Lock()

    def issue(self, fields: Mapping[str, Any]) -> Reply:
        from tokensvc.container.watch_tokens import signed_token
        from tokensvc.tokens.request import parse_token_request

        request = parse_token_request(dict(fields))
        account_region = parse_arn(request.channel_arn, "channel").account_region
        self._require_channel(account_region, request.channel_arn)
        with self._lock:
            own = self._keys.get(account_region)
            if own is None or own.arn not in self._imported(account_region):
                own = self._replace(account_region)
        keyring = Keyring({account_region: RegionKeys(own.key, {})})
        now = int(self._clock.now())
        return Reply(201, signed_token(request, keyring, self._denylist, self._subject_key, now))

    def explain(self, attempt: PlaybackAttempt) -> Mapping[str, Any]:
        from tokensvc.container.watch_explanations import explain_attempt

        return explain_attempt(attempt)

    def revoke(self, channel: Arn, viewer_id: str) -> Reply:
        """StartViewerSessionRevocation, up to the versions of this second. Later tokens have higher ones."""
        now = int(self._clock.now())
        members = {
            "channelArn": str(channel),
            "viewerId": viewer_id,
            "viewerSessionVersionsLessThanOrEqualTo": now,
        }
        self._call(channel.account_region, "StartViewerSessionRevocation", members)
        restriction = ViewerRestriction(minimum_version=now + 1, minimum_ahead_seconds=1)
        self._denylist.apply([(viewer_digest(str(channel), viewer_id), restriction)], now)
        return Reply(202, {"state": "sent"})

    def rotate(self, channel: Arn) -> Reply:
        with self._lock:
            self._replace(channel.account_region)
        return Reply(200, {"done": True})

    def _replace(self, account_region: AccountRegion) -> _OwnKey:
        """Import a new key pair, after deleting those of the page except the one that signs now. Raises IvsError."""
        signing = self._keys.get(account_region)
        for arn, name in self._imported(account_region).items():
            if name == KEY_NAME and (signing is None or arn != signing.arn):
                self._call(account_region, "DeletePlaybackKeyPair", {"arn": arn})
        private_key = keypair.generate()
        members = {
            "name": KEY_NAME,
            "publicKeyMaterial": keypair.public_pem(private_key.public_key()),
            "tags": TAGS,
        }
        arn = self._call(account_region, "ImportPlaybackKeyPair", members)["keyPair"]["arn"]
        own = _OwnKey(arn, SigningKey(KEY_NAME, OpenSslSigner().prepare(private_key), MAX_TTL_SECONDS))
        self._keys[account_region] = own
        return own

    def _imported(self, account_region: AccountRegion) -> dict[str, str]:
        """The key pairs that are imported there: ARN -> name, or "" if it is not the page's."""
        pairs = self._call(account_region, "ListPlaybackKeyPairs", {})["keyPairs"]
        return {pair["arn"]: pair.get("name", "") if pair.get("tags") == TAGS else "" for pair in pairs}

    def _require_channel(self, account_region: AccountRegion, arn: str) -> None:
        try:
            self._call(account_region, "GetChannel", {"arn": arn})
        except IvsError as error:
            if error.code != "ResourceNotFoundException":
                raise
            raise ChannelNotFound("the local IVS has no such channel") from None

    def _call(self, account_region: AccountRegion, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        return self._ivs.call(account_region, operation, members, "")
