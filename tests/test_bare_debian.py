"""A bare Debian with only Python 3.11: the wheel is installed, the demo starts, and it issues a token.

Run with `-s` to see the seconds and megabytes: `pytest -s tests/test_bare_debian.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_client import Client
from tests.support.processes import run, started
from tests.support.wheels import UNAVAILABLE_REASON, build, constraints, copy_sources

SUITE = "bookworm"
PACKAGES = "python3,python3-venv"
"""Debian's Python, whole: the second has the modules venv and ensurepip of the standard library."""
READY_WITHIN_SECONDS = 60
SIZE_MAX_MB = 180
"""Of the environment with the core, compiled, without pip and setuptools: 157 MB when this was written."""
ENVIRON = {"HOME": "/root", "PATH": "/usr/sbin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


def unavailable_reason() -> str:
    """Why no such Debian can be made here; "" if it can."""
    if UNAVAILABLE_REASON:
        return UNAVAILABLE_REASON
    if sys.version_info[:2] != (3, 11):
        return "the wheels that are downloaded are those of the running Python, and Debian 12 has 3.11"
    if missing := [name for name in ("mmdebstrap", "chroot") if shutil.which(name) is None]:
        return f"{' and '.join(missing)} not installed: make system-packages-image"
    if os.geteuid() != 0:
        return "only root may use chroot"
    tried = subprocess.run(["chroot", "/", "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip()


pytestmark = [
    pytest.mark.long,
    pytest.mark.e2e,
    pytest.mark.skipif(bool(unavailable_reason()), reason=unavailable_reason()),
]


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root of a Debian, with the wheels of the core in `/wheels`."""
    folder = tmp_path_factory.mktemp("debian")
    root = folder / "root"
    command = ["mmdebstrap", "--quiet", "--variant=essential", f"--include={PACKAGES}", SUITE, str(root)]
    subprocess.run(command, check=True, capture_output=True)
    wheel = build("wheel", copy_sources(folder / "sources"), folder / "built")
    wheels = ["--dest", str(root / "wheels"), "-c", constraints(folder)]
    download = [sys.executable, "-m", "pip", "-q", "download", "--only-binary", ":all:", *wheels, str(wheel)]
    subprocess.run(download, check=True, capture_output=True)
    yield root
    shutil.rmtree(root)


def in_root(root: Path, *command: str) -> list[str]:
    return ["chroot", str(root), *command]


def megabytes(folder: Path) -> float:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*")) / 1e6


def test_the_demo_starts_on_a_bare_debian(debian: Path, tmp_path: Path) -> None:
    before = megabytes(debian)
    run(in_root(debian, "python3", "-m", "venv", "/opt/tokensvc"), tmp_path, ENVIRON)
    installing_at = time.monotonic()
    install = ("/opt/tokensvc/bin/pip", "-q", "install", "--no-index", "--find-links", "/wheels", "tokensvc")
    run(in_root(debian, *install), tmp_path, ENVIRON, within_seconds=300)
    installed_in = time.monotonic() - installing_at
    run(in_root(debian, "/opt/tokensvc/bin/pip", "-q", "uninstall", "-y", "setuptools", "pip"), tmp_path, ENVIRON)
    size = megabytes(debian / "opt/tokensvc")
    folder = debian / "srv/demo"
    folder.mkdir()
    starting_at = time.monotonic()
    demo = in_root(debian, "/bin/sh", "-ec", "cd /srv/demo && exec /opt/tokensvc/bin/tokensvc demo --port 0")
    with started(demo, tmp_path, ENVIRON, "demo") as process:
        info_file = folder / ".demo/demo.json"
        process.wait_until(info_file.exists, "the demo is ready", within_seconds=READY_WITHIN_SECONDS)
        info = json.loads(info_file.read_text())
        with Client(info["url"], info["apiKey"]) as caller:
            assert caller.request_token(channelArn=info["channelArn"], viewerId="ada").status == 201
        first_token_in = time.monotonic() - starting_at
        script = "cd /srv/demo && . .demo/env && tokensvc doctor && tokensvc tokens issue --channel $CHANNEL --viewer a"
        assert "eyJ" in run(in_root(debian, "/bin/sh", "-ec", script), tmp_path, ENVIRON).out
    print(
        f"\nbare Debian: installed in {installed_in:.1f} s, {size:.0f} MB; "
        f"first token {first_token_in:.1f} s after `tokensvc demo`; "
        f"Debian with Python and the wheels: {before:.0f} MB"
    )
    assert size <= SIZE_MAX_MB
