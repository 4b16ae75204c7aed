"""What a token costs in process, beside the raw signature and beside PyJWT: `python -m benchmarks.sign [--json]`.

Rules of the file
- Contenders take turns, round by round, on one core, so that noise meets all of them alike.
- Ours is all that an ask costs after its body is in: read and checked, admitted, claims built, encoded, signed.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from hashlib import sha384
from statistics import median

import jwt
import orjson
from awscrt.crypto import EC
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.report import report
from tokensvc.adapters.awslc import AwsLcSigner
from tokensvc.admit import admit
from tokensvc.core import keypair
from tokensvc.core.arn import Arn, Place
from tokensvc.core.ask import read_ask
from tokensvc.core.policy import Caller, CallerPolicy
from tokensvc.core.ring import Ring, SigningKey, Slot
from tokensvc.core.snapshot import Snapshot
from tokensvc.issue import issue

ROUNDS = 31
ROUND_SECONDS = 0.15
PLACE = Place("000000000000", "us-east-1")
CHANNEL = str(Arn(PLACE, "channel", "abcdefghijkl"))
TARGETS = {"ours / raw AWS-LC sign": 0.85, "ours / PyJWT with a key object": 2.2}


def contenders() -> dict[str, Callable[[], object]]:
    """By name, one call that makes one token, or one bare signature."""
    private_key = keypair.generate()
    der = private_key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    awslc = EC.new_key_from_der_data(der)
    digest = sha384(b"x" * 300).digest()
    ecdsa = ec.ECDSA(hashes.SHA384())
    ring = Ring({PLACE: Slot(SigningKey("k1", AwsLcSigner(private_key).sign, 3600), {})})
    snapshot = Snapshot(ring=ring, max_ttl_seconds=3600, subject_key=bytes(32))
    caller = Caller("bench", CallerPolicy(("arn:aws:ivs:us-east-1:000000000000:channel/*",)))
    fields = orjson.loads(orjson.dumps({"channelArn": CHANNEL, "viewerId": "viewer-0001"}))

    def ours() -> object:
        ask = read_ask(fields)
        return issue(ask, admit(caller, ask, snapshot), snapshot, int(time.time()), uuid.uuid4)

    def claims() -> dict[str, object]:
        now = int(time.time())
        return {
            "aws:channel-arn": CHANNEL,
            "aws:viewer-id": "viewer-0001",
            "aws:viewer-session-version": now,
            "exp": now + 300,
        }

    return {
        "raw AWS-LC sign": lambda: EC.decode_der_signature_to_padded_pair(awslc.sign(digest), 48),
        "ours": ours,
        "cryptography direct": lambda: private_key.sign(b"x" * 300, ecdsa),
        "PyJWT with a key object": lambda: jwt.encode(claims(), private_key, "ES384"),
        "PyJWT with PEM text": lambda: jwt.encode(claims(), pem, "ES384"),
    }


def rate(call: Callable[[], object], seconds: float) -> float:
    """Calls a second, over about that long."""
    calls, began = 0, time.perf_counter()
    while (now := time.perf_counter()) - began < seconds or not calls:
        for _ in range(20):
            call()
        calls += 20
    return calls / (now - began)


def main() -> None:
    calls = contenders()
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            rates[name].append(rate(call, ROUND_SECONDS))
    ratios = {
        f"ours / {name}": median(o / other for o, other in zip(rates["ours"], rates[name], strict=True))
        for name in calls
        if name != "ours"
    }
    figures = {f"{name}, per second": median(values) for name, values in rates.items()}
    report("tokens in process", ratios, figures, TARGETS)


if __name__ == "__main__":
    main()
