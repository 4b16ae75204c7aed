"""An independent check of sampled tokens, with PyJWT and the service's published keys.

Invariants
- No code of tokensvc takes part; claims are named as IVS documents them.
- A token is verified as of the time at which it was received, so that records can be verified at any later time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jwt

from benchmarks.load.records import Sample

_DECODE_OPTIONS: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["exp"]}
SKEW_SECONDS = 5


def verify_samples(samples: Sequence[Sample], published: Iterable[dict[str, Any]]) -> list[str]:
    """A message for each invalid token, which never contains the token."""
    keys = [key for one in published if (key := _key(one)) is not None]
    return [problem for sample in samples if (problem := _problem(sample, keys))]


def _key(published: dict[str, Any]) -> Any:
    """The key, or None if its type is not supported; tokens signed with it then count as invalid."""
    try:
        return jwt.PyJWK(published).key
    except (jwt.PyJWTError, TypeError, ValueError):
        return None


def _problem(sample: Sample, keys: list[Any]) -> str | None:
    claims, reason = None, "no key was published"
    for key in keys:
        try:
            claims = jwt.decode(sample.token, key, algorithms=["ES384"], options=_DECODE_OPTIONS)
            break
        except jwt.InvalidTokenError as failure:
            reason = f"{type(failure).__name__}: {failure}"
    if claims is None:
        return f"a token for {sample.viewer_id}: {reason}"
    if claims.get("aws:channel-arn") != sample.channel_arn:
        return f"a token for {sample.viewer_id} names a different channel than requested"
    if claims.get("aws:viewer-id") != sample.viewer_id:
        return f"a token for {sample.viewer_id} names a different viewer than requested"
    if not isinstance(claims["exp"], int) or claims["exp"] <= sample.received_at - SKEW_SECONDS:
        return f"a token for {sample.viewer_id} had expired when it was received"
    return None
