"""The response headers of the local IVS's API that browsers look at.

Invariants
- Every response to a request with an Origin has them, errors included: the model gives them to all errors and to the
  Batch answers, and an SDK in a browser can read no response that lacks Access-Control-Allow-Origin.
- Other clients get none of them: the AWS CLI would print those of Batch answers, and its published examples have none.
- Which headers are exposed is read from the model: all that an SDK reads from a response, and the request id.
- INFERRED: every value, and that the answers for which the model names no headers have them too. AWS documents none.
"""

from __future__ import annotations

from tokensvc.local_ivs.model import ServiceModel

_REQUEST_ID = "x-amzn-requestid"
_REQUEST_HEADERS = (
    *("authorization", "content-type", "x-amz-date", "x-amz-security-token", "x-amz-user-agent"),
    *("x-amz-content-sha256", "amz-sdk-invocation-id", "amz-sdk-request"),
)
"""What AWS's SDK for JavaScript sends; `*` would not cover `authorization` (Fetch, "CORS protocol")."""
_METHODS = "GET, POST, DELETE, OPTIONS"

PREFLIGHT_HEADERS = (
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", _METHODS),
    ("access-control-allow-headers", ", ".join(_REQUEST_HEADERS)),
    ("access-control-max-age", "600"),
)


def response_headers(model: ServiceModel) -> tuple[tuple[str, str], ...]:
    """What a response to a page's request carries, unless that is a preflight."""
    return (
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", ", ".join((_REQUEST_ID, *sorted(model.response_headers)))),
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'"),
        ("strict-transport-security", "max-age=0"),  # never pins a developer's host to HTTPS
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    )
