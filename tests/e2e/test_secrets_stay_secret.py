"""A busy run with secrets pasted in all the wrong places; then all output is searched for them.

Invariants
- Successful responses, and the one-time output of `callers add`, may contain secrets of the caller. Nothing else may
  contain a token, a private key, an API key, a passphrase, a subject, or a viewer id.
- A secret counts as found if a sufficiently long part of it is found.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.deployment import Deployment, LocalIvs
from tests.support.http_client import Client, fetch
from tests.support.processes import Process, wait_until

pytestmark = pytest.mark.long

PIECE_CHARS = 24
SUBJECT = "grace.hopper+private@example.com"
VIEWER = "raw-viewer-id-4711"
DATABASE_PASSWORD = "correct-horse-battery-staple"


class Run(NamedTuple):
    """The output of a busy run."""

    secrets: dict[str, list[str]]
    """By kind: pieces that no output may contain."""
    written: dict[str, str]
    """By place: everything that was written there."""


def _pasted_key() -> str:
    key = ec.generate_private_key(ec.SECP384R1())
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, pkcs8, plain).decode()


def _pem_pieces(pem: str) -> list[str]:
    """Each line of its body in two halves, except the first line, which is the same for all keys."""
    lines = [line for line in pem.splitlines() if line and "-----" not in line][1:]
    return [piece for line in lines for piece in (line[:PIECE_CHARS], line[-PIECE_CHARS:])]


def _token_pieces(token: str) -> list[str]:
    _, payload, signature = token.split(".")
    return [payload[-PIECE_CHARS:], signature[:PIECE_CHARS], signature[-PIECE_CHARS:]]


def _invalid_requests(caller: Client, url: str, pem: str, token: str, arn: str) -> Iterator[Any]:
    """Send invalid requests of every kind; yield the responses."""
    joined = "".join(pem.splitlines()[1:-1])
    requests: list[dict[str, Any]] = [
        {"channelArn": arn, "viewerId": pem},
        {"channelArn": pem, "subject": SUBJECT, "viewerId": VIEWER},
        {"channelArn": arn, "allowedOrigins": [pem, token], "maximumResolution": token, "ttlSeconds": pem},
        {"channelArn": arn, "privateKey": pem, "subject": SUBJECT, "ads": {"playerParams": {"a": pem}, "x": token}},
        {"channelArn": arn, pem: 1, token: 2, SUBJECT: 3},
        {"channelArn": arn, "ads": {"playerParams": {token * 3: pem * 3}}},
        {"channelArn": token, "ads": {pem: token}},
        {"channelArn": arn, "viewerId": VIEWER, "ttlSeconds": 10**6},
    ]
    yield from (caller.request_token(**request) for request in requests)
    yield caller.request_batch(requests)
    for body in (pem, token, f'"{token}"', f"[{json.dumps(pem)}]", f'{{"a": {token}'):
        yield caller.request("POST", "/v1/tokens", body)
    for path in (f"/openapi.json?token={token}", f"/v1/tokens/{token}", f"/{quote(pem)}", f"/v1/tokens?key={joined}"):
        yield caller.get(path)
    for authorization in (f"Bearer {joined}", f"Bearer {token}", f"Bearer tsk_{joined}", f"Basic {joined}"):
        yield caller.request("POST", "/v1/tokens", "{}", {"authorization": authorization, "x-key": joined})
    yield fetch(f"{url}?token={token}x")
    yield fetch(f"{url}?token={token}&token={token}")
    yield fetch(f"{url.replace('.m3u8', 'x.m3u8')}?token={token}")


def _commands(deployment: Deployment, key: str, pem: str, token: str) -> str:
    """Run commands correctly and incorrectly; return all their output."""
    (deployment.folder / "key.pem").write_text(pem)
    unreachable = {"DATABASE_URL": f"postgresql://tokensvc:{DATABASE_PASSWORD}@127.0.0.1:9/tokensvc", "VAULT": "store"}
    result = deployment.run_all(
        (["keys", "rotate"], {}),
        (["keys", "list"], {}),
        (["keys", "list", "--json"], {}),
        (["settings"], {}),
        (["settings", "--json"], unreachable),
        (["doctor"], unreachable),
        (["serve"], unreachable),
        (["callers", "list", "--json"], {}),
        (["callers", "add", token, f"--channels={pem}"], {}),
        (["tokens", "explain", token, "--json"], {}),
        (["tokens", "explain", token + "x", f"--channel={pem}"], {}),
        (["tokens", "explain", "--", pem], {}),
        (["tokens", "explain", token, "--public-key", "key.pem"], {}),
        (["keys", "public", key], {}),
        (["serve"], {"PASSPHRASE": "short", "DATABASE_URL": pem, "LOG_FORMAT": token, "VAULT": key}),
        (["serve"], {"PASSPHRASE": token}),
    )
    (deployment.folder / "key.pem").unlink()
    assert result.err.count("exited with") == 16, result.err
    assert "Traceback" not in result.err, result.err
    return result.out + result.err


@pytest.fixture(scope="module")
def busy(ivs: LocalIvs, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The busy run, with service and commands in Python's development mode, which is the most verbose."""
    folder = tmp_path_factory.mktemp("busy")
    deployment = Deployment(ivs, folder)
    deployment.environ |= {"PYTHONDEVMODE": "1", "PYTHONASYNCIODEBUG": "1"}
    key, arn = deployment.set_up(), deployment.new_channel()["arn"]
    pem, tokens, written = _pasted_key(), [], {}
    with deployment.serve() as service, service.client(key) as caller:
        response = caller.token(channelArn=arn, subject=SUBJECT)
        tokens += [response["token"], caller.token(channelArn=arn, viewerId=VIEWER, singleUse=True)["token"]]
        requests = [{"channelArn": arn, "viewerId": VIEWER}, {"channelArn": arn, "subject": SUBJECT}]
        tokens += [result["token"] for result in caller.request_batch(requests).json["results"]]
        url = response["playbackUrl"].partition("?")[0]
        assert fetch(response["playbackUrl"]).status == 200
        error_responses = list(_invalid_requests(caller, url, pem, tokens[0], arn))
        assert all(r.status >= 400 or b"problem" in r.body or r.status == 200 for r in error_responses)
        written["error_responses"] = "\n".join(f"{r.headers}\n{r.body.decode()}" for r in error_responses)
        written["commands"] = _commands(deployment, key, pem, tokens[0])
        wait_until(
            lambda: len(caller.get("/.well-known/jwks.json").json["keys"]) == 2, "the service publishes the new key"
        )
        written["metrics"] = caller.get("/metrics").body.decode()
    written |= _logs(service.process, "service") | _logs(ivs.process, "local IVS")
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".out"):
        written[str(path.relative_to(folder))] = path.read_bytes().decode("latin-1")
    secrets = {
        "tokens": [piece for token in tokens for piece in _token_pieces(token)],
        "a pasted private key": _pem_pieces(pem),
        "our private keys": [
            piece for pem in _decrypted(folder / "keys", deployment.passphrase) for piece in _pem_pieces(pem)
        ],
        "API keys": [key, key.split("_", 2)[2]],
        "the passphrase": [
            deployment.passphrase,
            deployment.passphrase[:PIECE_CHARS],
            deployment.passphrase[-PIECE_CHARS:],
        ],
        "the database's password": [DATABASE_PASSWORD],
        "viewers": [VIEWER, response["viewerId"]],
        "subjects": [SUBJECT, SUBJECT.partition("@")[0], quote(SUBJECT)],
    }
    return Run(secrets, written)


