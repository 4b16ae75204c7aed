"""A real systemd that runs units of a test, beside whatever this machine was started with.

Invariants
- It is process 1 of its own PID, mount, IPC, UTS and cgroup namespaces. Its root is an overlay over the machine's, so
  that nothing that is installed in it changes the machine; /run, /tmp and /dev are new.
- The network is the machine's, so that units reach servers that the test has started on loopback.
- When the process that has started it ends, the kernel ends everything in it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import CommandResult, Process, environment, run, started, wait_until

SYSTEMD = "/lib/systemd/systemd"
_BOOT = r"""
set -eu
folder=$1 binds=$2
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
cd "$folder/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
ln -s /proc/self/fd dev/fd
mkdir dev/shm dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm
: > dev/console
echo "$binds" | while read -r source target; do
  [ -z "$source" ] || { mkdir -p ".$target"; mount --bind "$source" ".$target"; }
done
mount -t tmpfs -o mode=1777 tmpfs tmp
rm -f etc/systemd/system/*.wants/* usr/lib/systemd/system/tokensvc*
printf '[Unit]\nDescription=nothing but what a test starts\n' > etc/systemd/system/test.target
pivot_root . mnt
cd /
umount -l /mnt
mount --make-rshared /  # units get their credentials as a mount
exec /usr/bin/env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  "$SYSTEMD" --system --unit=test.target --log-target=console --show-status=no
"""
_PROBE = """
mount --make-rprivate / && mount -t tmpfs tmpfs /mnt && mkdir /mnt/upper /mnt/work /mnt/root &&
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
"""


class BootedSystemd:
    """The running systemd."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._pid = pid
        self._folder = folder
        self.root = Path(f"/proc/{pid}/root")

    def run(self, *arguments: str, code: int | None = 0) -> CommandResult:
        """Run a command inside, as root."""
        options = ["--mount", "--pid", "--ipc", "--uts", "--cgroup", "--root", "--wdns=/"]
        command = ["nsenter", f"--target={self._pid}", *options, *arguments]
        return run(command, self._folder, environment(self._folder / "home"), code=code)

    def systemctl(self, *arguments: str, code: int | None = 0) -> CommandResult:
        return self.run("systemctl", "--no-pager", *arguments, code=code)

    def property(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", unit, f"--property={name}", "--value").out.strip()

    def start(self, *units: str) -> None:
        """Start units; if one fails, the test fails with what it logged."""
        started = self.systemctl("start", *units, code=None)
        assert started.code == 0, "\n".join([started.err, *(self.log(unit) for unit in units)])

    def log(self, unit: str) -> str:
        """What a unit logged, which goes to a file, since no journal runs here."""
        path = self.root / f"{unit}.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def install(self, unit: Path) -> None:
        """Install a unit."""
        shutil.copy(unit, self.root / "etc/systemd/system")
        more = self.root / f"etc/systemd/system/{unit.name}.d"
        more.mkdir()
        (more / "log.conf").write_text(f"[Service]\nStandardError=append:/{unit.stem}.log\n")
        self.systemctl("daemon-reload")


def unavailable_reason() -> str | None:
    """Why no systemd can be started here; None if one can."""
    if os.geteuid() != 0:
        return "only root can start a systemd in namespaces"
    if missing := [name for name in (SYSTEMD, "unshare", "nsenter") if shutil.which(name) is None]:
        return f"{' and '.join(missing)} not installed: make system-packages"
    if _cgroups() is None:
        return "this machine has no cgroup2 hierarchy that can be written to"
    tried = subprocess.run(["unshare", "--mount", "sh", "-c", _PROBE], capture_output=True, text=True, check=False)
    return f"no overlay of the root can be mounted: {tried.stderr.strip()}" if tried.returncode else None


def _cgroups() -> Path | None:
    """Where the cgroup2 hierarchy is mounted, if this process can change it."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind = line.split()[:3]
        if kind == "cgroup2" and os.access(where, os.W_OK):
            return Path(where)
    return None


@contextlib.contextmanager
def booted_systemd(folder: Path, binds: dict[Path, str]) -> Iterator[BootedSystemd]:
    """Start it, with directories of the machine mounted at other places of its root."""
    hierarchy = _cgroups()
    assert hierarchy is not None
    cgroup, mounts = hierarchy / f"tokensvc-test-{os.getpid()}", folder / "namespace"
    cgroup.mkdir()
    mounts.mkdir()
    enter = f'echo $$ > {cgroup}/cgroup.procs; exec unshare --kill-child --fork --pid --mount --uts --ipc --cgroup "$@"'
    script = _BOOT.replace("$SYSTEMD", SYSTEMD)
    pairs = "\n".join(f"{source} {target}" for source, target in binds.items())
    command = ["sh", "-c", enter, "sh", "sh", "-c", script, "sh", str(mounts), pairs]
    try:
        with started(command, folder, environment(folder / "home"), "systemd") as process:
            pid = process.wait_until(lambda: _init(process), "it starts") or 0
            systemd = BootedSystemd(pid, folder)
            process.wait_until(
                lambda: "active" in systemd.systemctl("is-active", "test.target", code=None).out.split(), "it is up"
            )
            yield systemd
            process.kill()
    finally:
        _remove(cgroup)


def _init(process: Process) -> int | None:
    """The process that is systemd, once it is."""
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
            return int(child)
    return None


def _remove(cgroup: Path) -> None:
    """Remove a cgroup and those in it, once their processes have ended."""
    wait_until(lambda: "populated 0" in (cgroup / "cgroup.events").read_text(), "the processes of the units end")
    for path in sorted((path for path in cgroup.rglob("*") if path.is_dir()), reverse=True):
        path.rmdir()
    cgroup.rmdir()
