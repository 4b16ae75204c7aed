"""Builds C programs for tests from the shipped sources with the shipped flags, or says why it cannot.

Invariants
- Of the system only the compiler is used: Intel's libraries are those that `make` installs in build/native.
- The output is written to a folder of the test.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
NATIVE = ROOT / "tokensvc/jose/signing/native"
SANITIZE = ("-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

_PRINT_FLAGS = """
import json
from build_backend import extensions
print(json.dumps([
    [*e.extra_compile_args, *(f"-D{n}={v}" for n, v in e.define_macros), *(f"-I{d}" for d in e.include_dirs)]
    for e in extensions()
] + [e.extra_link_args for e in extensions()]))
"""


class Flags(NamedTuple):
    """The compiler and linker flags of the extension."""

    compile: list[str]
    link: list[str]


@cache
def flags() -> Flags | None:
    """From the build backend itself, which finds Intel's libraries; None if it would build no extension."""
    libraries = [str(path) for path in (ROOT / "build/native").glob("lib/python*/site-packages")]
    completed = subprocess.run(
        [sys.executable, "-c", _PRINT_FLAGS],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(NATIVE), *libraries])},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    printed = json.loads(completed.stdout)
    return Flags(*printed) if printed else None


def compiler() -> str | None:
    """The compiler that Python was built with, or the system's."""
    return shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]) or shutil.which("cc")


def why_not() -> str:
    """Why nothing can be built here; empty if it can."""
    if compiler() is None:
        return "no C compiler is installed"
    if flags() is None:
        return "Intel's libraries are not in build/native, or do not support this machine: `make` installs them"
    return ""


def why_not_extension() -> str:
    """Why no Python extension can be built here; empty if it can."""
    if not why_not() and not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's headers are not installed"
    return why_not()


def why_not_sanitized(folder: Path) -> str:
    """Why no program with the sanitizers can be built and run here; empty if it can."""
    if reason := why_not():
        return reason
    source = folder / "nothing.c"
    source.write_text("int main(void) { return 0; }\n")
    program = folder / "nothing"
    built = subprocess.run([compiler() or "", *SANITIZE, str(source), "-o", str(program)], capture_output=True)
    if built.returncode != 0 or subprocess.run([program], capture_output=True).returncode != 0:
        return "the compiler has no AddressSanitizer, or its programs do not run here"
    return ""


def sanitizer_library() -> Path:
    """AddressSanitizer's runtime, which a process must load before a sanitized extension."""
    completed = subprocess.run(
        [compiler() or "", "-print-file-name=libasan.so"], stdout=subprocess.PIPE, text=True, check=True
    )
    return Path(completed.stdout.strip()).resolve()


def build_program(source: Path, program: Path, *extra: str) -> None:
    """Compile a program that includes ecdsa_p384.c."""
    _build([str(source)], program, f"-I{NATIVE}", *extra)


def build_shared(source: Path, library: Path) -> Path:
    """Compile a library from one file."""
    built = subprocess.run(
        [compiler() or "", "-shared", "-fPIC", "-O2", str(source), "-o", str(library)], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return library


def build_extension(folder: Path, *extra: str) -> Path:
    """Compile the extension into a folder."""
    extension = folder / "_multibuffer.abi3.so"
    headers = sysconfig.get_path("include")
    sources = [str(NATIVE / name) for name in ("module.c", "ecdsa_p384.c")]
    _build(sources, extension, "-shared", "-fPIC", f"-I{headers}", *extra)
    return extension


def _build(sources: list[str], output: Path, *extra: str) -> None:
    known = flags()
    assert known is not None, why_not()
    link = [flag for flag in known.link if flag != "-s"]
    command = [compiler() or "", *known.compile, *sources, str(NATIVE / "openssl_absent.c"), *extra, *link]
    built = subprocess.run([*command, "-o", str(output)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
