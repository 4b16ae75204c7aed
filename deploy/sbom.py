"""Writes the list of components of the image as CycloneDX JSON, to standard output.

`cyclonedx-py` lists the Python packages that are installed. What it cannot see is added here: the packages of the base
image, its Python interpreter, and the libraries that the C extension is linked from.

Invariants
- The document is validated against CycloneDX's schema before it is written.
- It has no time and no random id: the same image has the same list.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from email.parser import Parser
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

SCHEMA = SchemaVersion.V1_6


def main() -> None:
    """Write the list."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--python", required=True, help="the interpreter of the environment in the image")
    options.add_argument("--os-release", type=Path, required=True, help="/etc/os-release of the base")
    options.add_argument("--dpkg-status", type=Path, required=True, help="/var/lib/dpkg/status of the base")
    options.add_argument("--native", type=Path, required=True, help="the lock file of the linked libraries")
    given = options.parse_args()
    bom = python_packages(given.python)
    system = dict(line.split("=", 1) for line in given.os_release.read_text().splitlines() if "=" in line)
    identity, release = (system.get(name, "").strip('"') for name in ("ID", "VERSION_ID"))
    bom.components.add(
        Component(name=identity, version=release, type=ComponentType.OPERATING_SYSTEM, bom_ref=f"{identity}-{release}")
    )
    bom.components.update(system_packages(given.dpkg_status.read_text(), identity, release))
    bom.components.add(interpreter(given.python))
    if has_extension(given.python):
        bom.components.update(linked_libraries(given.native.read_text().splitlines()))
    text = make_outputter(bom, OutputFormat.JSON, SCHEMA).output_as_string(indent=1)
    if problem := JsonStrictValidator(SCHEMA).validate_str(text):
        sys.exit(f"not valid CycloneDX: {problem}")
    print(text)


def python_packages(python: str) -> Bom:
    """What is installed in the environment."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", python]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own arguments
    return Bom.from_json(json.loads(listed))  # type: ignore[no-any-return, attr-defined] # added by py-serializable


def system_packages(status: str, distribution: str, release: str) -> Iterator[Component]:
    """The packages that dpkg has installed."""
    for paragraph in status.split("\n\n"):
        fields = Parser().parsestr(paragraph.lstrip("\n"))
        if fields.get("Status") == "install ok installed":
            name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
            qualifiers = {"arch": architecture, "distro": f"{distribution}-{release}"}
            purl = PackageURL("deb", distribution, name, version, qualifiers)
            yield Component(name=name, version=version, purl=purl, bom_ref=str(purl))


def interpreter(python: str) -> Component:
    """The Python interpreter: it may be one that no package manager knows."""
    version = _output(python, "import platform; print(platform.python_version())")
    purl = PackageURL("generic", None, "python", version)
    return Component(
        name="python",
        version=version,
        purl=purl,
        bom_ref=str(purl),
        cpe=f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*",
    )


def has_extension(python: str) -> bool:
    """Whether the C extension is in the environment."""
    return (
        _output(
            python,
            "from importlib.util import find_spec as f; print(f('tokensvc.jose.signing._multibuffer') is not None)",
        )
        == "True"
    )


def linked_libraries(lock: Iterable[str]) -> Iterator[Component]:
    """The libraries whose code is linked into the C extension."""
    for line in lock:
        name, separator, rest = line.partition("==")
        if separator:
            version = rest.split()[0]
            purl = PackageURL("pypi", None, name, version)
            description = "linked statically into tokensvc/jose/signing/_multibuffer.abi3.so"
            yield Component(name=name, version=version, purl=purl, bom_ref=str(purl), description=description)


def _output(python: str, program: str) -> str:
    """What the program prints; isolated, because the directory of the sources is not what is installed."""
    return subprocess.run([python, "-I", "-c", program], check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603


if __name__ == "__main__":
    main()
