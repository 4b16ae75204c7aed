"""Runs the demo: the service, the local IVS and its edge in one process, and a thread that seeds them.

Invariants
- It never calls AWS: endpoint, region and credentials are set here and override those of the shell.
- Private keys are in `keys/`, everything else including the API key in `.demo/`, readable by the owner only. A second
  start continues with the same state and recreates what was deleted meanwhile, except the passphrase, without which the
  rest is useless.
- It is imported when the demo starts, and not for `--help`: it loads the whole service.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import typer

from tokensvc.audit.requester import Requester
from tokensvc.callers.api_keys import key_id_of
from tokensvc.cli.browser import open_page
from tokensvc.cli.connection_info import write_connection_info, write_private_file
from tokensvc.cli.demo import FOLDER, KEYS
from tokensvc.cli.demo_seed import DemoResources, seed
from tokensvc.cli.local import RunningLocalIvs, run_local_ivs
from tokensvc.cli.media_option import media_library
from tokensvc.cli.operator import operator_actor
from tokensvc.cli.output import print_progress
from tokensvc.container import service
from tokensvc.container.application import AsgiService, build_application
from tokensvc.container.demo_page import DemoPage
from tokensvc.container.deployment import apply_deployment_settings
from tokensvc.container.logs import configure
from tokensvc.container.store import open_configured_store
from tokensvc.container.watch_service import ServiceTokens
from tokensvc.errors import FieldError, SettingsError, TokensvcError
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.http import DEFAULT_CREDENTIALS, LocalIvsSettings, routes
from tokensvc.local_ivs.watch.mounting import page_routes, watch_page
from tokensvc.settings import read_settings
from tokensvc.storage import migrate
from tokensvc.supervisor import bind_listener
from tokensvc.web.server import Server, allow_abort, make_server

REGION = "us-east-1"
IVS_PREFIX = "/ivs"
_UNSET = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "TOKENSVC_CONFIG",
)


def run_demo(port: int, media: str, *, rate_limits: bool, open_browser: bool, started_at: float) -> None:
    """Run the demo in this directory until it is stopped. Its command began at `started_at` of the monotonic clock.

    `media` is what `open_media` takes. Raises TokensvcError.
    """
    configure("console")
    listener = bind_listener("--port", "127.0.0.1", port)
    library = media_library(media, FOLDER / "media")
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    environ = _environ(url)
    _set_aws_environment(environ)
    settings = read_settings(_settings_of(environ))
    print_progress("Creating or opening the store.")
    migrate.upgrade(environ["TOKENSVC_DATABASE_URL"])
    store = open_configured_store(settings)
    apply_deployment_settings(settings, store, Requester(operator_actor()))
    store.close()
    print_progress("Starting the service and the local IVS.")
    page, tokens = DemoPage(), ServiceTokens(url)
    with run_local_ivs(
        FOLDER / "local-ivs.db",
        LocalIvsSettings(prefix=IVS_PREFIX, rate_limits=rate_limits, media=library),
        management_port=0,
    ) as local_ivs:
        assembled = service.assemble(settings)
        watch = page_routes(watch_page(local_ivs.components, tokens, REGION))
        application = build_application(
            assembled, extra_routes=[page.route(), *watch, *routes(local_ivs.components, IVS_PREFIX)]
        )
        guide = _Guide(assembled, url, environ, local_ivs, page, tokens, open_browser, started_at)
        try:
            _serve(application, listener, guide)
        finally:
            assembled.store.close()


class _Guide(NamedTuple):
    """What the thread needs that seeds the demo and says how to use it."""

    assembled: service.Service
    url: str
    environ: Mapping[str, str]
    local_ivs: RunningLocalIvs
    page: DemoPage
    tokens: ServiceTokens
    open_browser: bool
    started_at: float


def _serve(application: AsgiService, listener: socket.socket, guide: _Guide) -> None:
    server = make_server(application.asgi, application.readiness.drain, delay_seconds=0)
    allow_abort(server.config)
    failures: list[TokensvcError] = []
    seeder = threading.Thread(target=_seed_and_print, args=(server, guide, failures), name="guide", daemon=True)
    seeder.start()
    try:
        server.run([listener])
    finally:
        (FOLDER / "demo.json").unlink(missing_ok=True)
    if failures:
        raise failures[0]


def _seed_and_print(server: Server, guide: _Guide, failures: list[TokensvcError]) -> None:
    """Once the server is up: seed it, wait until its snapshot has the data, write the files, print the commands."""
    while not server.started:
        if server.should_exit:
            return
        threading.Event().wait(0.02)
    environ, url, assembled, local_ivs = guide.environ, guide.url, guide.assembled, guide.local_ivs
    print_progress("Creating or checking the channel, the key and the caller.")
    try:
        resources = seed(_settings_of(environ), REGION, print_progress, FOLDER / "api-key")
        with contextlib.suppress(IvsError):  # already live: the previous demo was killed
            local_ivs.components.streams.start(resources.channel_arn)
    except TokensvcError as failure:
        failures.append(failure)
        server.should_exit = True
        return
    seeded_at = assembled.clock.monotonic()
    # An earlier snapshot may already have the caller but still sign with a key that has been deleted.
    while (
        assembled.snapshot().refresh_started_at < seeded_at
        or key_id_of(resources.api_key) not in assembled.snapshot().secrets
    ):
        if server.should_exit:
            return
        assembled.refresh_soon()
        threading.Event().wait(0.02)
    write_private_file(FOLDER / "env", _shell_script(environ, url, resources, local_ivs.management_url).encode())
    guide.tokens.use(resources.api_key)
    guide.page.show(resources.channel_arn, resources.playback_url, local_ivs.management_url)
    write_connection_info(
        FOLDER / "demo.json",
        {
            "url": url,
            "ivsEndpoint": f"{url}{IVS_PREFIX}",
            "managementUrl": local_ivs.management_url,
            "region": REGION,
            "accessKeyId": environ["AWS_ACCESS_KEY_ID"],
            "secretAccessKey": environ["AWS_SECRET_ACCESS_KEY"],
            "apiKey": resources.api_key,
            "channelArn": resources.channel_arn,
            "playbackUrl": resources.playback_url,
        },
    )
    print_progress(f"Ready after {time.monotonic() - guide.started_at:.1f} seconds.")
    typer.echo(f"Signer in use: {assembled.signer_choice.describe()}.")
    typer.echo(_commands(url, resources))
    if guide.open_browser:
        open_page(url)


def _environ(url: str) -> dict[str, str]:
    """The demo's environment, which `. .demo/env` also exports to a shell."""
    here = Path.cwd()
    passphrase, store = here / FOLDER / "passphrase", here / FOLDER / "tokensvc.db"
    if not passphrase.exists():
        if store.exists():
            rule = (
                f"is {passphrase}, which is missing, and {store} is encrypted with it; restore it or `rm -r {FOLDER}`"
            )
            raise SettingsError([FieldError("TOKENSVC_PASSPHRASE_FILE", rule)])
        write_private_file(passphrase, secrets.token_hex(32).encode())
    key_id, secret = next(iter(DEFAULT_CREDENTIALS.items()))
    return {
        "TOKENSVC_CONTROL_PLANE": "local",
        "TOKENSVC_DATABASE_URL": f"sqlite:///{store}",
        "TOKENSVC_PASSPHRASE_FILE": str(passphrase),
        "TOKENSVC_VAULT": f"file:{here / KEYS}",
        "TOKENSVC_KEY_PROPAGATION_SECONDS": "2",
        # With these a key drains in two and a half minutes instead of 75, which frees a slot for the next rotation.
        "TOKENSVC_MAX_TTL_SECONDS": "120",
        "TOKENSVC_SNAPSHOT_LEASE_SECONDS": "15",
        "TOKENSVC_CHANNEL_LOOKUP_TIMEOUT_SECONDS": "2",
        "TOKENSVC_PORT": url.rpartition(":")[2],
        "TOKENSVC_LOG_FORMAT": "console",
        "TOKENSVC_ACCESS_LOG": "false",
        "TOKENSVC_AUTHORIZE": "true",
        "AWS_ACCESS_KEY_ID": key_id,
        "AWS_SECRET_ACCESS_KEY": secret.secret_access_key,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL_IVS": f"{url}{IVS_PREFIX}",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def _settings_of(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith("TOKENSVC_")}


def _set_aws_environment(environ: Mapping[str, str]) -> None:
    """Point boto3 in this process at the local IVS only."""
    for name in _UNSET:
        os.environ.pop(name, None)
    os.environ.update({name: value for name, value in environ.items() if not name.startswith("TOKENSVC_")})


def _shell_script(environ: Mapping[str, str], url: str, resources: DemoResources, management_url: str) -> str:
    """The environment of the demo, and the variables that the documentation's commands use."""
    lines = ["# For a shell: `. .demo/env`. Every tokensvc and aws command in that shell then acts on the demo."]
    lines += [f"unset {name}" for name in _UNSET]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in environ.items()]
    lines += [
        f"export TOKENS={shlex.quote(url)}",
        f'export KEY="$(cat {shlex.quote(str(Path.cwd() / FOLDER / "api-key"))})"',
        f"export CHANNEL={shlex.quote(resources.channel_arn)}",
        f"export MANAGEMENT={shlex.quote(management_url)}",
    ]
    lines.append(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')
    return "\n".join(lines) + "\n"


def _commands(url: str, resources: DemoResources) -> str:
    request = (
        f"curl -s {url}/v1/tokens -H 'authorization: Bearer {resources.api_key}' "
        f"""-d '{{"channelArn":"{resources.channel_arn}","viewerId":"ada"}}'"""
    )
    playback_url = f"""{request} | python3 -c 'import json,sys; print(json.load(sys.stdin)["playbackUrl"])'"""
    return f"""
The demo is running at {url}; Ctrl-C stops it. Watch its channel at {url}/watch

In another shell, in this folder:

# 1. request a token
{request}

# 2. open its playback URL: the local edge accepts the token
curl -si "$({playback_url})"

# 3. open it with a tampered token: the edge returns IVS's 403
curl -si "$({playback_url} | sed 's/....$/AAAA/')"

# 4. rotate the key; tokens of the previous key stay valid
. .demo/env && tokensvc keys rotate
"""
