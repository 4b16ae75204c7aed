"""Where the blocks of a page run: beside a demo of its own, or as a deployment that the page itself sets up."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.docs.page_shell import PYTHON_DIRECTORY
from tests.support.demo import running_demo
from tests.support.deployment import REGION, LocalIvs, free_port, local_ivs
from tests.support.postgres import PostgresServer
from tests.support.processes import TOKENSVC, environment, run, started

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE_CHANNEL = "arn:aws:ivs:us-east-1:123456789012:channel/abcdefghijkl"
EXAMPLE_ACCOUNT = "123456789012"
EXAMPLE_NAME = "tokens.example.com"
VIDEO_NAME = "video.example.com"
DATABASE_URL, TLS = "postgresql://tokensvc@db.example.com/tokensvc", "?sslmode=verify-full"
PROPAGATION_SECONDS = "2"
"""Instead of 30, so that a page does not wait for its keys."""


class PageEnvironment(NamedTuple):
    """What a page's blocks find."""

    folder: Path
    variables: Mapping[str, str]
    substitutions: Mapping[str, str]


def _ports() -> dict[str, str]:
    """The ports of the tutorials' own servers, which other tests may be using."""
    substitutions = {}
    for port in (3000, 8000):
        free = free_port()
        for written in (
            "127.0.0.1:{}",
            "localhost:{}",
            "--port {}",
            "listen({},",
            '("127.0.0.1", {})',
            "TOKENSVC_PORT={}",
        ):
            substitutions[written.format(port)] = written.format(free)
    return substitutions


def _video(folder: Path) -> dict[str, str]:
    """What the guide to `/authorize` has in the whole machine: a host, its port, the files and nginx's cache."""
    port = free_port()
    return {
        f"https://{VIDEO_NAME}": f"https://localhost:{port}",
        VIDEO_NAME: "localhost",
        "listen 443 ": f"listen {port} ",
        "/srv/hls": str(folder / "hls"),
        "/var/lib/nginx/authorize": str(folder / "cache"),
    }


