"""The public keys that the service publishes, collected during the whole run.

Invariants
- A long run outlives keys: the set is read before, every few seconds during, and after the run; keys are only added.
- The error of a failed read names the URL that cannot be reached or is not a key set.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from benchmarks.load.records import Keys

READ_INTERVAL_SECONDS = 10
_READ_TIMEOUT_SECONDS = 10


class PublishedKeys:
    """The keys that `/.well-known/jwks.json` has contained so far."""

    def __init__(self, url: str) -> None:
        self._url = f"{url.rstrip('/')}/.well-known/jwks.json"
        self._keys: dict[str, dict[str, Any]] = {}
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._read_repeatedly, daemon=True)

    def start(self) -> None:
        """Read the keys, and then repeatedly in a thread. Raises OSError or ValueError if the first read fails."""
        self._read()
        self._thread.start()

    def line(self) -> Keys:
        """Read the keys for the last time; all keys that were seen."""
        self._finished.set()
        self._thread.join()
        return Keys(keys=list(self._keys.values()))

    def _read_repeatedly(self) -> None:
        is_finished = False
        while not is_finished:
            is_finished = self._finished.wait(READ_INTERVAL_SECONDS)
            try:
                self._read()
            except (OSError, ValueError):
                continue  # a server under load may be slow; the keys read before are kept

    def _read(self) -> None:
        try:
            with urllib.request.urlopen(self._url, timeout=_READ_TIMEOUT_SECONDS) as response:
                keys = json.load(response)["keys"]
            self._keys |= {json.dumps(key, sort_keys=True): dict(key) for key in keys}
        except urllib.error.HTTPError as failure:
            raise ValueError(f"{self._url} responded with {failure.code}; is --url the URL of the service?") from None
        except OSError as failure:  # URLError is one, with the cause in `reason`
            reason = getattr(failure, "reason", failure)
            raise ConnectionError(
                f"{self._url} cannot be reached: {getattr(reason, 'strerror', None) or reason}"
            ) from None
        except (HTTPException, ValueError, TypeError, KeyError):
            raise ValueError(f"{self._url} is not a key set; is --url the URL of the service?") from None
