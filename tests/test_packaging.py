"""What is distributed: the source distribution, a pure wheel, one with the C extension, and an installation of each."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.support.processes import run, started
from tests.support.signers import MULTIBUFFER_UNAVAILABLE_REASON, needs_multibuffer
from tests.support.wheels import (
    COMMIT,
    ROOT,
    UNAVAILABLE_REASON,
    build,
    constraints,
    copy_sources,
    make_environment,
    pip,
    unpack,
)
from tokensvc import __version__
from tokensvc.commit import GENERATED

EXTENSION = "tokensvc/jose/signing/_multibuffer.abi3.so"
PURE = ("--config-setting", "native=off")
SIGN = """
from cryptography.hazmat.primitives.asymmetric import ec
from tokensvc.jose.signing.choice import choose_signer
from tokensvc.jose.es384 import digest, verify
key = ec.generate_private_key(ec.SECP384R1())
signer = choose_signer("auto").signer
signatures = signer.sign_many([(signer.prepare(key), digest(b"data"))] * 8)
print(signer.name, all(verify(key.public_key(), b"data", signature) for signature in signatures))
"""

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(UNAVAILABLE_REASON), reason=UNAVAILABLE_REASON)]


def installed_files(environment: Path) -> set[Path]:
    return {path for path in environment.rglob("*") if "__pycache__" not in path.parts}


def contents(wheel: Path) -> dict[str, bytes]:
    """Each file of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One copy of the sources, so that all builds are of the same."""
    return copy_sources(tmp_path_factory.mktemp("sources") / "copy")


@pytest.fixture(scope="module")
def sdist(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built("sdist", sources, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def native_wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built("wheel", sources, tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="module")
def pure_wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built("wheel", sources, tmp_path_factory.mktemp("pure"), *PURE)


def _built(kind: str, sources: Path, folder: Path, *options: str) -> Path:
    """Built from a copy of its own: a build leaves files behind."""
    return build(kind, shutil.copytree(sources, folder / "sources"), folder / "built", *options)


def test_the_pure_wheel_is_for_every_machine_and_contains_the_whole_package(pure_wheel: Path) -> None:
    assert pure_wheel.name.endswith("-py3-none-any.whl")
    packaged = {name for name in contents(pure_wheel) if name.startswith("tokensvc/")}
    here = {path for path in (ROOT / "tokensvc").rglob("*.py") if (path.parent / "__init__.py").exists()}
    expected = {str(path.relative_to(ROOT)) for path in here} | {f"tokensvc/{GENERATED}"}
    assert {name for name in packaged if name.endswith(".py")} == expected
    assert {Path(name).suffix for name in packaged} == {
        ".py",
        ".pyi",
        ".mako",
        ".typed",
        ".ts",
        ".html",
        ".css",
        ".js",
        ".svg",
    }
    assert "tokensvc/py.typed" in packaged


def test_a_wheel_has_nothing_but_the_package_its_manual_page_its_metadata_and_its_licences(pure_wheel: Path) -> None:
    files = contents(pure_wheel)
    manual = f"tokensvc-{__version__}.data/data/share/man/man1/tokensvc.1"
    assert {name.partition("/")[0] for name in files.keys() - {manual}} == {
        "tokensvc",
        f"tokensvc-{__version__}.dist-info",
    }
    assert b"tokensvc" in files[manual]
    licences = {name.partition(".dist-info/licenses/")[2] for name in files} - {""}
    assert licences == {"NOTICE", "LICENSES/hls.js-Apache-2.0.txt", "LICENSES/ipp-crypto-Apache-2.0.txt"}


def test_the_source_distribution_has_what_a_build_needs_and_no_tests(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()} - {""}
    top = {name.partition("/")[0] for name in names if not name.endswith(".egg-info")}
    assert top == {
        *("CHANGELOG.md", "LICENSES", "MANIFEST.in", "NOTICE", "PKG-INFO", "README.md", "pyproject.toml"),
        *("requirements", "setup.cfg", "setup.py", "tokensvc", "tokensvc.egg-info"),
    }
    assert {"tokensvc/jose/signing/native/module.c", f"tokensvc/{GENERATED}"} <= names


@pytest.mark.parametrize("kind", ["pure", "native"])
def test_a_wheel_from_the_source_distribution_is_that_from_the_sources(
    kind: str, sdist: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    sources = unpack(sdist, tmp_path / "unpacked")
    again = build("wheel", sources, tmp_path / "built", *(PURE if kind == "pure" else ()))
    before: Path = request.getfixturevalue(f"{kind}_wheel")
    assert again.name == before.name
    assert contents(again) == contents(before)


@needs_multibuffer
def test_the_native_wheel_adds_only_the_extension(native_wheel: Path, pure_wheel: Path) -> None:
    assert "-cp311-abi3-linux_x86_64" in native_wheel.name
    more = {name for name in contents(native_wheel).keys() ^ contents(pure_wheel) if ".dist-info/" not in name}
    assert more == {EXTENSION}


@needs_multibuffer
def test_the_extension_is_linked_to_the_c_library_only(native_wheel: Path) -> None:
    auditwheel = Path(sysconfig.get_path("scripts")) / "auditwheel"
    shown = subprocess.run([auditwheel, "show", native_wheel], capture_output=True, text=True, check=True).stdout
    assert "manylinux" in shown
    assert {word for word in shown.replace("'", " ").split() if ".so" in word} == {"libc.so.6"}


@needs_multibuffer
def test_the_extension_exports_only_its_init_function(native_wheel: Path) -> None:
    elffile = pytest.importorskip("elftools.elf.elffile")
    with zipfile.ZipFile(native_wheel) as archive, archive.open(EXTENSION) as binary:
        symbols = elffile.ELFFile(binary).get_section_by_name(".dynsym").iter_symbols()
        exported = {symbol.name for symbol in symbols if symbol["st_shndx"] != "SHN_UNDEF"}
    assert exported == {"PyInit__multibuffer"}


@pytest.mark.parametrize("missing", ["compiler", "libraries"])
def test_without_a_compiler_or_the_libraries_the_extension_is_left_out(missing: str, tmp_path: Path) -> None:
    environ = {"CC": "/nonexistent/cc"} if missing == "compiler" else {"PYTHONPATH": str(tmp_path)}
    wheel = build("wheel", copy_sources(tmp_path / "sources"), tmp_path / "built", **environ)
    assert EXTENSION not in contents(wheel)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment, in a folder with an awkward name, with the locked dependencies and without the service."""
    folder = make_environment(tmp_path_factory.mktemp("bare") / "Töken service's äöü")
    pip(folder, "install", "--require-hashes", "-r", str(ROOT / "requirements/run.txt"))
    return folder


