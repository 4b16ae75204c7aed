"""`tokensvc health`: what a container's health check runs.

Invariants
- It reads only the settings that say where the listeners are, from the environment and the settings file: a secret that
  is missing now does not make a service unhealthy that runs with it.
- It imports no HTTP client but the standard library's, because it runs every few seconds.
"""

from __future__ import annotations

import ipaddress
import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from types import FrameType
from typing import Annotated, Any

import typer

from tokensvc.cli.durations import duration_option
from tokensvc.cli.help import examples
from tokensvc.cli.output import AsJson, print_error, print_result
from tokensvc.cli.service_url import connect
from tokensvc.errors import FieldError, ServiceUnreachable, SettingsError
from tokensvc.settings import read_chosen_settings, variable_name
from tokensvc.settings_file import CONFIG_VARIABLE

LISTENER_SETTINGS = ("host", "port", "admin_host", "admin_port")
BODY_MAX_BYTES = 64 * 1024
_STATUS = {"/readyz": "ready", "/livez": "alive"}


@examples(
    ("Is the service of these settings ready?", "tokensvc health"),
    ("Does its process respond?", "tokensvc health --live"),
    ("Ask the service at a URL, for half a second at most", 'tokensvc health --url "$TOKENS" --timeout 0.5'),
)
def health(
    live: Annotated[
        bool, typer.Option("--live", help="Ask whether the process responds (/livez), not whether it is ready.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Base URL to ask. Default: the listener that the settings name."),
    ] = None,
    timeout: Annotated[
        float,
        duration_option(at_least=0.1, at_most=60, help="Longest wait for the whole response.", show_default="3s"),
    ] = 3.0,
    as_json: AsJson = False,
) -> None:
    """Ask a running service whether it is ready (/readyz). Exits with 0 if it is, otherwise with 1.

    It asks the admin listener if TOKENSVC_ADMIN_PORT is set, and the public one otherwise, on this machine.
    """
    endpoint = "/livez" if live else "/readyz"
    base_url = (url or _url_of_settings(os.environ)).rstrip("/")
    asked = base_url + endpoint
    status, response_body = _probe(base_url, endpoint, timeout)
    if status == 200 and response_body.get("status") == _STATUS[endpoint]:
        listed = response_body.get("warnings")
        warnings = list(map(str, listed)) if isinstance(listed, list) else []
        data: dict[str, Any] = {"url": asked, "status": _STATUS[endpoint], "warnings": warnings}
        lines = [f"{asked}: {_STATUS[endpoint]}", *(f"warning: {warning}" for warning in warnings)]
        print_result(data, as_json, *lines)
        return
    code = response_body.get("code")
    if not isinstance(code, str):
        raise ServiceUnreachable(f"{asked}: the response, with status {status}, is not from tokensvc")
    print_error(code, f"{asked}: {status} {code}: {response_body.get('detail', '')}", as_json)
    raise typer.Exit(1)


def _url_of_settings(environ: Mapping[str, str]) -> str:
    """The listener of the settings: the admin listener, which `worker` has too, or else the public one."""
    names = {variable_name(name) + suffix for name in LISTENER_SETTINGS for suffix in ("", "_FILE")} | {CONFIG_VARIABLE}
    given = {name: value for name, value in environ.items() if name in names}
    host, port, admin_host, admin_port = read_chosen_settings(given, *LISTENER_SETTINGS)
    variable = variable_name("port")
    if admin_port is not None:
        host, port, variable = admin_host, admin_port, variable_name("admin_port")
    if port == 0:
        raise SettingsError([FieldError(variable, "is 0, so the port is not known here; pass --url")])
    host = _reachable(host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _reachable(host: str) -> str:
    """The address at which this machine reaches a listener on `host`: loopback, if it listens on all addresses."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def _probe(base_url: str, endpoint: str, timeout: float) -> tuple[int, Mapping[str, Any]]:
    """The status and the JSON object that responds; an empty one for anything else. Raises InvalidRequest for
    an invalid URL, and ServiceUnreachable."""
    connection, path = connect(base_url, timeout)
    try:
        with _time_limit(timeout):
            connection.request("GET", path + endpoint, headers={"Connection": "close"})
            response = connection.getresponse()
            status, body = response.status, response.read(BODY_MAX_BYTES)
    except TimeoutError:
        raise ServiceUnreachable(f"{base_url}{endpoint}: no response within {timeout:g} s") from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ServiceUnreachable(f"{base_url}{endpoint}: {reason}") from None
    finally:
        connection.close()
    try:
        response_body = json.loads(body)
    except (ValueError, RecursionError):
        response_body = None
    return status, response_body if isinstance(response_body, dict) else {}


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError after this time: the time limit of a socket begins anew with each part that arrives."""

    def expire(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
