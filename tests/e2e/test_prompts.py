"""Prompts on a real terminal: a hidden passphrase, and a confirmation."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import secrets
import subprocess
import termios

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from tests.support.deployment import Deployment, LocalIvs
from tests.support.processes import TOKENSVC, wait_until
from tokensvc.jose import keypair

pytestmark = pytest.mark.long


class Screen:
    """A command on a pseudo-terminal."""

    def __init__(self, deployment: Deployment, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        os.set_blocking(self._ours, False)
        self.shown = ""
        self._process = subprocess.Popen(
            [TOKENSVC, *arguments],
            cwd=deployment.folder,
            env=deployment.environ,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)

    def wait_until(self, text: str) -> None:
        wait_until(lambda: text in self._read(), f"the command prints {text}")

    def wait_for_hidden_input(self) -> None:
        """Wait until input is hidden; what was typed before is discarded."""
        wait_until(lambda: not termios.tcgetattr(self._ours)[3] & termios.ECHO, "input is hidden")

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode() + b"\n")

    def wait_for_exit(self, code: int) -> str:
        """Wait until it exits with that code; return its output."""
        try:
            wait_until(lambda: (self._read(), self._process.poll() is not None)[1], "the command exits")
        finally:
            self._process.kill()
            self._process.wait()
        self._read()
        os.close(self._ours)
        assert self._process.returncode == code, self.shown
        return self.shown

    def _read(self) -> str:
        with contextlib.suppress(OSError):  # no output yet, or the terminal is closed
            self.shown += os.read(self._ours, 65_536).decode()
        return self.shown


@pytest.fixture(scope="module")
def own_deployment(ivs: LocalIvs, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    deployment = Deployment(ivs, tmp_path_factory.mktemp("prompts"))
    deployment.set_up()
    return deployment


def test_the_passphrase_prompt_hides_its_input(own_deployment: Deployment) -> None:
    passphrase = secrets.token_hex(8)
    path = own_deployment.folder / "mine.pem"
    key = keypair.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode())))
    screen = Screen(own_deployment, "keys", "import", str(path))
    screen.wait_until("Passphrase of the private key")
    screen.wait_for_hidden_input()
    screen.type(passphrase)
    shown = screen.wait_for_exit(0)
    assert keypair.fingerprint(key.public_key()) in shown
    assert passphrase not in shown


def test_compromise_shows_its_impact_and_asks_for_confirmation(own_deployment: Deployment) -> None:
    (active_key,) = [
        k["id"]
        for k in own_deployment.run("keys", "list", "--json").json["keys"]
        if k["placements"][0]["state"] == "active"
    ]
    screen = Screen(own_deployment, "keys", "compromise", active_key)
    screen.wait_until("This cannot be undone. [y/N]")
    assert "become invalid" in screen.shown
    screen.type("n")
    assert "Aborted" in screen.wait_for_exit(1)
    assert own_deployment.run("keys", "show", active_key, "--json").json["compromisedAt"] is None
    screen = Screen(own_deployment, "keys", "compromise", active_key)
    screen.wait_until("[y/N]")
    screen.type("y")
    assert f"Key {active_key} deleted." in screen.wait_for_exit(0)
