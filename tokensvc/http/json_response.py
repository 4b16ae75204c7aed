"""A model -> the answer that shows it. What is shown is one caller's, so no cache may keep it."""

from __future__ import annotations

from pydantic import BaseModel

from tokensvc.http.problem_details import JSON, Headers, Response

NO_STORE: Headers = (JSON, (b"cache-control", b"no-store"))


def json_response(shown: BaseModel, status: int = 200, code: str = "ok", more: Headers = ()) -> Response:
    """The answer; `more` are headers of its own."""
    return Response(status, shown.model_dump_json().encode(), (*NO_STORE, *more), code)
