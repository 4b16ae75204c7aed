"""The units of deploy/systemd: what they say, what systemd says about them, and a real systemd that runs them."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import urllib3

from tests.deploy.booted_systemd import BootedSystemd, booted_systemd
from tests.deploy.booted_systemd import unavailable_reason as systemd_unavailable_reason
from tests.deploy.facts import DEPLOY, ROOT, assignments, is_command, named_variables, plain_secrets, unknown_variables
from tests.docs.code_blocks import code_blocks
from tests.support.deployment import REGION, LocalIvs, free_port, local_ivs
from tests.support.http_client import Client
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.postgres import unavailable_reason as postgres_unavailable_reason
from tests.support.processes import TOKENSVC, wait_until
from tests.support.tcp_relay import tcp_relay
from tokensvc.jose.signing.choice import choose_signer
from tokensvc.settings import read_settings
from tokensvc.supervisor import STOP_SECONDS

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SERVICES = [unit for unit in UNITS if unit.stem != "tokensvc-upgrade"]
INSTALLED = "/opt/tokensvc/venv/bin/tokensvc"
MAX_EXPOSURE = 3.0
GUIDE = "docs/how-to/systemd.md"
ENVIRONMENTS = ["environment", "serve.environment", "worker.environment"]


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed: make system-packages")


def directives(unit: Path) -> list[tuple[str, str]]:
    """The settings of a unit, in their order."""
    return [(name, value) for name, value in re.findall(r"^(\w+)=(.*)$", unit.read_text("utf-8"), re.MULTILINE)]


def values(unit: Path, name: str) -> list[str]:
    return [value for key, value in directives(unit) if key == name]


@pytest.fixture(params=UNITS, ids=lambda unit: unit.stem)
def unit(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_each_unit_runs_a_command_that_exists(unit: Path) -> None:
    [start] = values(unit, "ExecStart")
    program, *words = start.split()
    assert program == INSTALLED
    assert is_command(words)


def test_units_and_their_files_name_only_settings_that_exist() -> None:
    for path in [*UNITS, *(path for path in (DEPLOY / "systemd").iterdir() if path.suffix == ".environment")]:
        assert unknown_variables(named_variables(path.read_text("utf-8"))) == [], path


def test_secrets_come_from_credentials_and_never_from_the_environment(unit: Path) -> None:
    loaded = {value.partition(":")[0] for value in values(unit, "LoadCredential")}
    given = dict(line.partition("=")[::2] for line in values(unit, "Environment"))
    assert set(given.values()) == {f"%d/{name}" for name in loaded}
    assert plain_secrets(given) == []
    for name in ENVIRONMENTS:
        assert plain_secrets(assignments((DEPLOY / "systemd" / name).read_text("utf-8"))) == []


@pytest.mark.parametrize("name", ["serve", "worker"])
def test_the_settings_of_each_service_are_accepted(name: str) -> None:
    settings: dict[str, str] = {}
    for file in ("environment", f"{name}.environment"):  # as the units read them: a later file wins
        settings |= assignments((DEPLOY / "systemd" / file).read_text("utf-8"))
    assert read_settings(settings).admin_port == (9090 if name == "serve" else 9091)
    assert read_settings(settings).background_tasks is (name == "worker")


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_a_service_is_killed_only_after_the_time_that_it_may_take_to_stop(unit: Path) -> None:
    [seconds] = values(unit, "TimeoutStopSec")
    assert int(seconds) > STOP_SECONDS
    assert values(unit, "KillMode") == ["mixed"]


def test_all_units_have_the_same_restrictions() -> None:
    restrictions = {tuple(directives(unit)[_first_limit(unit) :]) for unit in SERVICES}
    assert len(restrictions) == 1
    [of_services] = restrictions
    upgrade = next(unit for unit in UNITS if unit not in SERVICES)
    assert (*directives(upgrade)[_first_limit(upgrade) :], ("WantedBy", "multi-user.target")) == of_services


def _first_limit(unit: Path) -> int:
    return [name for name, _ in directives(unit)].index("LimitNOFILE")


@needs("systemd-analyze")
def test_systemd_finds_no_mistake_in_a_unit(unit: Path, tmp_path: Path) -> None:
    here = tmp_path / unit.name
    here.write_text(unit.read_text("utf-8").replace(INSTALLED, TOKENSVC))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(here)], capture_output=True, text=True, check=False
    )
    about_it = [line for line in verified.stderr.splitlines() if unit.name in line]  # and not on the machine's units
    assert (verified.returncode, about_it) == (0, [])


@needs("systemd-analyze")
def test_systemd_rates_the_exposure_of_a_unit_below_3(unit: Path) -> None:
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(unit)], capture_output=True, text=True, check=True
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", rated.stdout)
    assert found is not None
    assert float(found[1]) < MAX_EXPOSURE


@needs("systemd-sysusers")
@needs("systemd-tmpfiles")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_the_user_and_its_directories_are_created_and_settings_are_closed_to_others(tmp_path: Path) -> None:
    for kind, program in (("sysusers.d", "systemd-sysusers"), ("tmpfiles.d", "systemd-tmpfiles")):
        (tmp_path / "usr/lib" / kind).mkdir(parents=True)
        shutil.copy(DEPLOY / "systemd" / kind / "tokensvc.conf", tmp_path / "usr/lib" / kind)
        (tmp_path / "etc/tokensvc").mkdir(parents=True, exist_ok=True)
        (tmp_path / "etc/tokensvc/passphrase").touch(mode=0o644)
        options = ["--create"] if program == "systemd-tmpfiles" else []
        subprocess.run([program, f"--root={tmp_path}", *options, "tokensvc.conf"], check=True, capture_output=True)
    [line] = [line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("tokensvc:")]
    user, group, _, home, shell = line.split(":")[2:7]
    assert (home, Path(shell).name) == ("/var/lib/tokensvc", "nologin")

    def rights(path: str) -> tuple[int, int, str]:
        found = (tmp_path / path).stat()
        return found.st_uid, found.st_gid, oct(found.st_mode & 0o7777)

    assert rights("etc/tokensvc") == (0, int(group), "0o750")
    assert rights("etc/tokensvc/passphrase") == (0, int(group), "0o640")
    assert rights("var/lib/tokensvc") == (int(user), int(group), "0o700")


class Installed(NamedTuple):
    """tokensvc, installed as the guide says, in a root with a systemd of its own."""

    systemd: BootedSystemd
    url: str
    channel: str

    def command(self, *arguments: str, code: int | None = 0) -> str:
        """Run a `tokensvc` command in the shell of an operator."""
        script = 'set -a; . /etc/tokensvc/operator.environment; set +a; cd; exec "$0" "$@"'
        shell = ["runuser", "-u", "tokensvc", "--", "sh", "-c", script]
        return self.systemd.run(*shell, INSTALLED, *arguments, code=code).out


@pytest.fixture(scope="module")
def ivs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIvs]:
    with local_ivs(tmp_path_factory.mktemp("ivs")) as running:
        yield running


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    if reason := postgres_unavailable_reason():
        pytest.skip(reason)
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def installed(ivs: LocalIvs, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    if reason := systemd_unavailable_reason():
        pytest.skip(reason)
    database = postgres.fresh()
    access_key, port, admin_port = ivs.new_account(), free_port(), free_port()
    client = ivs.client(access_key)
    channel = client.create_channel(authorized=True)["channel"]["arn"]
    client.close()
    settings = {
        "TOKENSVC_CONTROL_PLANE": "local",
        "TOKENSVC_WORKERS": "2",
        "TOKENSVC_PORT": str(port),
        "TOKENSVC_ADMIN_PORT": str(admin_port),
        "TOKENSVC_KEY_PROPAGATION_SECONDS": "0",
        "TOKENSVC_SHUTDOWN_DELAY_SECONDS": "1",
        "AWS_ENDPOINT_URL_IVS": ivs.endpoint,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": access_key,
    }
    with (
        tcp_relay(Path(postgres.url(database).partition("host=")[2]) / ".s.PGSQL.5432") as database_port,
        booted_systemd(tmp_path_factory.mktemp("systemd"), _python()) as systemd,
    ):
        _install(systemd, settings, f"postgresql://postgres@127.0.0.1:{database_port}/{database}", free_port())
        yield Installed(systemd, f"http://127.0.0.1:{port}", channel)


def _python() -> dict[Path, str]:
    """This test's Python with its packages, where every user can read them."""
    packages = Path(sys.prefix) / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    return {
        Path(sys.base_prefix): "/opt/tokensvc/python",
        packages: "/opt/tokensvc/packages",
        ROOT / "tokensvc": "/opt/tokensvc/source/tokensvc",
    }


