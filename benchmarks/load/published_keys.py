"""The public keys that the service publishes, gathered through the whole run.

Rules of the file
- A long run outlives keys: the set is read before, every few seconds during, and after the run, and only ever grows.
- A reading that fails is reported in words: what cannot be reached, or what is not a key set, and at which URL.
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
    """What `/.well-known/jwks.json` has held so far."""

    def __init__(self, url: str) -> None:
        self._url = f"{url.rstrip('/')}/.well-known/jwks.json"
        self._keys: dict[str, dict[str, Any]] = {}
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._read_repeatedly, daemon=True)

    def start(self) -> None:
        """Read it once, and from then on by itself. Raises OSError or ValueError where that cannot be read."""
        self._read()
        self._thread.start()

    def line(self) -> Keys:
        """Read it a last time; all keys that were seen."""
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
                continue  # a server under load may be late; what was read before stays

    def _read(self) -> None:
        try:
            with urllib.request.urlopen(self._url, timeout=_READ_TIMEOUT_SECONDS) as response:
                keys = json.load(response)["keys"]
            self._keys |= {json.dumps(key, sort_keys=True): dict(key) for key in keys}
        except urllib.error.HTTPError as failure:
            raise ValueError(f"{self._url} responds with {failure.code}; is the URL the service's own?") from None
        except OSError as failure:  # URLError is one, with the cause in `reason`
            reason = getattr(failure, "reason", failure)
            raise ConnectionError(
                f"{self._url} cannot be reached: {getattr(reason, 'strerror', None) or reason}"
            ) from None
        except (HTTPException, ValueError, TypeError, KeyError):
            raise ValueError(f"{self._url} holds no key set; is the URL the service's own?") from None
