"""The Python client of tokensvc: `TokensClient`, and `AsyncTokensClient` for asyncio.

Invariants
- It imports httpx, the standard library, and nothing else of tokensvc but its version; nothing of tokensvc imports it.
- Both clients have the same methods and the same logic: `exchange.py`, `batches.py` and `operations.py` are generators
  that say what to send and how long to wait, and do no I/O.

docs/how-to/python-client.md shows how to use it.
"""

from tokensvc.client.async_client import AsyncTokensClient
from tokensvc.client.errors import (
    ConflictError,
    FieldError,
    InvalidRequestError,
    InvalidResponseError,
    NoResponseError,
    NotFoundError,
    PermissionDeniedError,
    ProblemError,
    RateLimitedError,
    ServerError,
    TokensError,
    UnauthenticatedError,
    UnavailableError,
)
from tokensvc.client.exchange import RetryPolicy
from tokensvc.client.models import (
    AcceptedRevocation,
    AdInsertion,
    Denial,
    DenialRequest,
    ExplainedRule,
    Explanation,
    Key,
    KeyDetail,
    KeyPlacement,
    KeyStep,
    PlaybackToken,
    Revocation,
    RevocationRequest,
    RevocationTarget,
    StaleWorker,
    TokenRequest,
)
from tokensvc.client.problem_codes import ProblemCode
from tokensvc.client.sync_client import TokensClient
from tokensvc.client.token_cache import AsyncTokenCache, TokenCache

__all__ = [
    "AcceptedRevocation",
    "AdInsertion",
    "AsyncTokenCache",
    "AsyncTokensClient",
    "ConflictError",
    "Denial",
    "DenialRequest",
    "ExplainedRule",
    "Explanation",
    "FieldError",
    "InvalidRequestError",
    "InvalidResponseError",
    "Key",
    "KeyDetail",
    "KeyPlacement",
    "KeyStep",
    "NoResponseError",
    "NotFoundError",
    "PermissionDeniedError",
    "PlaybackToken",
    "ProblemCode",
    "ProblemError",
    "RateLimitedError",
    "RetryPolicy",
    "Revocation",
    "RevocationRequest",
    "RevocationTarget",
    "ServerError",
    "StaleWorker",
    "TokenCache",
    "TokenRequest",
    "TokensClient",
    "TokensError",
    "UnauthenticatedError",
    "UnavailableError",
]