@contextmanager
def beside_demo(folder: Path) -> Iterator[PageEnvironment]:
    """A demo of the page's own, in `.demo` of the directory where its blocks run."""
    variables = environment(folder / "home", {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"})
    variables["PATH"] = f"{PYTHON_DIRECTORY}:{variables['PATH']}"
    variables["PYTHONPATH"] = str(ROOT)  # as for a reader who is in the clone
    with running_demo(folder) as demo:
        port = demo.info["url"].rpartition(":")[2]
        substitutions = {"127.0.0.1:8080": f"127.0.0.1:{port}", **_ports(), **_video(folder)}
        yield PageEnvironment(folder, variables, substitutions)


@contextmanager
def in_clone(folder: Path) -> Iterator[PageEnvironment]:
    """A directory with a copy of `deploy/`, and nothing that runs."""
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    variables = environment(folder / "home")
    variables["PATH"] = f"{PYTHON_DIRECTORY}:{variables['PATH']}"
    yield PageEnvironment(folder, variables, {})


@contextmanager
def alone(folder: Path) -> Iterator[PageEnvironment]:
    """An empty directory, and nothing that runs."""
    variables = environment(folder / "home", {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"})
    variables["PATH"] = f"{PYTHON_DIRECTORY}:{variables['PATH']}"
    yield PageEnvironment(folder, variables, _ports())


@contextmanager
def as_production(folder: Path, postgres: PostgresServer) -> Iterator[PageEnvironment]:
    """An empty PostgreSQL database and a local IVS in AWS's place: everything else is up to the page."""
    database, new_database = postgres.fresh(), postgres.fresh()
    with local_ivs(folder) as ivs:
        variables, channel = _aws(folder, ivs)
        variables["PATH"] = f"{PYTHON_DIRECTORY}:{postgres.binaries}:{variables['PATH']}"
        for directory in ("etc/tokensvc", "var/lib/tokensvc", "var/backups/tokensvc"):
            (folder / directory).mkdir(parents=True, mode=0o700)
        port, tls_port = free_port(), free_port()
        variables["TOKENSVC_PORT"] = str(port)
        variables["TOKENSVC_KEY_PROPAGATION_SECONDS"] = PROPAGATION_SECONDS
        yield PageEnvironment(
            folder,
            variables,
            {
                "TOKENSVC_CONTROL_PLANE=aws": "TOKENSVC_CONTROL_PLANE=local",
                f"{DATABASE_URL}_drill{TLS}": postgres.url("tokensvc_drill"),
                f"{DATABASE_URL}_new{TLS}": postgres.url(new_database),
                f"{DATABASE_URL}{TLS}": postgres.url(database),
                "TOKENSVC_WORKERS=4": "TOKENSVC_WORKERS=2",
                "tokensvc_workers 4.0": "tokensvc_workers 2.0",
                **{str(admin): str(free_port()) for admin in (9090, 9091)},
                "/etc/tokensvc": str(folder / "etc/tokensvc"),
                "/var/lib/tokensvc": str(folder / "var/lib/tokensvc"),
                "/var/backups": str(folder / "var/backups"),
                "127.0.0.1:8080": f"127.0.0.1:{port}",
                EXAMPLE_CHANNEL: channel,
                EXAMPLE_ACCOUNT: channel.split(":")[4],
                f"https://{EXAMPLE_NAME}": f"https://localhost:{tls_port}",
                EXAMPLE_NAME: "localhost",
                "listen 443 ": f"listen {tls_port} ",
                "bind :443 ": f"bind :{tls_port} ",
                **_ports(),
            },
        )
    postgres.drop(database)
    postgres.drop(new_database)


@contextmanager
def as_deployed(folder: Path, postgres: PostgresServer, *, is_serving: bool) -> Iterator[PageEnvironment]:
    """A deployment as `docs/how-to/deploy.md` leaves it: settings in /etc/tokensvc/environment, an active key, and a
    caller whose API key is in web-backend.key. Beside it, an empty store in SQLite."""
    with as_production(folder, postgres) as found:
        etc, home = folder / "etc/tokensvc", folder / "var/lib/tokensvc"
        settings = {
            "TOKENSVC_CONTROL_PLANE": "local",
            "TOKENSVC_DATABASE_URL": found.substitutions[f"{DATABASE_URL}{TLS}"],
            "TOKENSVC_PASSPHRASE_FILE": str(new_passphrase(etc / "passphrase")),
            "TOKENSVC_ADMIN_PORT": found.substitutions["9090"],
        }
        write_settings(etc / "environment", settings)
        environ = {**found.variables, **settings}
        for command in (["db", "upgrade"], ["keys", "generate"]):
            run([TOKENSVC, *command], home, environ)
        run([TOKENSVC, "db", "upgrade"], home, {**environ, "TOKENSVC_DATABASE_URL": f"sqlite:///{home / 'store.db'}"})
        added = run([TOKENSVC, "callers", "add", "web-backend", "--all-channels"], home, environ)
        (home / "web-backend.key").write_text(added.out.splitlines()[0] + "\n")
        with ExitStack() as stack:
            if is_serving:
                process = stack.enter_context(started([TOKENSVC, "serve"], home, environ, "serve"))
                process.wait_until(lambda: '"event": "serving"' in process.err, "the service serves")
            yield found


def new_passphrase(path: Path) -> Path:
    """Write a passphrase into a file that only its owner can read; return the file."""
    path.write_text(secrets.token_hex(32))
    path.chmod(0o600)
    return path


def write_settings(path: Path, settings: Mapping[str, str]) -> None:
    """Write settings into a file that a shell can read."""
    path.write_text("".join(f"{name}='{value}'\n" for name, value in settings.items()))


def _aws(folder: Path, ivs: LocalIvs) -> tuple[dict[str, str], str]:
    """The variables of a shell with access to an AWS account, and the ARN of a private channel in it."""
    access_key = ivs.new_account()
    client: Any = ivs.client(access_key)
    channel = client.create_channel(authorized=True)["channel"]["arn"]
    client.close()
    ivs.start_stream(channel)
    aws = {
        "AWS_ENDPOINT_URL_IVS": ivs.endpoint,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": access_key,
    }
    return environment(folder / "home", aws), str(channel)


CLONE = frozenset({"docs/how-to/aws.md", "docs/how-to/kubernetes.md", "docs/how-to/systemd.md"})
"""The pages whose blocks need the files under `deploy/` alone."""
ALONE = frozenset(
    {
        "docs/how-to/local-playback.md",
        "docs/how-to/media.md",
        "docs/how-to/test-with-local-ivs.md",
        "docs/tutorial/test-your-app.md",
    }
)
"""The pages that start everything that they need."""
PRODUCTION = frozenset({"docs/how-to/deploy.md"})
"""The pages whose blocks set up a deployment."""
DEPLOYED = frozenset(
    {
        "docs/how-to/back-up-and-restore.md",
        "docs/how-to/behind-a-proxy.md",
        "docs/how-to/change-the-passphrase.md",
        "docs/how-to/upgrade.md",
    }
)
"""The pages that start from a deployment. Those of no set run beside a demo."""
NOT_SERVING = frozenset({"docs/how-to/behind-a-proxy.md", "docs/how-to/change-the-passphrase.md"})
"""Those of DEPLOYED that start the service by themselves, or need none."""


def missing_for(page: str) -> str | None:
    """Why a page cannot run here; None if it can."""
    programs = [name for name in _PROGRAMS.get(page, ()) if shutil.which(name) is None]
    packages = [name for name in _PACKAGES.get(page, ()) if importlib.util.find_spec(name) is None]
    if programs:
        return f"{' and '.join(programs)} not installed: make system-packages"
    return f"{' and '.join(packages)} not installed: make bench-packages" if packages else None


_PROGRAMS = {
    "docs/how-to/authorize.md": ("nginx", "caddy", "openssl"),
    "docs/how-to/behind-a-proxy.md": ("nginx", "haproxy", "caddy", "openssl"),
    "docs/how-to/deploy.md": ("openssl",),
    "docs/how-to/media.md": ("ffmpeg", "ffprobe"),
    "docs/how-to/kubernetes.md": ("kubectl", "openssl"),
    "docs/how-to/systemd.md": ("systemd-analyze",),
}
_PACKAGES = {"docs/how-to/load-test.md": ("hdrh",)}
