"""Builds the container image without an image registry, and runs it.

Invariants
- The bases are Debian root file systems that `mmdebstrap` makes: one with Python, one with a compiler too. They stand
  in for the base that deploy/Containerfile names.
- Images and containers are in a directory of the test's own; nothing of the machine's container engine is used or
  changed.
- Containers share the network of the machine: networks of their own would need the machine's firewall.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.processes import CommandResult, Process, run

ROOT = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
"""Debian 12: the newest Debian whose Python is the oldest that tokensvc supports."""
RUNTIME_PACKAGES = "python3,ca-certificates"
BUILD_PACKAGES = f"{RUNTIME_PACKAGES},python3-venv,python3-dev,gcc,libc6-dev"
TOOLS = ("mmdebstrap", "buildah", "podman", "runc")
USER = 10001
CERTIFICATES = Path("/etc/ssl/certs")
"""Mounted into the build, which downloads packages: this machine may reach them by a proxy with a certificate of its
own."""
ENGINE_CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
"""Without limits of its own, a container gets some that a process without all capabilities cannot set."""


def unavailable_reason() -> str | None:
    """Why no image can be built here; None if one can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} not installed: make system-packages-image"
    if os.geteuid() != 0:
        return "only root can make a root file system here"
    return None


class Engine:
    """podman and buildah with their state in one directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tmp").mkdir()
        configuration = folder / "containers.conf"
        configuration.write_text(ENGINE_CONFIGURATION)
        self._state = ["--root", str(folder / "storage"), "--runroot", str(folder / "run")]
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TMPDIR": str(folder / "tmp"),
            "CONTAINERS_CONF": str(configuration),
            "STORAGE_DRIVER": "overlay",
        }
        if self.podman("info", code=None).code:
            self.environ["STORAGE_DRIVER"] = "vfs"

    def podman_command(self, *arguments: str) -> list[str]:
        return ["podman", *self._state, "--runtime", "runc", *arguments]

    def podman(self, *arguments: str, code: int | None = 0, within_seconds: float = 120) -> CommandResult:
        command = self.podman_command(*arguments)
        return run(command, self.folder, self.environ, code=code, within_seconds=within_seconds)

    def build(self, tag: str, *options: str) -> None:
        """Build deploy/Containerfile with the bases `localhost/base` and `localhost/build`."""
        bases = ["BASE=localhost/base", "BUILD_BASE=localhost/build"]
        run(
            [
                "buildah",
                *self._state,
                *("build", "--isolation", "chroot", "--format", "docker", "--pull-never", "--volume"),
                f"{CERTIFICATES}:{CERTIFICATES}:ro",
                *(word for base in bases for word in ("--build-arg", base)),
                *("--file", "deploy/Containerfile", "--tag", tag),
                *options,
                str(ROOT),
            ],
            ROOT,
            self.environ,
            within_seconds=900,
        )

    def close(self) -> None:
        """Remove all containers and images."""
        self.podman("rm", "--all", "--force", "--time", "0", code=None)
        mounted = [Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines()]
        for path in sorted((path for path in mounted if path.is_relative_to(self.folder)), reverse=True):
            subprocess.run(["umount", "--lazy", path], check=True)  # podman mounts its storage on itself, and leaves it
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def engine_with_bases() -> Iterator[Engine]:
    """An engine that has the two bases."""
    folder = Path(tempfile.mkdtemp(prefix="image-"))  # podman allows its run directory at most 50 characters
    engine, processes = Engine(folder), dict[str, subprocess.Popen[bytes]]()
    try:
        made = {"base": RUNTIME_PACKAGES, "build": BUILD_PACKAGES}
        processes |= {
            name: subprocess.Popen(
                [
                    "mmdebstrap",
                    "--quiet",
                    "--variant=essential",
                    "--dpkgopt=force-unsafe-io",
                    f"--include={packages}",
                    SUITE,
                    str(folder / f"{name}.tar"),
                ],
                env=engine.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # on a failure it sends SIGHUP to its whole process group
            )
            for name, packages in made.items()
        }
        for name, process in processes.items():
            _, errors = process.communicate(timeout=900)
            assert process.returncode == 0, errors.decode("utf-8", "replace")
            archive = folder / f"{name}.tar"
            engine.podman("import", str(archive), f"localhost/{name}", within_seconds=300)
            archive.unlink()
        yield engine
    finally:
        for process in processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        engine.close()


class Container:
    """A running container, in the foreground of a process of ours."""

    def __init__(self, engine: Engine, name: str, process: Process) -> None:
        self._engine = engine
        self.name = name
        self.process = process

    @property
    def log(self) -> str:
        return self.process.out + self.process.err

    @property
    def pid(self) -> int:
        """The id of its first process, on this machine."""
        return int(self._engine.podman("inspect", "--format", "{{.State.Pid}}", self.name).out)

    def signal(self, name: str) -> None:
        self._engine.podman("kill", "--signal", name, self.name)

    def check_health(self) -> CommandResult:
        """Run the image's health check in it, with any result."""
        return self._engine.podman("healthcheck", "run", self.name, code=None)

    def execute(self, *command: str, code: int | None = 0) -> CommandResult:
        """Run a command in it."""
        return self._engine.podman("exec", self.name, *command, code=code)


def hardened(
    image: str, command: Sequence[str], variables: Mapping[str, str], mounts: Sequence[str] = (), *options: str
) -> list[str]:
    """The arguments of `podman run`: nothing in the container is writable but its mounts, and it can do nothing that
    needs a capability."""
    return [
        "run",
        "--rm",
        *("--read-only", "--read-only-tmpfs=false", "--cap-drop", "all", "--security-opt", "no-new-privileges"),
        *("--user", f"{USER}:{USER}", "--network", "host"),
        *(word for name, value in variables.items() for word in ("--env", f"{name}={value}")),
        *(word for mount in mounts for word in ("--volume", mount)),
        *options,
        image,
        *command,
    ]


@contextlib.contextmanager
def running(engine: Engine, name: str, arguments: Sequence[str]) -> Iterator[Container]:
    """A container while the block runs."""
    command = engine.podman_command(arguments[0], "--name", name, *arguments[1:])
    process = Process(command, engine.folder, engine.environ, name)
    try:
        yield Container(engine, name, process)
    finally:
        engine.podman("rm", "--force", "--time", "0", name, code=None)
        process.kill()


def inspected(engine: Engine, image: str) -> dict[str, Any]:
    """The configuration of an image."""
    [found] = engine.podman("inspect", image).json
    return dict(found)
