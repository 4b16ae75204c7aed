"""The response headers of the local IVS's API that browsers evaluate.

Invariants
- Every response to a request with an Origin has them, errors included: the model defines them for all errors and for
  the Batch responses, and an SDK in a browser cannot read a response without Access-Control-Allow-Origin.
- Other clients do not get them: the AWS CLI would print those of Batch responses, and its published examples have none.
- The exposed headers are read from the model: all that an SDK reads from a response, and the request id.
- INFERRED: Every response of the API to a web page has the CORS and security headers that the model names for some of
  them, with values that let pages of every origin read it. AWS documents no values.
"""

from __future__ import annotations

from tokensvc.local_ivs.model import ApiModel

_REQUEST_ID = "x-amzn-requestid"
_REQUEST_HEADERS = (
    *("authorization", "content-type", "x-amz-date", "x-amz-security-token", "x-amz-user-agent"),
    *("x-amz-content-sha256", "amz-sdk-invocation-id", "amz-sdk-request"),
)
"""The headers that AWS's SDK for JavaScript sends; `*` would not cover `authorization` (Fetch, "CORS protocol")."""
_METHODS = "GET, POST, DELETE, OPTIONS"

PREFLIGHT_HEADERS = (
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", _METHODS),
    ("access-control-allow-headers", ", ".join(_REQUEST_HEADERS)),
    ("access-control-max-age", "600"),
)


def response_headers(model: ApiModel) -> tuple[tuple[str, str], ...]:
    """The headers of a response to a web page's request, other than a preflight."""
    return (
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", ", ".join((_REQUEST_ID, *sorted(model.response_headers)))),
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'"),
        ("strict-transport-security", "max-age=0"),  # never pins a developer's host to HTTPS
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    )