def _install(systemd: BootedSystemd, settings: dict[str, str], database_url: str, worker_port: int) -> None:
    etc, venv = systemd.root / "etc/tokensvc", systemd.root / "opt/tokensvc/venv/bin"
    etc.mkdir()
    venv.mkdir(parents=True)
    (venv / "tokensvc").write_text(
        "#!/bin/sh\n"
        "export LD_LIBRARY_PATH=/opt/tokensvc/python/lib PYTHONPATH=/opt/tokensvc/source:/opt/tokensvc/packages\n"
        f'exec /opt/tokensvc/python/bin/{Path(sys.base_prefix, "bin/python3").resolve().name} -m tokensvc "$@"\n'
    )
    (venv / "tokensvc").chmod(0o755)
    (etc / "environment").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    for name in ("serve.environment", "operator.environment"):
        shutil.copy(DEPLOY / "systemd" / name, etc)
    (etc / "worker.environment").write_text(f"TOKENSVC_ADMIN_PORT={worker_port}\n")
    (etc / "database-url").write_text(database_url + "\n")
    (etc / "passphrase").write_text(secrets.token_hex(32) + "\n")
    for kind in ("sysusers.d", "tmpfiles.d"):
        shutil.copy(DEPLOY / "systemd" / kind / "tokensvc.conf", systemd.root / "usr/lib" / kind)
    systemd.run("systemd-sysusers", "tokensvc.conf")
    systemd.run("systemd-tmpfiles", "--create", "tokensvc.conf")
    for unit in UNITS:
        systemd.install(unit)


