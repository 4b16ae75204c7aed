"""The build backend: setuptools' own, which also builds the multi-buffer extension on machines that support it.

Invariants
- An installation never fails because of the extension: without a C compiler, Python's headers or Intel's libraries, and
  on all machines but x86-64 Linux with glibc, the package is installed without it.
- Intel's libraries are needed only while building: they are linked statically.

`pip install --config-settings native=off` leaves the extension out; `commit=…` states the commit where there is no git.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from setuptools import Extension
from setuptools import build_meta as setuptools_backend

_PACKAGE = Path("tokensvc/jose/signing")
_LIBRARIES = Path("requirements/native.in")
_SWITCH = "TOKENSVC_BUILD_NATIVE"
COMMIT_SWITCH = "TOKENSVC_BUILD_COMMIT"
"""They pass the config settings to setup.py, which does not receive config settings."""

get_requires_for_build_sdist = setuptools_backend.get_requires_for_build_sdist


def build_sdist(directory: str, config_settings: Any = None) -> str:
    return str(setuptools_backend.build_sdist(directory, _setuptools_settings(config_settings)))


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    return [*setuptools_backend.get_requires_for_build_wheel(config_settings), *_libraries(config_settings)]


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    return [*setuptools_backend.get_requires_for_build_editable(config_settings), *_libraries(config_settings)]


def prepare_metadata_for_build_wheel(directory: str, config_settings: Any = None) -> str:
    return str(setuptools_backend.prepare_metadata_for_build_wheel(directory, _setuptools_settings(config_settings)))


def prepare_metadata_for_build_editable(directory: str, config_settings: Any = None) -> str:
    return str(setuptools_backend.prepare_metadata_for_build_editable(directory, _setuptools_settings(config_settings)))


def build_wheel(directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    return str(setuptools_backend.build_wheel(directory, _setuptools_settings(config_settings), metadata_directory))


def build_editable(directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    return str(setuptools_backend.build_editable(directory, _setuptools_settings(config_settings), metadata_directory))


def extensions() -> list[Extension]:
    """The extension, or an empty list if it cannot be built."""
    headers, libraries = _installed("ipp-crypto-include"), _installed("ipp-crypto-static")
    if os.environ.get(_SWITCH) == "off" or not _is_for_this_machine() or not headers or not libraries:
        print("tokensvc: built without the multi-buffer signer", file=sys.stderr)
        return []
    includes = {path.parent for path in headers if path.name == "ippcp.h" and path.parent.name == "include"}
    includes |= {path.parent.parent for path in headers if path.name == "ec_nistp384.h"}
    archives = [str(path) for path in libraries if path.suffix == ".a"]
    return [
        Extension(
            "tokensvc.jose.signing._multibuffer",
            [str(_PACKAGE / "native" / name) for name in ("module.c", "ecdsa_p384.c", "openssl_absent.c")],
            depends=[str(_PACKAGE / "native/ecdsa_p384.h")],
            include_dirs=sorted(map(str, includes)),
            define_macros=[("BN_OPENSSL_DISABLE", "1")],
            extra_compile_args=["-std=c11", "-O2", "-fvisibility=hidden", "-ffunction-sections", "-fdata-sections"],
            extra_link_args=[
                "-Wl,--start-group",
                *archives,
                "-Wl,--end-group",
                "-Wl,--gc-sections",
                "-Wl,--exclude-libs,ALL",
                "-Wl,-z,relro,-z,now,-z,noexecstack",
                "-s",
            ],
            py_limited_api=True,
            optional=True,
        )
    ]


def _libraries(config_settings: Any) -> list[str]:
    if (config_settings or {}).get("native") == "off" or not _is_for_this_machine():
        return []
    return [line.partition(";")[0].strip() for line in _LIBRARIES.read_text().splitlines() if "==" in line]


def _setuptools_settings(config_settings: Any) -> Any:
    """The config settings without those of this backend."""
    settings = dict(config_settings or {})
    if settings.pop("native", None) == "off":
        os.environ[_SWITCH] = "off"
    if commit := settings.pop("commit", None):
        os.environ[COMMIT_SWITCH] = str(commit)
    return settings or None


def _is_for_this_machine() -> bool:
    return sys.platform == "linux" and platform.machine() == "x86_64" and platform.libc_ver()[0] == "glibc"


def _installed(distribution: str) -> list[Path]:
    """The files of a distribution, which may be outside `sys.prefix`: build isolation uses a folder of its own."""
    try:
        return [Path(str(file.locate())).resolve() for file in files(distribution) or ()]
    except PackageNotFoundError:
        return []
