"""What it costs a token that its caller is known, limited and on record: `python -m benchmarks.authorization [--json]`.

Invariants
- Each part does for one token what a worker does for it, and nothing else; the parts are those of the service.
- The parts and a whole token in process are measured by CPU time in the same interleaved rounds, on one core.
- What is done off the hot path counts as well: a worker has one core for both.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from benchmarks import rounds, servers
from benchmarks.report import report
from benchmarks.sign import CHANNEL, TTL_SECONDS, VIEWER, contenders, cpu_us
from tokensvc.audit.record import Actor, ActorKind, AuditEvent, viewer_digest
from tokensvc.background.last_used import LastUses
from tokensvc.callers.api_keys import KnownSecret, authenticate
from tokensvc.callers.bearer import BearerVerifier
from tokensvc.callers.jwks import IssuerKeys
from tokensvc.callers.limits import TokenLimiter
from tokensvc.callers.policy import BearerPolicy, Caller, CallerPolicy, ClaimRules, Rate, RateLimits, ViewerLogin
from tokensvc.container.api_keys import new_api_key
from tokensvc.storage import migrate
from tokensvc.storage.store import Store, open_store
from tokensvc.tokens.authorization import authorize
from tokensvc.tokens.request import parse_token_request
from tokensvc.tokens.snapshot import Snapshot

ROUNDS = 15
CALLS = 2000
OTHER_CALLERS = 1000
"""How many callers there are besides the one that is measured."""
AUDITED_AT_ONCE = 500
"""How many issued tokens are recorded in one transaction."""
TOKEN = "a whole token in process, with AWS-LC"
PATTERNS = ("arn:aws:ivs:us-east-1:000000000000:channel/*",)
_KEY = bytes(32)


class Part(NamedTuple):
    """A part of what a token pays for."""

    call: Callable[[], object]
    tokens: int = 1
    """For how many tokens one call is."""


def main() -> None:
    with tempfile.TemporaryDirectory() as name, parts(Path(name)) as measured, servers.on_server_core():
        measurements = {label: partial(_us_per_token, part) for label, part in measured.items()}
        token = contenders()["tokensvc"]
        results = rounds.interleave({TOKEN: partial(cpu_us, token, CALLS // 10), **measurements}, ROUNDS)
    own = results.pop(TOKEN)
    ratios = {f"{label} / a whole token": rounds.ratio(values, own) for label, values in results.items()}
    figures = {f"{label}, CPU microseconds": median(values) for label, values in results.items()}
    report("who may ask", ratios, {**figures, f"{TOKEN}, CPU microseconds": median(own)}, {})


def _us_per_token(part: Part) -> float:
    return cpu_us(part.call, max(CALLS // part.tokens, 1)) / part.tokens


@contextmanager
def parts(folder: Path) -> Iterator[dict[str, Part]]:
    """The parts by label, in the order in which a request meets them; the store is in this folder."""
    url = f"sqlite:///{folder}/store.db"
    migrate.upgrade(url)
    with closing(open_store(url)) as store:
        yield {
            "API key": _api_key(),
            "cached bearer token": _bearer(),
            "last use of an API key": Part(partial(LastUses(store.callers).record, "a1b2c3d4", time.time(), "::1")),
            "policy without claim rules": _policy(),
            "policy that forces a claim": _policy(forced=ClaimRules(maximum_resolution="HD")),
            "policy that requires claims": _policy(required=_REQUIRED),
            "policy for the viewer of a bearer token": _policy(viewer=VIEWER),
            "three limits": _limits(),
            "audit event of a token": Part(_event),
            "audit record of a token, written with others": _written(store),
        }


def _api_key() -> Part:
    """Find and compare an API key among those of many callers."""
    keys = [new_api_key() for _ in range(OTHER_CALLERS + 1)]
    caller = Caller("bench", CallerPolicy(PATTERNS))
    known = {secret.key_id: KnownSecret(secret.digest, None, caller) for _, secret in keys}
    return Part(partial(authenticate, f"Bearer {keys[0][0]}", known, time.time()))


def _bearer() -> Part:
    """Recognize a bearer token that was verified before, and judge its times, its key and its claims."""
    policy = BearerPolicy("https://login.example.com", "tokensvc", ("ES256",), "https://login.example.com/keys")
    private_key = ec.generate_private_key(ec.SECP256R1())
    public = {**ECAlgorithm.to_jwk(private_key.public_key(), as_dict=True), "kid": "k1", "use": "sig"}

    class Keys(IssuerKeys):
        """The keys of an issuer that needs no network."""

        def __init__(self, issuer: str, jwks_url: str | None) -> None:
            super().__init__(issuer, jwks_url, lambda _url, _seconds: {"keys": [public]})

    now, monotonic = time.time(), time.monotonic()
    claims = {"iss": policy.issuer, "aud": policy.audience, "sub": VIEWER, "exp": int(now) + 3600}
    token = jwt.encode(claims, private_key, "ES256", {"kid": "k1"})
    bearers = {(policy.issuer, policy.audience): Caller("app", CallerPolicy(PATTERNS, bearer=policy))}
    verifier = BearerVerifier(Keys)
    verifier.keys(policy).refresh("k1", monotonic)
    verifier.verify(token, bearers, now, monotonic)
    return Part(partial(verifier.cached, token, bearers, now, monotonic))


_REQUIRED = ClaimRules(("https://*.example.com",), strict_origin_enforcement=True, single_use=True)


def _policy(*, forced: ClaimRules | None = None, required: ClaimRules | None = None, viewer: str = "") -> Part:
    """Authorize a request that asks for what is required."""
    policy = CallerPolicy(PATTERNS, forced=forced or ClaimRules(), required=required or ClaimRules())
    caller = Caller("bench", policy, login=ViewerLogin(viewer) if viewer else None)
    fields = {"channelArn": CHANNEL, "ttlSeconds": TTL_SECONDS} | ({} if viewer else {"viewerId": VIEWER})
    if required:
        fields |= {
            "allowedOrigins": ["https://app.example.com"],
            "strictOriginEnforcement": True,
            "singleUse": True,
        }
    request = parse_token_request(fields)
    return Part(partial(authorize, caller, request, Snapshot(max_ttl_seconds=3600)))


def _limits() -> Part:
    """Take a token from the limits of its caller, its viewer and its channel, none of which is reached."""
    rate = Rate(10_000_000, 10_000_000)
    caller = Caller("bench", CallerPolicy(PATTERNS, limits=RateLimits(rate, rate, rate)))
    return Part(partial(TokenLimiter(time.monotonic).take, caller, CHANNEL, VIEWER, None))


def _event() -> AuditEvent:
    """The event of an issued token, with the viewer's digest."""
    return AuditEvent(
        Actor(ActorKind.CALLER, "bench", "a1b2c3d4"),
        "tokens.issue",
        CHANNEL,
        request_id="0f8fad5bd9cb469fa165f5c6f2a4c1f1",
        viewer=viewer_digest(_KEY, VIEWER),
    )


def _written(store: Store) -> Part:
    """Write the events of many tokens in one transaction."""
    return Part(partial(store.audit.append, [_event()] * AUDITED_AT_ONCE), AUDITED_AT_ONCE)


if __name__ == "__main__":
    main()
