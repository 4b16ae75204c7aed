"""What a token costs in process, compared with the raw signature and PyJWT: `python -m benchmarks.sign [--json]`.

Invariants
- Contenders are measured in interleaved rounds on one core, so that noise affects all of them alike.
- tokensvc's cost is that of a token request after its body was received: parse, validate, authorize, build the claims,
  encode, sign.
"""

from __future__ import annotations

import json
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from functools import partial
from hashlib import sha384
from statistics import median

import jwt
import orjson
from awscrt.crypto import EC
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks import rounds
from benchmarks.report import report
from tokensvc.aws.arn import AccountRegion, Arn
from tokensvc.callers.policy import Caller, CallerPolicy
from tokensvc.jose import keypair
from tokensvc.jose.signing.aws_lc import AwsLcKey
from tokensvc.tokens.authorization import authorize
from tokensvc.tokens.issuer import prepare
from tokensvc.tokens.keyring import Keyring, RegionKeys, SigningKey
from tokensvc.tokens.request import parse_token_request
from tokensvc.tokens.snapshot import Snapshot

ROUNDS = 31
ROUND_SECONDS = 0.15
ACCOUNT_REGION = AccountRegion("000000000000", "us-east-1")
CHANNEL = str(Arn(ACCOUNT_REGION, "channel", "abcdefghijkl"))
VIEWER = "viewer-0001"
TTL_SECONDS = 300
RAW = "raw AWS-LC sign"
"""The only contender that creates no token: the upper bound for the others."""
TARGETS = {f"tokensvc / {RAW}": 0.85}


def contenders(private_key: ec.EllipticCurvePrivateKey | None = None) -> dict[str, Callable[[], object]]:
    """Functions by name: each creates one token with this key (a new one by default), or one bare signature."""
    private_key = private_key or keypair.generate()
    der = private_key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    awslc = EC.new_key_from_der_data(der)
    digest = sha384(b"x" * 300).digest()
    keyring = Keyring({ACCOUNT_REGION: RegionKeys(SigningKey("k1", AwsLcKey(private_key), 3600), {})})
    snapshot = Snapshot(keyring=keyring, max_ttl_seconds=3600, subject_key=bytes(32))
    caller = Caller("bench", CallerPolicy(("arn:aws:ivs:us-east-1:000000000000:channel/*",)))
    fields = orjson.loads(orjson.dumps({"channelArn": CHANNEL, "viewerId": VIEWER}))

    def token() -> str:
        token_request = parse_token_request(fields)
        authorized = authorize(caller, token_request, snapshot)
        return prepare(*authorized, snapshot, int(time.time()), uuid.uuid4).signed()

    return {
        RAW: lambda: EC.decode_der_signature_to_padded_pair(awslc.sign(digest), 48),
        "tokensvc": token,
        "cryptography direct": partial(_direct, private_key),
        "PyJWT with a key object": lambda: jwt.encode(_claims(), private_key, "ES384"),
        "PyJWT with PEM text": lambda: jwt.encode(_claims(), pem, "ES384"),
    }


def _claims() -> dict[str, object]:
    now = int(time.time())
    return {
        "aws:channel-arn": CHANNEL,
        "aws:viewer-id": VIEWER,
        "aws:viewer-session-version": now,
        "exp": now + TTL_SECONDS,
    }


def _direct(private_key: ec.EllipticCurvePrivateKey) -> str:
    """A token without a JWT library: RFC 7515 implemented with `cryptography`."""
    signed = _DIRECT_HEADER + _base64url(json.dumps(_claims(), separators=(",", ":")).encode())
    r, s = decode_dss_signature(private_key.sign(signed, _ECDSA))
    return (signed + b"." + _base64url(r.to_bytes(48, "big") + s.to_bytes(48, "big"))).decode()


def _base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


_ECDSA = ec.ECDSA(hashes.SHA384())
_DIRECT_HEADER = _base64url(b'{"alg":"ES384","typ":"JWT"}') + b"."


def rate(call: Callable[[], object], seconds: float) -> float:
    """Calls per second, measured for about `seconds`."""
    calls, started = 0, time.perf_counter()
    while (now := time.perf_counter()) - started < seconds or not calls:
        for _ in range(20):
            call()
        calls += 20
    return calls / (now - started)


def cpu_us(call: Callable[[], object], calls: int) -> float:
    """CPU time of this thread per call, in microseconds; other load on the machine does not add to it."""
    before = time.thread_time_ns()
    for _ in range(calls):
        call()
    return (time.thread_time_ns() - before) / calls / 1000


def main() -> None:
    rates = rounds.interleave({name: partial(rate, call, ROUND_SECONDS) for name, call in contenders().items()}, ROUNDS)
    own = rates["tokensvc"]
    ratios = {f"tokensvc / {name}": rounds.ratio(own, other) for name, other in rates.items() if name != "tokensvc"}
    figures = {f"{name}, per second": median(values) for name, values in rates.items()}
    report("tokens in process", ratios, figures, TARGETS)


if __name__ == "__main__":
    main()
