"""The codes of problems as the Python client has them: `tokensvc/client/problem_codes.py`, from `http/error_codes.py`.

The client imports nothing of the service, so the table is written into a module of its own.
"""

from __future__ import annotations

from docs.generator.sources import PACKAGE
from tokensvc.http.error_codes import ERROR_CODES, Retry

MODULE = PACKAGE / "client/problem_codes.py"

_HEAD = '''\
"""The codes of problems, and whether a request that failed with one may be repeated.

Generated from `http/error_codes.py` by `make reference`. To change it, change that table.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Retry(StrEnum):
    """Whether to repeat a request that failed with a code."""
'''
_NOQA = "  # noqa: S105 - a code"


def module() -> str:
    """The text of the module."""
    lines = [_HEAD]
    lines += [f'    {retry.name} = "{retry}"' for retry in Retry]
    lines += [
        "",
        "",
        "class ProblemCode(StrEnum):",
        '    """What happened. docs/reference/error-codes.md says what to do."""',
        "",
    ]
    lines += [
        f'    {entry.code.upper()} = "{entry.code}"{_NOQA * ("pass" in entry.code)}' for entry in ERROR_CODES.values()
    ]
    lines += ["", "", "RETRIES: Mapping[ProblemCode, Retry] = {"]
    lines += [f"    ProblemCode.{e.code.upper()}: Retry.{e.retry.name}," for e in ERROR_CODES.values()]
    return "\n".join([*lines, "}", ""])
