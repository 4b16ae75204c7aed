"""Verification of AWS Signature Version 4, as a service does it.

Invariants
- The signed request is the one that was sent: the raw path, including any mount prefix, encoded once more as for every
  service but S3; the raw query; the hash of the actual body, whatever a header claims (AWS General Reference, "Create a
  signed AWS API request").
- Signatures are accepted in the Authorization header; presigned query strings are rejected by name. A session token is
  accepted and ignored: the local IVS has no STS.
- The access key gives the account, the credential scope the region. A region without the service is rejected with the
  list of those that have it.
- Signatures are compared in constant time. No message contains a secret, a signature or the signed text.
- INFERRED: Errors about signatures have the names, statuses and texts of API Gateway, which seems to be in front of
  IVS. Only IncompleteSignature and UnrecognizedClientException are in the API reference's "Common Errors".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.raw_query import decoded_pairs

ALGORITHM = "AWS4-HMAC-SHA256"
CLOCK_TOLERANCE_SECONDS = 300
"""AWS: a signature is valid for five minutes around its date."""

_AUTHORIZATION = re.compile(
    rf"{ALGORITHM}\s+Credential=([^/,\s]+)/([0-9]{{8}})/([a-z0-9-]{{1,32}})/([a-z0-9-]+)/aws4_request\s*,\s*"
    r"SignedHeaders=([a-z0-9;_-]+)\s*,\s*Signature=([0-9a-f]{64})\s*"
)
_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")


class AccessKeySecret(NamedTuple):
    """The secret and account of an access key."""

    secret_access_key: str
    account: str

    def __repr__(self) -> str:
        return f"AccessKeySecret(account={self.account!r})"


Credentials = Mapping[str, AccessKeySecret]
"""Access key id -> its secret and account."""
_ACCESS_KEY = re.compile(r"([^:/,\s]+):(\S+):([0-9]{12})")


def parse_access_key(text: str) -> tuple[str, AccessKeySecret]:
    """Parse `ID:SECRET:ACCOUNT` of a command line. Raises ValueError whose message does not contain the value."""
    found = _ACCESS_KEY.fullmatch(text)
    if found is None:
        raise ValueError("must have the form ID:SECRET:ACCOUNT with an account of 12 digits")
    return found[1], AccessKeySecret(found[2], found[3])


class SignedRequest(NamedTuple):
    """The parts of a request that a signature covers, as they were sent. Header names are lower case."""

    method: str
    raw_path: bytes
    raw_query: bytes
    headers: Sequence[tuple[str, str]]
    body: bytes


class SignatureVerifier:
    """Verifies the signatures of requests to one service."""

    def __init__(self, service: str, credentials: Credentials, regions: Collection[str] | None = None) -> None:
        """`regions` are those that have the service; None accepts any."""
        self._service = service
        self._regions = regions
        self._credentials = credentials
        self._signing_key = lru_cache(maxsize=256)(_signing_key)

    def verify(self, request: SignedRequest, now: float) -> AccountRegion:
        """The account and region of the request. Raises IvsError if its signature is not valid."""
        headers = _headers(request.headers)
        given = headers.get("authorization")
        if given is None:
            if b"X-Amz-Signature=" in request.raw_query:
                raise _incomplete(
                    "Presigned requests are not supported; send the signature in the Authorization header"
                )
            raise IvsError("MissingAuthenticationTokenException", "Missing Authentication Token")
        found = _AUTHORIZATION.fullmatch(given)
        if found is None:
            raise _incomplete(f"The Authorization header does not have the form of {ALGORITHM}")
        access_key, day, region, service, signed, signature = found.groups()
        if service != self._service:
            raise _invalid(f"Credential should be scoped to correct service: '{self._service}'.")
        if self._regions is not None and region not in self._regions:
            known = ", ".join(sorted(self._regions))
            raise _invalid(
                f"Credential should be scoped to a valid region: {self._service} is in {known} "
                "(`tokensvc ivs serve --any-region` accepts others)"
            )
        date = headers.get("x-amz-date", "")
        self._check_date(date, day, now)
        secret = self._credentials.get(access_key)
        if secret is None:
            raise IvsError("UnrecognizedClientException", "The security token included in the request is invalid.")
        names = signed.split(";")
        if not {"host", "x-amz-date"} <= set(names) <= headers.keys():
            raise _invalid("The signed headers must include host and x-amz-date, and all signed headers must be sent")
        key = self._signing_key(secret.secret_access_key, day, region, service)
        text = f"{ALGORITHM}\n{date}\n{day}/{region}/{service}/aws4_request\n{_canonical_hash(request, headers, names)}"
        if not hmac.compare_digest(_sign(key, text).hex(), signature):
            raise _invalid(
                "The request signature we calculated does not match the signature you provided. "
                "Check your AWS Secret Access Key and signing method."
            )
        return AccountRegion(secret.account, region)

    def _check_date(self, date: str, day: str, now: float) -> None:
        if not _DATE.fullmatch(date):
            raise _incomplete("The x-amz-date header must have the form YYYYMMDD'T'HHMMSS'Z'")
        try:
            signed_at = datetime.fromisoformat(date).timestamp()
        except ValueError:
            raise _incomplete("The x-amz-date header is not a date") from None
        if not date.startswith(day):
            raise _invalid("Date in Credential scope does not match the x-amz-date header.")
        if abs(now - signed_at) > CLOCK_TOLERANCE_SECONDS:
            state = "expired" if signed_at < now else "not yet current"
            raise _invalid(f"Signature {state}: {date} is more than five minutes off the server's clock.")


def _canonical_hash(request: SignedRequest, headers: Mapping[str, str], names: Sequence[str]) -> str:
    canonical = "\n".join(
        (
            request.method,
            canonical_path(request.raw_path),
            canonical_query(request.raw_query),
            *(f"{name}:{headers[name]}" for name in sorted(names)),
            "",
            ";".join(sorted(names)),
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def canonical_path(raw_path: bytes) -> str:
    """The path without dot segments and empty segments, encoded once more: `%3A` becomes `%253A`."""
    segments: list[bytes] = []
    for segment in raw_path.split(b"/"):
        if segment == b"..":
            del segments[-1:]
        elif segment not in (b"", b"."):
            segments.append(segment)
    tail = b"/" if segments and raw_path.endswith(b"/") else b""
    return quote(b"/" + b"/".join(segments) + tail, safe="/~")


def canonical_query(raw_query: bytes) -> str:
    """Names and values in canonical encoding, sorted by name and value."""
    encoded = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in decoded_pairs(raw_query))
    return "&".join(f"{name}={value}" for name, value in encoded)


def _headers(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        trimmed = " ".join(value.split())
        joined[name] = f"{joined[name]},{trimmed}" if name in joined else trimmed
    return joined


def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = _sign(key, part)
    return key


def _sign(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), hashlib.sha256)


def _incomplete(message: str) -> IvsError:
    return IvsError("IncompleteSignature", message)


def _invalid(message: str) -> IvsError:
    return IvsError("InvalidSignatureException", message)
