"""Sampled tokens, judged by a stranger: PyJWT and the service's published keys.

Rules of the file
- Nothing of ours has a part in it; claims are spelt as IVS documents them.
- A token is judged as of the moment at which it came, so that records can be judged at any time later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jwt

from benchmarks.load.records import Sample

_DECODE_OPTIONS: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["exp"]}
SKEW_SECONDS = 5


def verify_samples(samples: Sequence[Sample], published: Iterable[dict[str, Any]]) -> list[str]:
    """What is wrong, in words, of each token that is bad; no token is repeated."""
    keys = [key for one in published if (key := _key(one)) is not None]
    return [problem for sample in samples if (problem := _problem(sample, keys))]


def _key(published: dict[str, Any]) -> Any:
    """None where it is of a kind that verifies nothing of IVS; the tokens it signed then count as bad."""
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
        return f"a token for {sample.viewer_id} names another channel than was sent for"
    if claims.get("aws:viewer-id") != sample.viewer_id:
        return f"a token for {sample.viewer_id} names another viewer"
    if not isinstance(claims["exp"], int) or claims["exp"] <= sample.received_at - SKEW_SECONDS:
        return f"a token for {sample.viewer_id} had ended when it came"
    return None