@pytest.mark.parametrize("kind", ["pure", "native"])
def test_each_wheel_signs_in_a_bare_environment(
    kind: str, bare: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "native" and MULTIBUFFER_UNAVAILABLE_REASON:
        pytest.skip(MULTIBUFFER_UNAVAILABLE_REASON)
    pip(bare, "install", "--no-deps", "--force-reinstall", str(request.getfixturevalue(f"{kind}_wheel")))
    signed = subprocess.run([bare / "bin/python", "-c", SIGN], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert signed.stdout.split() == ["aws-lc" if kind == "pure" else "multibuffer", "True"]


@pytest.mark.e2e
def test_an_installed_wheel_runs_the_demo_and_leaves_nothing_when_uninstalled(
    bare: Path, pure_wheel: Path, tmp_path: Path
) -> None:
    """In an empty directory with an awkward name, without PATH."""
    pip(bare, "install", "--no-deps", "--force-reinstall", str(pure_wheel))
    pip(bare, "uninstall", "-y", "tokensvc")
    before = installed_files(bare)
    pip(bare, "install", "--no-deps", str(pure_wheel))
    assert installed_files(bare) > before
    tokensvc = str(bare / "bin/tokensvc")
    environ = {"HOME": str(tmp_path), "PATH": "", "LC_ALL": "C.UTF-8"}
    assert run([tokensvc, "--version"], tmp_path, environ).out == f"tokensvc {__version__} (commit {COMMIT})\n"
    folder = tmp_path / "my démo 1"
    folder.mkdir()
    with started([tokensvc, "demo", "--port", "0"], folder, environ, "demo") as process:
        process.wait_until((folder / ".demo/demo.json").exists, "the demo writes its connection info")
        issue = ". .demo/env; tokensvc tokens issue --channel $CHANNEL --viewer ada"
        request = f"{issue} --url $TOKENS --api-key-file .demo/api-key"
        for script in (issue, request):
            assert run(["/bin/sh", "-ec", script], folder, environ | {"PATH": os.defpath}).out.startswith("eyJ")
    pip(bare, "uninstall", "-y", "tokensvc")
    assert installed_files(bare) == before


def test_the_core_lacks_the_drivers_and_says_which_extra_has_them(pure_wheel: Path, tmp_path: Path) -> None:
    core = make_environment(tmp_path / "core")
    pip(core, "install", "-c", constraints(tmp_path), str(pure_wheel))
    pip(core, "check")
    for variable, url, extra in (
        ("TOKENSVC_DATABASE_URL", "postgresql://db.example/tokensvc", "postgres"),
        ("TOKENSVC_LIMITER_URL", "redis://limiter.example", "redis"),
        ("TOKENSVC_TRACING", "true", "otel"),
    ):
        for command in (["keys", "list"], ["serve"]):
            failed = run([str(core / "bin/tokensvc"), *command], tmp_path, {"PATH": "", variable: url}, code=2)
            assert f"{variable}: needs the extra {extra}" in failed.err
            assert f"pip install 'tokensvc[{extra}]'" in failed.err


def test_the_lock_files_have_every_extra() -> None:
    """Those of the service are in run.txt, those of the local IVS, which a service never needs, in test.txt."""

    def locked(file: str) -> set[str]:
        lines = (ROOT / "requirements" / file).read_text().splitlines()
        return {line.partition("==")[0] for line in lines if "==" in line}

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, requirements in extras.items():
        file = "test.txt" if name in ("test", "media", "geoip") else "run.txt"
        assert {re.split(r"[\[>]", requirement)[0] for requirement in requirements} <= locked(file)
