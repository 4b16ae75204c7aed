"""Where the watch page gets its tokens: the protocol that `demo` and `ivs serve` implement.

`container/watch_service.py` asks the service of the demo; `container/watch_key.py` signs with a key pair of its own.

Invariants
- A private key and an API key stay behind this protocol. What goes to the page is a token, or a problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from tokensvc.aws.arn import Arn
from tokensvc.tokens.validation import PlaybackAttempt


class Reply(NamedTuple):
    """The response to an action: a status, and a JSON object. Of a status from 400 on, the object is a problem."""

    status: int
    document: Mapping[str, Any]


class TokenSource(Protocol):
    """Issues, explains and revokes tokens. Every method may block, and raises TokensvcError or IvsError."""

    @property
    def description(self) -> str:
        """Who signs the tokens, as one sentence for the page."""
        ...

    def issue(self, fields: Mapping[str, Any]) -> Reply:
        """Issue a token for a token request (`tokens/request.py`), as `POST /v1/tokens` does."""
        ...

    def explain(self, attempt: PlaybackAttempt) -> Mapping[str, Any]:
        """The validation result rule by rule, as `POST /v1/tokens/explain` renders it. Spends nothing."""
        ...

    def revoke(self, channel: Arn, viewer_id: str) -> Reply:
        """Revoke all sessions of a viewer of a channel that have started until now."""
        ...

    def rotate(self, channel: Arn) -> Reply:
        """Replace the key that signs in the channel's account and region. Tokens of the previous key stay valid."""
        ...
