"""`tokensvc demo`: the service, the local IVS and its edge in one process, with everything needed to try them.

Invariants
- It is the only command that chooses the local control plane by itself, and it never calls AWS: endpoint, region and
  credentials are set here and override those of the shell.
- Private keys are in `keys/`, everything else including the API key in `.demo/`, readable by the owner only. A second
  start continues with the same state and recreates what was deleted meanwhile, except the passphrase, without which the
  rest is useless.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shlex
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tokensvc.callers.api_keys import key_id_of
from tokensvc.cli.connection_info import write_connection_info, write_private_file
from tokensvc.cli.demo_seed import DemoResources, seed
from tokensvc.cli.help import examples
from tokensvc.cli.local import RunningLocalIvs, run_local_ivs
from tokensvc.cli.output import print_progress
from tokensvc.container import service
from tokensvc.container.application import AsgiService, build_application
from tokensvc.container.logs import configure
from tokensvc.errors import Conflict, FieldError, SettingsError, TokensvcError
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.http import DEFAULT_CREDENTIALS, routes
from tokensvc.settings import read_settings
from tokensvc.storage import migrate
from tokensvc.supervisor import bind_listener, ignore_signals
from tokensvc.web.server import Server, allow_abort, make_server

REGION = "us-east-1"
FOLDER = Path(".demo")
IVS_PREFIX = "/ivs"
_UNSET = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)


@examples(
    ("Start the demo on port 8080, with its state in this directory", "tokensvc demo"),
    ("On another port, without IVS's rate limits", "tokensvc demo --port 9000 --no-rate-limits"),
)
def demo(
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Port to listen on; 0 picks a free one.")
    ] = 8080,
    no_rate_limits: Annotated[bool, typer.Option("--no-rate-limits", help="Do not enforce IVS's rate limits.")] = False,
) -> None:
    """Start the service with a local IVS, a live channel, a key and a caller, and print four commands to try."""
    configure("console")
    ignore_signals(sighup_stops=True)
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    with _single_demo_lock():
        _run_demo(port, rate_limits=not no_rate_limits)


@contextmanager
def _single_demo_lock() -> Iterator[None]:
    """Allow one demo per folder: two would overwrite each other's caller and files. The lock ends with the process."""
    handle = os.open(FOLDER / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("a demo is already running in this folder; stop it with Ctrl-C in its shell") from None
        yield
    finally:
        os.close(handle)


def _run_demo(port: int, *, rate_limits: bool) -> None:
    listener = bind_listener("--port", "127.0.0.1", port)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    environ = _environ(url)
    _set_aws_environment(environ)
    settings = read_settings(_settings_of(environ))
    migrate.upgrade(environ["TOKENSVC_DATABASE_URL"])
    store = service.open_configured_store(settings)
    service.apply_deployment_settings(settings, store)
    store.close()
    with run_local_ivs(
        FOLDER / "local-ivs.db",
        DEFAULT_CREDENTIALS,
        prefix=IVS_PREFIX,
        public_url=None,
        management_port=0,
        rate_limits=rate_limits,
    ) as local_ivs:
        assembled = service.assemble(settings)
        application = build_application(assembled, extra_routes=routes(local_ivs.components, IVS_PREFIX))
        try:
            _serve(application, assembled, listener, url, environ, local_ivs)
        finally:
            assembled.store.close()


def _serve(
    application: AsgiService,
    assembled: service.Service,
    listener: socket.socket,
    url: str,
    environ: Mapping[str, str],
    local_ivs: RunningLocalIvs,
) -> None:
    server = make_server(application.asgi, application.readiness.drain, delay_seconds=0)
    allow_abort(server.config)
    failures: list[TokensvcError] = []
    seeder = threading.Thread(
        target=_seed_and_print, args=(server, assembled, url, environ, local_ivs, failures), name="guide", daemon=True
    )
    seeder.start()
    try:
        server.run([listener])
    finally:
        (FOLDER / "demo.json").unlink(missing_ok=True)
    if failures:
        raise failures[0]


def _seed_and_print(
    server: Server,
    assembled: service.Service,
    url: str,
    environ: Mapping[str, str],
    local_ivs: RunningLocalIvs,
    failures: list[TokensvcError],
) -> None:
    """Once the server is up: seed it, wait until its snapshot has the data, write the files, print the commands."""
    while not server.started:
        if server.should_exit:
            return
        threading.Event().wait(0.02)
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
    typer.echo(f"Signer in use: {assembled.signer_choice.describe()}.")
    typer.echo(_commands(url, resources))


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
    (here / "keys").mkdir(mode=0o700, exist_ok=True)
    (here / "keys").chmod(0o700)  # git created it with the umask's mode
    key_id, secret = next(iter(DEFAULT_CREDENTIALS.items()))
    return {
        "TOKENSVC_CONTROL_PLANE": "local",
        "TOKENSVC_DATABASE_URL": f"sqlite:///{store}",
        "TOKENSVC_PASSPHRASE_FILE": str(passphrase),
        "TOKENSVC_VAULT": f"file:{here / 'keys'}",
        "TOKENSVC_KEY_PROPAGATION_SECONDS": "2",
        # With these a key drains in two and a half minutes instead of 75, which frees a slot for the next rotation.
        "TOKENSVC_MAX_TTL_SECONDS": "120",
        "TOKENSVC_SNAPSHOT_LEASE_SECONDS": "15",
        "TOKENSVC_CHANNEL_LOOKUP_TIMEOUT_SECONDS": "2",
        "TOKENSVC_PORT": url.rpartition(":")[2],
        "TOKENSVC_LOG_FORMAT": "console",
        "TOKENSVC_ACCESS_LOG": "false",
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
The demo is running at {url}; Ctrl-C stops it. In another shell, in this folder:

# 1. request a token
{request}

# 2. open its playback URL: the local edge accepts the token
curl -si "$({playback_url})"

# 3. open it with a tampered token: the edge returns IVS's 403
curl -si "$({playback_url} | sed 's/....$/AAAA/')"

# 4. rotate the key; tokens of the previous key stay valid
. .demo/env && tokensvc keys rotate
"""
