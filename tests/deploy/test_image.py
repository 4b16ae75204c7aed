"""The container image: built without a registry, and run without any right that it does not need.

What stands in for what: Debian root file systems for the base image of the registry, podman with runc for Docker, and
the network of this machine for one of the container's own. Health checks are run by hand, because podman leaves their
schedule to systemd.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import boto3
import pytest

from tests.deploy.facts import DEPLOY, ROOT, named_variables, unknown_variables
from tests.support.container_image import (
    USER,
    Container,
    Engine,
    engine_with_bases,
    hardened,
    inspected,
    running,
    unavailable_reason,
)
from tests.support.deployment import REGION, free_port
from tests.support.http_client import Client, load
from tests.support.processes import is_alive, wait_until
from tokensvc import __version__

CONTAINERFILE = DEPLOY / "Containerfile"
IMAGE = "localhost/tokensvc"
MAX_ADDED_MEGABYTES = 200
"""What the image may have beyond its base."""
STOPS_WITHIN_SECONDS = 25
DELAY_SECONDS = 5.0
TEMPORARY_FILES = ("--tmpfs", "/tmp:rw,size=16m")
SHELLS = ("/bin/sh", "/bin/bash", "/bin/dash")
in_containers = [
    pytest.mark.long,
    pytest.mark.e2e,
    pytest.mark.skipif(unavailable_reason() is not None, reason=str(unavailable_reason())),
]


@pytest.mark.skipif(shutil.which("hadolint", path=str(Path(sys.executable).parent)) is None, reason="no hadolint here")
def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, CONTAINERFILE], capture_output=True, text=True, check=False)
    assert (found.stdout, found.returncode) == ("", 0)


def test_the_context_is_what_the_containerfile_copies() -> None:
    lines = CONTAINERFILE.read_text().splitlines()
    copied = {
        word.removesuffix("/")
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert "*" in ignored
    assert all((ROOT / name).exists() for name in copied)


def test_every_package_is_installed_by_its_hash_and_the_base_is_named_by_its_digest() -> None:
    text = CONTAINERFILE.read_text()
    installs = re.findall(r"pip (?:--python \S+ )?(?:install|wheel) ([^;\n]+)", text)
    assert len(installs) == 5
    unlocked = [
        line for line in installs if not line.startswith(("--quiet --require-hashes -r ", "--quiet --no-deps "))
    ]
    assert unlocked == []
    assert re.search(r"^ARG BASE=\S+@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert not unknown_variables(named_variables(text))


def test_the_image_has_every_library_of_the_service_and_no_tool_of_the_build() -> None:
    locked = {
        line.partition("==")[0] for line in (ROOT / "requirements/image.txt").read_text().splitlines() if "==" in line
    }
    assert {"psycopg", "psycopg-binary", "redis", "uvicorn", "boto3"} <= locked
    assert not locked & {"setuptools", "pip", "wheel", "pytest", "cyclonedx-bom"}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with engine_with_bases() as engine:
        engine.build(IMAGE, "--build-arg", f"VERSION={__version__}", "--build-arg", "REVISION=abc123")
        yield engine


class Deployed:
    """A deployment whose every process is a container of the image."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self.secrets, self.data = folder / "secrets", folder / "data"
        self.secrets.mkdir(mode=0o755)
        self.data.mkdir(mode=0o700)
        os.chown(self.data, USER, USER)
        (self.secrets / "passphrase").write_text(secrets.token_hex(32))
        (self.secrets / "passphrase").chmod(0o444)  # as Docker and Kubernetes mount secrets: root's
        self.port, self.admin_port, self.ivs_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.mounts = [f"{self.secrets}:/run/secrets:ro", f"{self.data}:/var/lib/tokensvc"]
        self.variables = {
            "TOKENSVC_CONTROL_PLANE": "local",
            "TOKENSVC_DATABASE_URL": "sqlite:////var/lib/tokensvc/store.db",
            "TOKENSVC_PASSPHRASE_FILE": "/run/secrets/passphrase",
            "TOKENSVC_VAULT": "store",
            "TOKENSVC_KEY_PROPAGATION_SECONDS": "0",
            "TOKENSVC_PORT": str(self.port),
            "TOKENSVC_ADMIN_PORT": str(self.admin_port),
            "TOKENSVC_SHUTDOWN_DELAY_SECONDS": f"{DELAY_SECONDS:g}",
            "AWS_ENDPOINT_URL_IVS": f"http://127.0.0.1:{self.ivs_port}",
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def arguments(self, *command: str, options: tuple[str, ...] = (), **settings: str) -> list[str]:
        """The arguments of `podman run` for a command with these settings."""
        variables = self.variables | {f"TOKENSVC_{name}": value for name, value in settings.items()}
        return hardened(IMAGE, command, variables, self.mounts, *options)

    def run(self, *command: str, code: int | None = 0, options: tuple[str, ...] = (), **settings: str) -> Any:
        return self._engine.podman(*self.arguments(*command, options=options, **settings), code=code)

    def channel(self) -> str:
        ivs = boto3.client(
            "ivs",
            region_name=REGION,
            endpoint_url=self.variables["AWS_ENDPOINT_URL_IVS"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        arn = str(ivs.create_channel(authorized=True)["channel"]["arn"])
        ivs.close()
        return arn

    @contextlib.contextmanager
    def serve(self, name: str, *, options: tuple[str, ...] = TEMPORARY_FILES, **settings: str) -> Iterator[Container]:
        """The service, once it is ready, while the block runs."""
        arguments, workers = self.arguments("serve", options=options, **settings), int(settings.get("WORKERS", "1"))
        with running(self._engine, name, arguments) as container, Client(self.url) as client:
            container.process.wait_until(
                lambda: container.log.count('"event": "serving"') >= workers, "all workers serve"
            )
            wait_until(lambda: client.get("/readyz").status == 200, "it is ready")
            yield container


@pytest.fixture(scope="module")
def deployed(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A store with a key, and a local IVS."""
    deployed = Deployed(engine, tmp_path_factory.mktemp("deployed"))
    served = ("ivs", "serve", "--memory", "--host", "127.0.0.1", "--port", str(deployed.ivs_port))
    with running(engine, "ivs", hardened(IMAGE, served, {})) as ivs:
        wait_until(lambda: "Endpoint " in ivs.log, "the local IVS serves")
        deployed.run("db", "upgrade")
        deployed.run("keys", "generate")
        yield deployed


@pytest.fixture(scope="module")
def key(deployed: Deployed) -> str:
    return str(deployed.run("callers", "add", "web", "--all-channels", "--json").json["apiKey"])


@pytest.mark.usefixtures("engine")
class TestContents:
    """What is in the image."""

    pytestmark = in_containers

    def test_it_runs_as_a_user_without_rights_and_says_what_it_is(self, engine: Engine) -> None:
        found = inspected(engine, IMAGE)["Config"]
        assert found["User"] == f"{USER}:{USER}"
        assert (found["Entrypoint"], found["Cmd"], found["StopSignal"]) == (["tokensvc"], ["serve"], "SIGTERM")
        assert inspected(engine, IMAGE)["Healthcheck"]["Test"] == ["CMD", "tokensvc", "health"]
        version = engine.podman(*hardened(IMAGE, ["--version"], {})).out
        assert version == f"tokensvc {__version__} (commit abc123)\n"
        labels = found["Labels"]
        assert labels["org.opencontainers.image.version"] == __version__
        assert labels["org.opencontainers.image.revision"] == "abc123"

    def test_it_has_the_c_extension_but_no_installer_and_nothing_that_its_user_can_write(self, engine: Engine) -> None:
        program = (
            "import importlib.util as u, os, tokensvc.jose.signing._multibuffer\n"
            "print([u.find_spec(name) for name in ('pip', 'setuptools', 'cyclonedx')])\n"
            "print([d for d, _, _ in os.walk('/') if os.access(d, os.W_OK) and not d.startswith(('/proc', '/dev'))])"
        )
        arguments = hardened(IMAGE, ["-c", program], {}, [], "--entrypoint", "/opt/tokensvc/bin/python3")
        specs, writable = map(ast.literal_eval, engine.podman(*arguments).out.splitlines())
        assert specs == [None, None, None]
        assert writable == []

    def test_its_list_of_components_is_complete(self, engine: Engine) -> None:
        show = "print(open('/opt/tokensvc/sbom.cdx.json').read())"
        installed = (
            "import importlib.metadata as m, json\n"
            "print(json.dumps(sorted({(d.name.lower(), d.version) for d in m.distributions()})))"
        )
        python = ("--entrypoint", "/opt/tokensvc/bin/python3")
        listed = engine.podman(*hardened(IMAGE, ["-c", show], {}, [], *python)).json
        packages = engine.podman(*hardened(IMAGE, ["-c", installed], {}, [], *python)).json
        components = {(item["name"].lower(), item.get("version")) for item in listed["components"]}
        assert (listed["bomFormat"], listed["specVersion"]) == ("CycloneDX", "1.6")
        assert {tuple(package) for package in packages} <= components
        names = {name for name, _ in components}
        assert {"tokensvc", "python", "debian", "libc6", "libssl3", "ipp-crypto-static"} <= names
        assert not [
            item for item in listed["components"] if "purl" not in item and item["name"] not in ("debian", "tokensvc")
        ]

    def test_it_adds_little_to_its_base(self, engine: Engine, record_property: Any) -> None:
        sizes = {name: inspected(engine, name)["Size"] / 1e6 for name in (IMAGE, "localhost/base")}
        added = sizes[IMAGE] - sizes["localhost/base"]
        record_property("image_megabytes", round(sizes[IMAGE]))
        print(f"the image has {sizes[IMAGE]:.0f} MB, {added:.0f} MB more than its base")
        assert added < MAX_ADDED_MEGABYTES


class TestRunning:
    """The image as a service."""

    pytestmark = in_containers

    def test_two_workers_without_a_shell_issue_a_token_and_are_healthy(
        self, deployed: Deployed, key: str, tmp_path: Path
    ) -> None:
        empty = tmp_path / "empty"
        empty.touch()
        options = (*TEMPORARY_FILES, *(w for shell in SHELLS for w in ("--volume", f"{empty}:{shell}:ro")))
        with deployed.serve("first", options=options, WORKERS="2") as container, Client(deployed.url, key) as client:
            status = Path(f"/proc/{container.pid}/status").read_text()
            assert f"Uid:\t{USER}\t{USER}\t{USER}" in status
            assert "CapEff:\t0000000000000000" in status
            assert "NoNewPrivs:\t1" in status
            token = client.token(channelArn=deployed.channel(), viewerId="ada")
            assert token["token"].count(".") == 2
            assert container.check_health().code == 0
            healthy = container.execute("tokensvc", "health")
            assert healthy.out.startswith(f"http://127.0.0.1:{deployed.admin_port}/readyz: ready")
            with pytest.raises(AssertionError, match="exec"):
                container.execute("sh", "-c", "true")
            with Client(f"http://127.0.0.1:{deployed.admin_port}") as admin:
                assert [admin.get(path).status for path in ("/metrics", "/livez", "/v1/keys")] == [200, 200, 404]

    def test_sigterm_under_load_loses_no_request(self, deployed: Deployed, key: str) -> None:
        channel = deployed.channel()
        with (
            deployed.serve("stopped", WORKERS="2") as container,
            Client(deployed.url) as watcher,
            load(deployed.url, key, channel) as running_load,
        ):
            wait_until(lambda: len(running_load.requests) > 50, "more than 50 requests were sent")
            stopped_at = time.monotonic()
            container.signal("TERM")
            wait_until(lambda: watcher.get("/readyz").status == 503, "it is not ready", DELAY_SECONDS)
            assert container.check_health().code != 0
            code = container.process.wait_for_exit(STOPS_WITHIN_SECONDS)
            assert time.monotonic() - stopped_at < STOPS_WITHIN_SECONDS
        assert code == 0, container.log
        served = [r for r in running_load.requests if r.started_at < stopped_at + DELAY_SECONDS - 1]
        assert {request.status for request in served} == {201}, {request.code for request in served}
        assert any(request.started_at > stopped_at for request in served)

    def test_sigterm_stops_it_while_it_starts_and_a_command_while_it_waits(
        self, engine: Engine, deployed: Deployed
    ) -> None:
        """The kernel delivers no signal without a handler to the first process of a container."""
        for name, command, ready in (("starting", ("serve",), ""), ("following", ("audit", "follow"), "Following")):
            with running(engine, name, deployed.arguments(*command)) as container:
                wait_until(lambda c=container: _handles_sigterm(c), "it handles SIGTERM")  # type: ignore[misc]
                wait_until(lambda c=container, r=ready: r in c.log, "it is where it waits")  # type: ignore[misc]
                signalled_at = time.monotonic()
                container.signal("TERM")
                assert container.process.wait_for_exit(10) in (0, 143), container.log
                assert time.monotonic() - signalled_at < 8
                assert "Traceback" not in container.log

    def test_a_killed_worker_is_replaced_and_leaves_no_zombie(self, deployed: Deployed, key: str) -> None:
        with deployed.serve("killed", WORKERS="2") as container, Client(deployed.url, key) as client:
            victim = _workers(container.pid)[0]
            os.kill(victim, SIGKILL)
            wait_until(lambda: container.log.count('"event": "serving"') == 3, "the new worker serves", 20)
            children = _children(container.pid)
            assert all(is_alive(child) for child in children), "a child is a zombie"
            assert victim not in children
            assert client.request_token(channelArn=deployed.channel(), viewerId="ada").status == 201

    def test_it_starts_again_after_it_was_killed(self, deployed: Deployed, key: str) -> None:
        with deployed.serve("first-life", WORKERS="2") as container:
            container.signal("KILL")
            assert container.process.wait_for_exit(10) == 137
        with deployed.serve("second-life", WORKERS="2"), Client(deployed.url, key) as client:
            assert client.request_token(channelArn=deployed.channel(), viewerId="ada").status == 201

    def test_one_worker_needs_no_temporary_files_and_two_say_what_they_need(self, deployed: Deployed) -> None:
        with deployed.serve("one", options=()) as container:
            assert container.check_health().code == 0
        result = deployed.run("serve", code=None, options=("--workdir", "/opt"), WORKERS="2")
        assert result.code == 2
        assert "TMPDIR: must name a directory in which several workers can share their metrics" in result.err
        assert "Traceback" not in result.err

    def test_what_is_missing_or_insecure_is_named(self, deployed: Deployed) -> None:
        own = deployed.secrets / "own"
        own.write_text("x" * 64)
        insecure, path = "names an insecure file", "/run/secrets/own"
        for owner, mode, problem in (
            (USER, 0o644, f"{insecure}: every user can read {path}: chmod o-rwx {path}"),
            (USER, 0o660, f"{insecure}: other users can write to {path}: chmod go-w {path}"),
            (0, 0o600, "names a file that cannot be read: Permission denied"),
            (
                1234,
                0o444,
                f"{insecure}: {path} is owned by uid 1234; it must be owned by this process's user or by root",
            ),
        ):
            os.chown(own, owner, owner)
            own.chmod(mode)
            result = deployed.run("serve", code=None, PASSPHRASE_FILE=path)
            assert result.code == 2, result.err
            assert f"TOKENSVC_PASSPHRASE_FILE: {problem}" in result.err
            assert "Traceback" not in result.err
        away = deployed.run(
            "serve", code=None, DATABASE_URL="postgresql://nobody@127.0.0.1:9/none", STORE_TIMEOUT_SECONDS="1"
        )
        assert away.code == 1
        assert "Traceback" not in away.err
        unwritable = deployed.run("db", "upgrade", code=None, DATABASE_URL="sqlite:////opt/store.db")
        assert unwritable.code == 1
        assert "Traceback" not in unwritable.err


def _handles_sigterm(container: Container) -> bool:
    """Whether its first process has a handler for the signal (`SigCgt` in proc(5))."""
    try:
        status = Path(f"/proc/{container.pid}/status").read_text()
    except (AssertionError, OSError):  # not yet
        return False
    caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt:")).split()[1], 16)
    return bool(caught >> (SIGTERM - 1) & 1)


def _children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def _workers(pid: int) -> list[int]:
    return [child for child in _children(pid) if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]