def _logs(process: Process, name: str) -> dict[str, str]:
    return {f"{name}'s log": process.err, f"{name}'s output": process.out}


def _decrypted(folder: Path, passphrase: str) -> list[str]:
    """Our decrypted private keys as PEM, by an independent implementation."""
    pems = []
    for path in folder.glob("*.pem"):
        key = serialization.load_pem_private_key(path.read_bytes(), passphrase.encode())
        pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        pems.append(key.private_bytes(serialization.Encoding.PEM, pkcs8, plain).decode())
    return pems


@pytest.mark.parametrize(
    "kind",
    [
        "tokens",
        "a pasted private key",
        "our private keys",
        "API keys",
        "the passphrase",
        "the database's password",
        "viewers",
        "subjects",
    ],
)
def test_no_output_contains_a_secret(busy: Run, kind: str) -> None:
    assert busy.secrets[kind]
    found = [
        f"{piece} in {where}: …{text[max(0, text.index(piece) - 80) : text.index(piece) + 80]}…"
        for where, text in busy.written.items()
        for piece in busy.secrets[kind]
        if piece in text
    ]
    assert not found, "\n".join(found)


def test_the_run_was_busy(busy: Run) -> None:
    """An empty run would contain no secrets either."""
    assert (
        busy.written["service's log"].count('"event":"request"')
        + busy.written["service's log"].count('"event": "request"')
        > 25
    )
    assert "tokensvc_token_requests_total" in busy.written["metrics"]
    assert len([where for where in busy.written if where.startswith("keys/")]) == 2
    assert "BEGIN ENCRYPTED PRIVATE KEY" in "".join(busy.written.values())
    assert "BEGIN PRIVATE KEY" not in "".join(busy.written.values())
