"""The wheels: a pure one for every machine, one with the C extension, and an installation of each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.signers import MULTIBUFFER_UNAVAILABLE_REASON, needs_multibuffer

ROOT = Path(__file__).parents[1]
SOURCES = ("LICENSES", "MANIFEST.in", "NOTICE", "README.md", "pyproject.toml", "setup.py", "requirements", "tokensvc")
EXTENSION = "tokensvc/jose/signing/_multibuffer.abi3.so"
LIBRARIES = sorted(ROOT.glob("build/native/lib/python*/site-packages"))
SIGN = """
from cryptography.hazmat.primitives.asymmetric import ec
from tokensvc.jose.signing.choice import choose_signer
from tokensvc.jose.es384 import digest, verify
key = ec.generate_private_key(ec.SECP384R1())
signer = choose_signer("auto").signer
signatures = signer.sign_many([(signer.prepare(key), digest(b"data"))] * 8)
print(signer.name, all(verify(key.public_key(), b"data", signature) for signature in signatures))
"""

pytestmark = pytest.mark.skipif(not LIBRARIES, reason="build/native is missing: make did not create the environment")


def build_wheel(tmp_path: Path, *options: str, **environ: str) -> Path:
    """Build a wheel from a copy of the sources."""
    sources = tmp_path / "sources"
    sources.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.so")
            shutil.copytree(ROOT / name, sources / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, sources / name)
    wheels = tmp_path / "wheels"
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-x", "--outdir", str(wheels), *options]
    variables = os.environ | {"PYTHONPATH": str(LIBRARIES[0])} | environ
    done = subprocess.run(command, cwd=sources, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = wheels.glob("*.whl")
    return wheel


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def native_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="module")
def pure_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("pure"), "--config-setting", "native=off")


@pytest.mark.long
def test_the_pure_wheel_is_for_every_machine_and_contains_the_whole_package(pure_wheel: Path) -> None:
    assert pure_wheel.name.endswith("-py3-none-any.whl")
    packaged = {name for name in contents(pure_wheel) if name.startswith("tokensvc/")}
    here = {path for path in (ROOT / "tokensvc").rglob("*.py") if (path.parent / "__init__.py").exists()}
    assert {name for name in packaged if name.endswith(".py")} == {str(path.relative_to(ROOT)) for path in here}
    assert {Path(name).suffix for name in packaged} == {".py", ".pyi", ".mako", ".typed"}
    assert "tokensvc/py.typed" in packaged
    licences = {name.partition(".dist-info/licenses/")[2] for name in contents(pure_wheel)} - {""}
    assert licences == {"NOTICE", "LICENSES/ipp-crypto-Apache-2.0.txt"}


@pytest.mark.long
@needs_multibuffer
def test_the_native_wheel_adds_only_the_extension(native_wheel: Path, pure_wheel: Path) -> None:
    assert "-cp311-abi3-linux_x86_64" in native_wheel.name
    more = {name for name in contents(native_wheel) ^ contents(pure_wheel) if ".dist-info/" not in name}
    assert more == {EXTENSION}


@pytest.mark.long
@needs_multibuffer
def test_the_extension_is_linked_to_the_c_library_only(native_wheel: Path) -> None:
    auditwheel = Path(sysconfig.get_path("scripts")) / "auditwheel"
    shown = subprocess.run([auditwheel, "show", native_wheel], capture_output=True, text=True, check=True).stdout
    assert "manylinux" in shown
    assert {word for word in shown.replace("'", " ").split() if ".so" in word} == {"libc.so.6"}


@pytest.mark.long
@needs_multibuffer
def test_the_extension_exports_only_its_init_function(native_wheel: Path, tmp_path: Path) -> None:
    elffile = pytest.importorskip("elftools.elf.elffile")
    with zipfile.ZipFile(native_wheel) as archive, archive.open(EXTENSION) as binary:
        symbols = elffile.ELFFile(binary).get_section_by_name(".dynsym").iter_symbols()
        exported = {symbol.name for symbol in symbols if symbol["st_shndx"] != "SHN_UNDEF"}
    assert exported == {"PyInit__multibuffer"}


@pytest.mark.long
@pytest.mark.parametrize("missing", ["compiler", "libraries"])
def test_without_a_compiler_or_the_libraries_the_extension_is_left_out(missing: str, tmp_path: Path) -> None:
    environ = {"CC": "/nonexistent/cc"} if missing == "compiler" else {"PYTHONPATH": str(tmp_path)}
    assert EXTENSION not in contents(build_wheel(tmp_path, **environ))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the service's dependencies, without the service itself."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=True)
    locked = str(ROOT / "requirements/run.txt")
    _pip(folder, "install", "--require-hashes", "-r", locked)
    return folder


def _pip(folder: Path, *arguments: str) -> None:
    command = [str(folder / "bin/python"), "-m", "pip", "-q", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.parametrize("kind", ["pure", "native"])
def test_each_wheel_signs_in_a_bare_environment(
    kind: str, bare: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "native" and MULTIBUFFER_UNAVAILABLE_REASON:
        pytest.skip(MULTIBUFFER_UNAVAILABLE_REASON)
    _pip(bare, "install", "--no-deps", "--force-reinstall", str(request.getfixturevalue(f"{kind}_wheel")))
    signed = subprocess.run([bare / "bin/python", "-c", SIGN], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert signed.stdout.split() == ["aws-lc" if kind == "pure" else "multibuffer", "True"]
