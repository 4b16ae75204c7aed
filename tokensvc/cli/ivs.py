"""`tokensvc ivs serve`: runs the local IVS by itself."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

import typer

from tokensvc.cli.config_option import reads_no_settings
from tokensvc.cli.connection_info import write_connection_info
from tokensvc.cli.durations import duration_option
from tokensvc.cli.help import Commands, examples
from tokensvc.cli.media_option import DEFAULT_MEDIA, Media, media_library
from tokensvc.cli.output import print_progress
from tokensvc.errors import FieldError, SettingsError
from tokensvc.local_ivs.propagation import MAX_DELAY_SECONDS
from tokensvc.local_ivs.sigv4 import AccessKeySecret, parse_access_key

app = Commands("Run the local IVS, a stand-in for development and tests.")
REGION = "us-east-1"
MEDIA_FOLDER = ".local-ivs-media"
"""Where what was made for the edge is stored, beside the database."""


@app.callback()
def _ivs() -> None:
    pass


@app.command()
@reads_no_settings
@examples(
    ("Serve on port 4599, with the state in .local-ivs.db", "tokensvc ivs serve"),
    (
        "For tests: any free port, nothing on disk, no rate limits",
        "tokensvc ivs serve --port 0 --memory --no-rate-limits --info-file ivs.json",
    ),
    ("With a second account", "tokensvc ivs serve --access-key ci:secret:111122223333"),
    ("With the channels of a file", "tokensvc ivs serve --seed channels.toml"),
    ("Revocations take effect after 5 seconds", "tokensvc ivs serve --propagation-delay 5s"),
)
def serve(
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Port to listen on; 0 picks a free one.")
    ] = 4599,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on. Anyone who can reach it can use the API and the watch page.",
        ),
    ] = "127.0.0.1",
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
    media: Media = DEFAULT_MEDIA,
    max_views: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="NUMBER", help="Quota of concurrent views per account and region. Default: IVS's, 15000."
        ),
    ] = None,
    propagation_delay: Annotated[
        float,
        duration_option(
            "--propagation-delay",
            help="Delay of revocations, imported and deleted keys, and deleted channels at the edge.",
            at_most=MAX_DELAY_SECONDS,
        ),
    ] = 0,
    country_database: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Database in MaxMind's format that says in which country an address is."),
    ] = None,
    country_header: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Request header with the viewer's country. A proxy must set or remove it."),
    ] = None,
    seed: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML file of channels, public keys and policies to create or change first."),
    ] = None,
) -> None:
    """Serve the local IVS: its API at the root and the playback edge. It is not AWS."""
    from tokensvc.aws.arn import AccountRegion
    from tokensvc.cli.edge_options import country_source
    from tokensvc.cli.local import run_local_ivs
    from tokensvc.container.logs import configure
    from tokensvc.container.watch_key import OwnKeyTokens
    from tokensvc.http.garbage_collection import freeze_gc
    from tokensvc.local_ivs.edge.sessions import MAX_CONCURRENT_VIEWS
    from tokensvc.local_ivs.http import DEFAULT_CREDENTIALS, LocalIvsSettings, random_string
    from tokensvc.local_ivs.seed_file import read_seed_file
    from tokensvc.local_ivs.seeding import apply_seed
    from tokensvc.local_ivs.watch.mounting import watch_page, with_page
    from tokensvc.supervisor import bind_listener, ignore_signals
    from tokensvc.web.server import allow_abort, make_server

    configure("console")
    ignore_signals()
    credentials = {**DEFAULT_CREDENTIALS, **dict(map(_credential, access_key or ()))}
    seed_file = None if seed is None else read_seed_file(seed)
    countries = country_source(country_database, country_header)
    library = media_library(media, database.parent / MEDIA_FOLDER)
    listener = bind_listener("--port", host, port)
    bound_host, bound_port = listener.getsockname()[:2]
    with run_local_ivs(
        None if memory else database,
        LocalIvsSettings(
            credentials,
            public_url=public_url,
            rate_limits=not no_rate_limits,
            any_region=any_region,
            media=library,
            max_views=max_views or MAX_CONCURRENT_VIEWS,
            propagation_seconds=propagation_delay,
            countries=countries,
        ),
        management_port=management_port,
    ) as local_ivs:
        if seed_file is not None:
            components, (_, first) = local_ivs.components, next(iter(credentials.items()))
            here = AccountRegion(first.account, REGION)
            apply_seed(seed_file, here, components.resources, components.clock, random_string, library.loop_for)
            print_progress(f"Account {here.account} has what {seed} says.")
        page = watch_page(
            local_ivs.components, OwnKeyTokens(local_ivs.components.ivs, local_ivs.components.clock), REGION
        )
        server = make_server(with_page(page, local_ivs.components.site), lambda: None, delay_seconds=0)
        allow_abort(server.config)
        url = f"http://{_url_host(bound_host)}:{bound_port}"
        print_progress(
            f"Endpoint {url}, region {REGION}, access key test, secret test. Management API: {local_ivs.management_url}"
        )
        print_progress(f"Watch page: {url}/watch")
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
