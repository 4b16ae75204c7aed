"""`tokensvc demo`: the service, the local IVS and its edge in one process, furnished and ready to be tried.

Rules of the file
- It is the only command that chooses the local control plane by itself, and it never reaches AWS: endpoint, region and
  credentials are set here over whatever the shell has.
- Private keys lie in `keys/`, everything else, the API key too, in `.demo/`, readable by its owner alone. A second
  start finds its state again; what was deleted of it meanwhile is made anew, but for the passphrase, without which the
  rest is worth nothing.
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


def demo(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8080,
    no_rates: Annotated[
        bool, typer.Option("--no-rate-limits", help="Do not hold callers to IVS's own call rates.")
    ] = False,
) -> None:
    """Start everything embedded, with a channel, a key and a caller, and print four commands to try."""
    configure("console")
    ignore_signals(closed_terminal_ends=True)
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    with _single_demo_lock():
        _run_demo(port, rate_limits=not no_rates)


@contextmanager
def _single_demo_lock() -> Iterator[None]:
    """One demo in a folder: two would take each other's caller and facts away. The lock ends with the process."""
    handle = os.open(FOLDER / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("a demo runs in this folder already; Ctrl-C in its shell ends it") from None
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
    ) as running:
        parts = service.assemble(settings)
        application = build_application(parts, extra_routes=routes(running.parts, IVS_PREFIX))
        try:
            _serve(application, parts, listener, url, environ, running)
        finally:
            parts.store.close()


def _serve(
    application: AsgiService,
    parts: service.Service,
    listener: socket.socket,
    url: str,
    environ: Mapping[str, str],
    running: RunningLocalIvs,
) -> None:
    server = make_server(application.asgi, application.readiness.drain, delay_seconds=0)
    allow_abort(server.config)
    failures: list[TokensvcError] = []
    guide = threading.Thread(
        target=_seed_and_print, args=(server, parts, url, environ, running, failures), name="guide", daemon=True
    )
    guide.start()
    try:
        server.run([listener])
    finally:
        (FOLDER / "demo.json").unlink(missing_ok=True)
    if failures:
        raise failures[0]


def _seed_and_print(
    server: Server,
    parts: service.Service,
    url: str,
    environ: Mapping[str, str],
    running: RunningLocalIvs,
    failures: list[TokensvcError],
) -> None:
    """Once the server answers: furnish, wait until it knows, write down how to reach it, print what to try."""
    while not server.started:
        if server.should_exit:
            return
        threading.Event().wait(0.02)
    try:
        furniture = seed(_settings_of(environ), REGION, print_progress, FOLDER / "api-key")
        with contextlib.suppress(IvsError):  # it is live already: the demo was killed, not ended
            running.parts.streams.start(furniture.channel_arn)
    except TokensvcError as failure:
        failures.append(failure)
        server.should_exit = True
        return
    furnished_at = parts.clock.monotonic()
    # A snapshot of before may know the caller already, and still sign with a key that is gone.
    while parts.snapshot().refresh_started_at < furnished_at or key_id_of(furniture.api_key) not in parts.snapshot().secrets:
        if server.should_exit:
            return
        parts.refresh_soon()
        threading.Event().wait(0.02)
    write_private_file(FOLDER / "env", _shell_script(environ).encode())
    write_connection_info(
        FOLDER / "demo.json",
        {
            "url": url,
            "ivsEndpoint": f"{url}{IVS_PREFIX}",
            "managementUrl": running.management_url,
            "region": REGION,
            "accessKeyId": environ["AWS_ACCESS_KEY_ID"],
            "secretAccessKey": environ["AWS_SECRET_ACCESS_KEY"],
            "apiKey": furniture.api_key,
            "channelArn": furniture.channel_arn,
            "playbackUrl": furniture.playback_url,
        },
    )
    typer.echo(f"Tokens are signed with {parts.signer_choice.in_words()}.")
    typer.echo(_commands(url, furniture))


def _environ(url: str) -> dict[str, str]:
    """What the demo runs with, and what `. .demo/env` gives to a shell."""
    here = Path.cwd()
    passphrase, store = here / FOLDER / "passphrase", here / FOLDER / "tokensvc.db"
    if not passphrase.exists():
        if store.exists():
            rule = f"is {passphrase}, which is gone, and {store} is wrapped with it; put it back, or `rm -r {FOLDER}`"
            raise SettingsError([FieldError("TOKENSVC_PASSPHRASE_FILE", rule)])
        write_private_file(passphrase, secrets.token_hex(32).encode())
    (here / "keys").mkdir(mode=0o700, exist_ok=True)
    (here / "keys").chmod(0o700)  # git made it as the umask says
    key_id, secret = next(iter(DEFAULT_CREDENTIALS.items()))
    return {
        "TOKENSVC_CONTROL_PLANE": "local",
        "TOKENSVC_DATABASE_URL": f"sqlite:///{store}",
        "TOKENSVC_PASSPHRASE_FILE": str(passphrase),
        "TOKENSVC_VAULT": f"file:{here / 'keys'}",
        "TOKENSVC_KEY_PROPAGATION_SECONDS": "2",
        # With these a key drains in two and a half minutes, not in 75, so that there is room for the next rotation.
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
    """Make boto3, in this process, see the local IVS and nothing else."""
    for name in _UNSET:
        os.environ.pop(name, None)
    os.environ.update({name: value for name, value in environ.items() if not name.startswith("TOKENSVC_")})


def _shell_script(environ: Mapping[str, str]) -> str:
    lines = ["# Read by a shell: `. .demo/env`. Every tokensvc and aws command in it then acts on the demo."]
    lines += [f"unset {name}" for name in _UNSET]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in environ.items()]
    lines.append(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')
    return "\n".join(lines) + "\n"


def _commands(url: str, furniture: DemoResources) -> str:
    ask = (
        f"curl -s {url}/v1/tokens -H 'authorization: Bearer {furniture.api_key}' "
        f"""-d '{{"channelArn":"{furniture.channel_arn}","viewerId":"ada"}}'"""
    )
    playback_url = f"""{ask} | python3 -c 'import json,sys; print(json.load(sys.stdin)["playbackUrl"])'"""
    return f"""
The demo runs at {url}; Ctrl-C ends it. In another shell, in this folder:

# 1. ask for a token
{ask}

# 2. open its playback URL: the local edge admits it
curl -si "$({playback_url})"

# 3. open it with a tampered token: IVS's own 403
curl -si "$({playback_url} | sed 's/....$/AAAA/')"

# 4. rotate the key; tokens of the one before it go on being admitted
. .demo/env && tokensvc keys rotate
"""
