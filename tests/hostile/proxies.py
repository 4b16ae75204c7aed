"""Debian's nginx and HAProxy in front of the service, in common configurations.

Invariants
- Upstream connections are kept alive and shared by all clients: a byte that is misread on one affects other clients.
- Upgrade headers are forwarded, as in the usual configuration for WebSockets.
- All files are in the test's folder and all ports on the loopback; the machine's own configuration is not read.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.wire import Address
from tests.support.deployment import free_port
from tests.support.processes import environment, started

NGINX = """
daemon off;
master_process off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    keepalive_requests 1000000;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream tokens {{
        server {upstream.host}:{upstream.port};
        keepalive 8;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        server_name tokens.example;
        location / {{
            proxy_pass http://tokens;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_request_buffering {buffering};
        }}
    }}
}}
"""

HAPROXY = """
global
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-request 20s
    option forwardfor
frontend clients
    bind 127.0.0.1:{port} backlog 4096
    default_backend tokens
backend tokens
    http-reuse always
    server tokensvc {upstream.host}:{upstream.port} pool-purge-delay 60s
"""


@contextlib.contextmanager
def nginx(upstream: Address, folder: Path, *, buffering: str) -> Iterator[Address]:
    """nginx; with `buffering` on it forwards a request when it is complete, with off while it arrives."""
    program, port = _program("nginx"), free_port()
    config = folder / "nginx.conf"
    user = "user root;" if Path("/proc/self").stat().st_uid == 0 else ""
    config.write_text(NGINX.format(folder=folder, upstream=upstream, port=port, buffering=buffering, user=user))
    arguments = [program, "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
    with _proxy(arguments, folder, port) as address:
        yield address


@contextlib.contextmanager
def haproxy(upstream: Address, folder: Path) -> Iterator[Address]:
    program, port = _program("haproxy"), free_port()
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(upstream=upstream, port=port))
    with _proxy([program, "-db", "-f", str(config)], folder, port) as address:
        yield address


@contextlib.contextmanager
def _proxy(arguments: list[str], folder: Path, port: int) -> Iterator[Address]:
    with started(arguments, folder, environment(folder / "home"), Path(arguments[0]).name) as process:
        process.wait_until(lambda: _accepts(port), "it accepts connections")
        yield Address("127.0.0.1", port)


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed: make system-packages")
    return found


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
