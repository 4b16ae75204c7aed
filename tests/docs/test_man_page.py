"""The manual page names every command and option, and `man` renders it without a warning."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib

import pytest

from docs.generator import ROOT
from docs.generator.cli import commands, own_parameters
from docs.generator.man import FILE

_BACKSPACED = re.compile(".\x08")


def rendered() -> str:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed: make system-packages")
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-c", "-rLL=200n", str(FILE)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return _BACKSPACED.sub("", done.stdout)


def test_the_page_is_rendered_without_warnings_and_has_every_command_option_and_exit_code() -> None:
    text = " ".join(rendered().replace("\u2010", "-").split())
    for path, command in commands().items():
        assert path in text
        for parameter in own_parameters(command):
            assert " ".join(parameter.name.split()) in text, (path, parameter.name)
    for word in ("EXIT STATUS", "TOKENSVC_CONFIG", "--install-completion", "1h30m", "130 Interrupted"):
        assert word in text


def test_options_can_be_copied_from_the_page() -> None:
    """A hyphen that is not escaped may be rendered as a typographic one, which no shell understands."""
    for line in FILE.read_text("utf-8").splitlines():
        assert not re.search(r"(?<!\\)-", line), line
    assert FILE.read_text("utf-8").isascii()


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed: make system-packages")
def test_man_shows_it() -> None:
    done = subprocess.run(
        ["man", "--warnings=w", "-Tutf8", "-l", str(FILE)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"},
    )
    assert done.stderr == ""
    assert "TOKENSVC(1)" in done.stdout


def test_the_package_installs_it_where_man_looks() -> None:
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text("utf-8"))
    assert project["tool"]["setuptools"]["data-files"] == {"share/man/man1": [FILE.relative_to(ROOT.parent).as_posix()]}
