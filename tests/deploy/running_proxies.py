"""nginx, HAProxy and Caddy with a given configuration and a certificate of their own.

Invariants
- All files are in the test's folder and all ports on the loopback; the machine's own configuration is not read.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.http_client import Client
from tests.support.processes import environment, started

NGINX = """
pid nginx.pid;
error_log error.log;
daemon off;
events {{}}
http {{
    access_log off;
    client_body_temp_path tmp/body;
    proxy_temp_path tmp/proxy;
    fastcgi_temp_path tmp/fastcgi;
    uwsgi_temp_path tmp/uwsgi;
    scgi_temp_path tmp/scgi;
    include {file};
}}
"""


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed: make system-packages")
    return found


def replaced(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


class Proxy(NamedTuple):
    """A running proxy."""

    name: str
    url: str
    certificate: Path

    def client(self, key: str = "", **connection: object) -> Client:
        return Client(self.url, key, ca_certs=str(self.certificate), **connection)


def certificate_in(folder: Path) -> Path:
    """A certificate that is its own authority, with its key, in the forms that the proxies want."""
    key, certificate = folder / "tls.key", folder / "tls.crt"
    options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = [program("openssl"), "req", *options, *names, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "tls.pem").write_text(certificate.read_text() + key.read_text())
    return certificate


@contextlib.contextmanager
def running_proxy(name: str, folder: Path, file: str, text: str, port: int) -> Iterator[Proxy]:
    """The proxy with this configuration, which is written to the file and listens on that port."""
    binary, certificate = program(name), certificate_in(folder)
    (folder / file).write_text(text)
    if name == "nginx":
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(user + NGINX.format(file=file))
        (folder / "tmp").mkdir()
        command = [binary, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    elif name == "haproxy":
        command = [binary, "-db", "-f", str(folder / file)]
    else:
        command = [binary, "run", "--config", str(folder / file)]
    with started(command, folder, environment(folder / "home"), name) as process:
        process.wait_until(lambda: _accepts(port), "it accepts connections")
        yield Proxy(name, f"https://localhost:{port}", certificate)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
