"""`tokensvc ivs serve`: runs the local IVS by itself."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

import typer

from tokensvc.cli.connection_info import write_connection_info
from tokensvc.cli.help import Commands, examples
from tokensvc.cli.local import run_local_ivs
from tokensvc.cli.output import print_progress
from tokensvc.container.logs import configure
from tokensvc.errors import FieldError, SettingsError
from tokensvc.http.garbage_collection import freeze_gc
from tokensvc.local_ivs.http import DEFAULT_CREDENTIALS
from tokensvc.local_ivs.sigv4 import AccessKeySecret, parse_access_key
from tokensvc.supervisor import bind_listener, ignore_signals
from tokensvc.web.server import allow_abort, make_server

app = Commands("Run the local IVS, a stand-in for development and tests.")
REGION = "us-east-1"


@app.callback()
def _ivs() -> None:
    pass


@app.command()
@examples(
    ("Serve on port 4599, with the state in .local-ivs.db", "tokensvc ivs serve"),
    (
        "For tests: any free port, nothing on disk, no rate limits",
        "tokensvc ivs serve --port 0 --memory --no-rate-limits --info-file ivs.json",
    ),
    ("With a second account", "tokensvc ivs serve --access-key ci:secret:111122223333"),
)
def serve(
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Port to listen on; 0 picks a free one.")
    ] = 4599,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    access_key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID:SECRET:ACCOUNT", help="Access key to accept besides test:test:000000000000; may be repeated."
        ),
    ] = None,
    public_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Base URL of playback URLs. Default: the Host header of the request."),
    ] = None,
    database: Annotated[Path, typer.Option(metavar="FILE", help="SQLite file of the local IVS.")] = Path(
        ".local-ivs.db"
    ),
    memory: Annotated[
        bool, typer.Option("--memory", help="Keep all state in memory, without a database file.")
    ] = False,
    info_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write endpoint and credentials to this file once ready.")
    ] = None,
    management_port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Port of the management listener; 0 picks a free one.")
    ] = 0,
    no_rate_limits: Annotated[bool, typer.Option("--no-rate-limits", help="Do not enforce IVS's rate limits.")] = False,
    any_region: Annotated[
        bool, typer.Option("--any-region", help="Also accept calls for regions where IVS does not exist.")
    ] = False,
) -> None:
    """Serve the local IVS: its API at the root and the playback edge. It is not AWS."""
    configure("console")
    ignore_signals()
    credentials = {**DEFAULT_CREDENTIALS, **dict(map(_credential, access_key or ()))}
    listener = bind_listener("--port", host, port)
    bound_host, bound_port = listener.getsockname()[:2]
    with run_local_ivs(
        None if memory else database,
        credentials,
        prefix="",
        public_url=public_url,
        management_port=management_port,
        rate_limits=not no_rate_limits,
        any_region=any_region,
    ) as local_ivs:
        server = make_server(local_ivs.components.site, lambda: None, delay_seconds=0)
        allow_abort(server.config)
        url = f"http://{_url_host(bound_host)}:{bound_port}"
        print_progress(
            f"Endpoint {url}, region {REGION}, access key test, secret test. Management API: {local_ivs.management_url}"
        )
        if info_file is not None:
            key_id, secret = next(iter(credentials.items()))
            write_connection_info(
                info_file,
                {
                    "ivsEndpoint": url,
                    "managementUrl": local_ivs.management_url,
                    "region": REGION,
                    "accessKeyId": key_id,
                    "secretAccessKey": secret.secret_access_key,
                },
            )
        freeze_gc()
        try:
            server.run([listener])
        finally:
            if info_file is not None:
                info_file.unlink(missing_ok=True)


def _credential(text: str) -> tuple[str, AccessKeySecret]:
    try:
        return parse_access_key(text)
    except ValueError as rule:
        raise SettingsError([FieldError("--access-key", str(rule))]) from None


def _url_host(host: str) -> str:
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        return "127.0.0.1"
    return f"[{host}]" if address.version == 6 else host
