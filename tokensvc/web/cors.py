"""Cross-origin requests from pages in browsers (Fetch standard, "CORS protocol").

Invariants
- Off until an origin is listed, in the setting or in a caller's policy: no response differs then.
- A page gets only what its origin may have. Allowed origins are named one at a time, never as `*`; any other page
  gets no CORS header at all, so its browser shows it neither a preflight's permission nor a response.
- A preflight carries no credentials, so it is answered for the origins of all callers together. The response to the
  request itself is for those of its own caller and of the setting; while the caller is not known (401, `overloaded`),
  the response holds nothing of any caller, and the rule of the preflight applies.
- Credentials mode is not allowed: the service has no cookies, and a page sends its bearer token itself.
- CORS protects the viewers of other pages, not the service: what a request may do is decided by its credentials alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from starlette.types import Scope

from tokensvc.http.body import header
from tokensvc.http.problem_details import Headers, Response
from tokensvc.origins import matches

PATHS = frozenset({"/v1/tokens", "/v1/tokens/batch", "/v1/tokens/explain"})
PREFLIGHT_MAX_AGE_SECONDS = 7200
"""How long a browser may reuse a preflight: Chromium's own upper limit."""
MAX_REMEMBERED = 1024
"""Origins whose answers are remembered. Anyone may send any origin, so there is a limit."""

_VARY = (b"vary", b"origin")
_PREFLIGHT: Headers = (
    (b"access-control-allow-methods", b"POST"),
    (b"access-control-allow-headers", b"authorization, content-type"),
    (b"access-control-max-age", str(PREFLIGHT_MAX_AGE_SECONDS).encode()),
)
_EXPOSED = (b"access-control-expose-headers", b"retry-after, x-request-id, ratelimit, ratelimit-policy")

PolicyOrigins = Mapping[str, tuple[str, ...]]
"""By caller, the origins of its policy; callers without any are left out."""


class Cors:
    """Decides which pages may read a response, and adds the headers that say so."""

    def __init__(self, setting: tuple[str, ...], policy_origins: Callable[[], PolicyOrigins]) -> None:
        """`policy_origins` is the current snapshot's mapping; a changed policy is another mapping."""
        self._setting = setting
        self._policy_origins = policy_origins
        self._answered_for: PolicyOrigins = {}
        self._answers: dict[tuple[str, str], bool] = {}

    def preflight(self, scope: Scope) -> Response | None:
        """The response to a preflight for one of PATHS; None when the request is not one, or CORS is off."""
        policies = self._policy_origins()
        if scope["method"] != "OPTIONS" or scope["path"] not in PATHS or not (self._setting or policies):
            return None
        origin = header(scope, b"origin")
        if not origin or not header(scope, b"access-control-request-method"):
            return None
        if not self._is_allowed(origin, "", policies):
            return Response(204, b"", (_VARY,), "preflight")
        return Response(204, b"", (_allow(origin), *_PREFLIGHT, _VARY), "preflight")

    def with_headers(self, response: Response, scope: Scope, caller: str) -> Response:
        """The response to a request for one of PATHS as a page may read it. `caller` is empty while it is not known."""
        policies = self._policy_origins()
        if not (self._setting or policies):
            return response
        origin = header(scope, b"origin")
        if not origin or scope["path"] not in PATHS:
            return response
        if not self._is_allowed(origin, caller, policies):
            return response._replace(headers=(*response.headers, _VARY))
        return response._replace(headers=(*response.headers, _allow(origin), _EXPOSED, _VARY))

    def _is_allowed(self, origin: str, caller: str, policies: PolicyOrigins) -> bool:
        if policies is not self._answered_for or len(self._answers) >= MAX_REMEMBERED:
            self._answered_for, self._answers = policies, {}
        answer = self._answers.get((origin, caller))
        if answer is None:
            answer = matches(origin, self._setting) or any(
                matches(origin, entries) for entries in _entries_for(caller, policies)
            )
            self._answers[origin, caller] = answer
        return answer


def _entries_for(caller: str, policies: PolicyOrigins) -> Iterable[tuple[str, ...]]:
    return (policies.get(caller, ()),) if caller else policies.values()


def _allow(origin: str) -> tuple[bytes, bytes]:
    return b"access-control-allow-origin", origin.encode("latin-1")
