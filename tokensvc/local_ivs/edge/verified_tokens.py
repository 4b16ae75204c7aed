"""Remembers which tokens were verified with which key, so that a token that is used again is not verified again.

Invariants
- An entry states one fact that never changes: this signature of these bytes was made with the key that has this
  fingerprint. Whether the key still exists, `exp`, revocations and single use are judged anew each time.
- Only what was verified is remembered: nobody fills the cache with forged tokens.
- Entries hold digests, never a token.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from hashlib import sha256

from cachetools import LRUCache

from tokensvc.jose import es384
from tokensvc.jose.keypair import PublicKey
from tokensvc.local_ivs.resources.playback_key_pairs import ImportedKey
from tokensvc.tokens.validation import VerifySignature

MAX_VERIFIED_TOKENS = 20_000
"""Above the quota of concurrent views, so that every viewer may start again."""


class VerifiedTokens:
    """A bounded, thread-safe cache of verified tokens."""

    def __init__(self, max_tokens: int = MAX_VERIFIED_TOKENS, verify: VerifySignature = es384.verify) -> None:
        """`verify` verifies what is not in the cache."""
        self._verified: LRUCache[bytes, None] = LRUCache(max_tokens)
        self._lock = threading.Lock()
        self._verify = verify

    def verifier(self, keys: Sequence[ImportedKey]) -> VerifySignature:
        """The function for `PlaybackAttempt.verify` if these are the attempt's keys."""
        fingerprints = {id(key.public_key): key.fingerprint.encode() for key in keys}

        def verify(key: PublicKey, signed: bytes, signature: bytes) -> bool:
            if len(signature) != es384.SIGNATURE_BYTES:  # of another length, entries would be ambiguous
                return False
            entry = sha256(b"".join((fingerprints[id(key)], signature, signed))).digest()
            if entry not in self._verified and not self._verify(key, signed, signature):
                return False
            with self._lock:
                self._verified[entry] = None  # the least recently used one is dropped first
            return True

        return verify
