"""A model -> the answer that shows it. What is shown is one caller's, so no cache may keep it."""

from __future__ import annotations

from pydantic import BaseModel

from tokensvc.http.problem_details import JSON, Answer, Headers

NOT_KEPT: Headers = (JSON, (b"cache-control", b"no-store"))


def encoded(shown: BaseModel, status: int = 200, code: str = "ok", more: Headers = ()) -> Answer:
    """The answer; `more` are headers of its own."""
    return Answer(status, shown.model_dump_json().encode(), (*NOT_KEPT, *more), code)
