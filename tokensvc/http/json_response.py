"""JSON responses from models. Their content is for one caller, so no cache may store it."""

from __future__ import annotations

from pydantic import BaseModel

from tokensvc.http.problem_details import JSON, Headers, Response

NO_STORE: Headers = (JSON, (b"cache-control", b"no-store"))


def json_response(model: BaseModel, status: int = 200, code: str = "ok", extra_headers: Headers = ()) -> Response:
    """The model as a JSON response that caches do not store."""
    return Response(status, model.model_dump_json().encode(), (*NO_STORE, *extra_headers), code)
