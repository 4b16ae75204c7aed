"""The programs of the guide are typed strictly, as those of its readers may be; `tests/docs` runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tokensvc
from tests.docs.code_blocks import code_blocks

ROOT = Path(tokensvc.__file__).parent.parent
GUIDE = ROOT / "docs/how-to/python-client.md"
PROGRAMS = [block.text for block in code_blocks(GUIDE, GUIDE.name) if block.language == "python"]
MISTAKES = """
from typing import assert_type

from tokensvc.client import AsyncTokensClient, PlaybackToken, TokenRequest, TokensClient, TokensError


def mistakes(client: TokensClient) -> None:
    assert_type(client.issue_token(TokenRequest("arn")), PlaybackToken)
    assert_type(client.issue_tokens([TokenRequest("arn")]), list[PlaybackToken | TokensError])
    client.issue_tokens([TokenRequest("arn")])[0].token
    TokenRequest("arn", maximum_resolution="UHD")
    TokenRequest("arn", viewer="ada")
    TokenRequest("arn").viewer_id = "eve"


async def more_mistakes(client: AsyncTokensClient) -> None:
    assert_type(await client.issue_token(TokenRequest("arn")), PlaybackToken)
    client.list_keys().__next__()
"""


def _check(folder: Path, names: list[str]) -> str:
    environment = {"MYPYPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    arguments = ["--strict", "--config-file", "", "--cache-dir", str(ROOT / ".mypy_cache/guide"), *names]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_programs_of_the_guide_are_typed_and_mistakes_are_found(tmp_path: Path) -> None:
    names = []
    for number, program in enumerate(PROGRAMS):
        names.append(f"program{number}.py")
        (tmp_path / names[-1]).write_text(program, "utf-8")
    assert len(names) >= 5
    (tmp_path / "mistakes.py").write_text(MISTAKES, "utf-8")
    lines = [line for line in _check(tmp_path, [*names, "mistakes.py"]).splitlines() if "error:" in line]
    assert [line.partition(":")[0] for line in lines] == ["mistakes.py"] * len(lines), lines
    expected = ["has no attribute", "maximum_resolution", '"viewer"', "is read-only", "__next__"]
    assert [word for word in expected if not any(word in line for line in lines)] == [], lines
    assert len(lines) == len(expected), lines