def _ready(client: Client) -> bool:
    with contextlib.suppress(urllib3.exceptions.HTTPError):
        return client.get("/readyz").status == 200
    return False


@pytest.mark.long
@pytest.mark.postgres
class TestUnderARealSystemd:
    """In this order: the store is created, then a key and a caller, then both services start."""

    def test_the_upgrade_unit_creates_the_store(self, installed: Installed) -> None:
        installed.systemd.start("tokensvc-upgrade")
        assert installed.systemd.property("tokensvc-upgrade", "Result") == "success"

    def test_an_operator_has_the_settings_and_secrets_in_a_shell(self, installed: Installed) -> None:
        installed.command("keys", "generate")
        assert "active" in installed.command("keys", "list")

    def test_both_services_start_and_tokens_are_issued(self, installed: Installed) -> None:
        installed.systemd.start("tokensvc", "tokensvc-worker")
        api_key = installed.command("callers", "add", "first", "--all-channels").split()[0]
        with Client(installed.url, api_key) as client:
            wait_until(lambda: _ready(client), "it is ready")
            assert client.request_token(channelArn=installed.channel, viewerId="viewer").status == 201
        assert installed.systemd.property("tokensvc-worker", "ActiveState") == "active"

    def test_the_restrictions_cost_no_signer(self, installed: Installed) -> None:
        assert f'"signer": "{choose_signer("auto").signer.name}"' in installed.systemd.log("tokensvc")

    def test_the_processes_run_restricted(self, installed: Installed) -> None:
        for unit in ("tokensvc", "tokensvc-worker"):
            pid = installed.systemd.property(unit, "MainPID")
            status = dict(
                line.split(":\t", 1) for line in installed.systemd.run("cat", f"/proc/{pid}/status").out.splitlines()
            )
            assert (status["NoNewPrivs"], status["Seccomp"], int(status["CapEff"], 16)) == ("1", "2", 0)
            assert int(status["CapBnd"], 16) == 0
            assert installed.systemd.run("stat", "--format=%U", f"/proc/{pid}").out.strip() == "tokensvc"
            written = installed.systemd.run(
                "nsenter", f"--target={pid}", "--mount", "touch", "/etc/tokensvc/x", "/usr/x", "/opt/x", code=1
            )
            assert written.err.count("Read-only file system") == 3

    def test_a_reload_does_not_stop_a_service(self, installed: Installed) -> None:
        pids = [installed.systemd.property(unit, "MainPID") for unit in ("tokensvc", "tokensvc-worker")]
        installed.systemd.systemctl("reload", "tokensvc", "tokensvc-worker")
        assert [installed.systemd.property(unit, "MainPID") for unit in ("tokensvc", "tokensvc-worker")] == pids

    def test_no_secret_is_in_the_environment_of_a_process(self, installed: Installed) -> None:
        passphrase = (installed.systemd.root / "etc/tokensvc/passphrase").read_text().strip()
        pid = installed.systemd.property("tokensvc", "MainPID")
        environ = installed.systemd.run("cat", f"/proc/{pid}/environ").out
        assert passphrase not in environ
        assert "TOKENSVC_PASSPHRASE_FILE=/run/credentials/tokensvc.service/passphrase" in environ

    def test_a_restart_and_a_stop_end_in_time_and_without_a_failure(self, installed: Installed) -> None:
        installed.systemd.systemctl("restart", "tokensvc")
        assert installed.systemd.property("tokensvc", "Result") == "success"
        installed.systemd.systemctl("stop", "tokensvc", "tokensvc-worker")
        for unit in ("tokensvc", "tokensvc-worker"):
            assert installed.systemd.property(unit, "Result") == "success", unit
            assert installed.systemd.property(unit, "ExecMainStatus") == "0"

    def test_a_wrong_setting_is_not_tried_again(self, installed: Installed) -> None:
        environment = installed.systemd.root / "etc/tokensvc/serve.environment"
        before = environment.read_text()
        environment.write_text(before + "TOKENSVC_PROT=8080\n")
        installed.systemd.systemctl("start", "tokensvc", code=None)
        wait_until(lambda: installed.systemd.property("tokensvc", "ActiveState") == "failed", "it gives up")
        assert installed.systemd.property("tokensvc", "ExecMainStatus") == "2"
        assert installed.systemd.property("tokensvc", "NRestarts") == "0"
        assert "TOKENSVC_PORT" in installed.systemd.log("tokensvc")
        environment.write_text(before)

    def test_one_process_needs_no_directory_that_it_can_write_to(self, installed: Installed) -> None:
        """As in a container of ECS, which has none."""
        environment = installed.systemd.root / "etc/tokensvc/serve.environment"
        before = environment.read_text()
        environment.write_text(before + "TOKENSVC_WORKERS=1\n")
        readable = installed.systemd.root / "etc/systemd/system/tokensvc.service.d/read-only.conf"
        readable.write_text("[Service]\nReadOnlyPaths=/\nPrivateTmp=no\nStateDirectory=\nWorkingDirectory=/\n")
        installed.systemd.systemctl("daemon-reload")
        installed.systemd.systemctl("reset-failed", "tokensvc", code=None)
        installed.systemd.start("tokensvc")
        with Client(installed.url) as client:
            wait_until(lambda: _ready(client), "it is ready")
        pid = installed.systemd.property("tokensvc", "MainPID")
        written = installed.systemd.run(
            "nsenter", f"--target={pid}", "--mount", "touch", "/tmp/x", "/var/tmp/x", "/var/lib/tokensvc/x", code=1
        )
        assert written.err.count("Read-only file system") == 3
        installed.systemd.systemctl("stop", "tokensvc")
        readable.unlink()
        environment.write_text(before)

    def test_the_passphrase_can_be_left_out_as_the_guide_says(self, installed: Installed) -> None:
        [block] = [block for block in code_blocks(ROOT / GUIDE, GUIDE) if block.language == "ini"]
        (installed.systemd.root / "etc/tokensvc/passphrase").unlink()
        installed.systemd.systemctl("start", "tokensvc-upgrade", code=1)
        (installed.systemd.root / "etc/systemd/system/tokensvc-upgrade.service.d/kms.conf").write_text(block.text)
        installed.systemd.systemctl("daemon-reload")
        installed.systemd.start("tokensvc-upgrade")
