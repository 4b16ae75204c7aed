"""Builds the wheels and the source distribution, and environments into which they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = (
    "CHANGELOG.md",
    "LICENSES",
    "MANIFEST.in",
    "NOTICE",
    "README.md",
    "pyproject.toml",
    "setup.py",
    "requirements",
    "tokensvc",
)
LIBRARIES = sorted(ROOT.glob("build/native/lib/python*/site-packages"))
UNAVAILABLE_REASON = "" if LIBRARIES else "build/native is missing: make did not create the environment"
COMMIT = "0123456789ab"
"""The commit of what is built here: the copies of the sources are not in git."""


def copy_sources(folder: Path) -> Path:
    """A copy of what is packaged."""
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def build(kind: str, sources: Path, folder: Path, *options: str, **environ: str) -> Path:
    """Build `wheel` or `sdist` from a folder with sources; a new empty folder gets it."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "-x", "--outdir", str(folder), *options]
    command += ["--config-setting", f"commit={COMMIT}"]
    variables = os.environ | {"PYTHONPATH": str(LIBRARIES[0]), "SOURCE_DATE_EPOCH": "1000000000"} | environ
    done = subprocess.run(command, cwd=sources, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = folder.iterdir()
    return built


def unpack(sdist: Path, folder: Path) -> Path:
    """The folder with the sources of a source distribution."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    [sources] = folder.iterdir()
    return sources


def pip(environment: Path, *arguments: str) -> str:
    """Run pip for an environment, and return what it prints."""
    command = [str(environment / "bin/python"), "-m", "pip", "-q", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_environment(folder: Path) -> Path:
    """A fresh environment with nothing but pip."""
    venv.create(folder, with_pip=True)
    return folder


def constraints(folder: Path, lock: str = "run") -> str:
    """A file with the versions of a lock file, without hashes: with them, pip would demand one of the wheel under test
    too."""
    lines = (ROOT / f"requirements/{lock}.txt").read_text().splitlines()
    file = folder / f"{lock}-constraints.txt"
    file.write_text("\n".join(line.removesuffix("\\") for line in lines if "==" in line and not line.startswith(" ")))
    return str(file)
