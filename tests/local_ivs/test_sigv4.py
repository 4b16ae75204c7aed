"""The verifier accepts what botocore's signer signs, and rejects every modified request by name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from tokensvc.aws.arn import AccountRegion
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.raw_query import decoded_pairs
from tokensvc.local_ivs.sigv4 import AccessKeySecret, SignatureVerifier, SignedRequest, canonical_path, parse_access_key

SECRETS = {
    "AKIDTEST": AccessKeySecret("the/secret+key", "111122223333"),
    "other": AccessKeySecret("other", "444455556666"),
}
VERIFIER = SignatureVerifier("ivs", SECRETS)
EXAMPLES = settings(max_examples=60, deadline=None, database=None)


def signed(
    url: str = "http://127.0.0.1:8080/GetChannel",
    *,
    method: str = "POST",
    body: bytes = b"{}",
    access_key: str = "AKIDTEST",
    secret: str = "the/secret+key",
    token: str | None = None,
    service: str = "ivs",
    region: str = "us-west-2",
    headers: dict[str, str] | None = None,
) -> SignedRequest:
    """A request signed by botocore, as a server receives it."""
    request = AWSRequest(method, url, data=body, headers=headers or {})
    SigV4Auth(BotoCredentials(access_key, secret, token), service, region).add_auth(request)
    parts = urlsplit(url)
    sent = [(name.lower(), value) for name, value in request.headers.items()]
    return SignedRequest(method, parts.path.encode(), parts.query.encode(), [*sent, ("host", parts.netloc)], body)


def test_a_plus_in_a_query_is_a_space_for_signature_and_operation() -> None:
    """Form encoding writes a space as a plus; such a client signs it as %20."""
    sent = signed("http://127.0.0.1:8080/tags/x?tagKeys=a%20b&tagKeys=1%2B1", method="DELETE", body=b"")
    assert VERIFIER.verify(sent._replace(raw_query=b"tagKeys=a+b&tagKeys=1%2B1"), now())
    assert decoded_pairs(b"tagKeys=a+b&tagKeys=1%2B1") == [(b"tagKeys", b"a b"), (b"tagKeys", b"1+1")]
    signed_plus = signed("http://127.0.0.1:8080/tags/x?tagKeys=a%2Bb", method="DELETE", body=b"")
    assert error_of(signed_plus._replace(raw_query=b"tagKeys=a+b")).code == "InvalidSignatureException"


def test_a_region_without_the_service_is_rejected_with_a_list_of_regions() -> None:
    strict = SignatureVerifier("ivs", SECRETS, {"us-west-2", "eu-west-1"})
    assert strict.verify(signed(), now()).region == "us-west-2"
    elsewhere = signed(region="mars-north-9")
    with pytest.raises(IvsError, match=r"ivs is in eu-west-1, us-west-2 .*--any-region") as raised:
        strict.verify(elsewhere, now())
    assert (raised.value.code, "mars" in raised.value.message) == ("InvalidSignatureException", False)
    assert VERIFIER.verify(elsewhere, now()).region == "mars-north-9"


def now() -> float:
    return datetime.now(UTC).timestamp()


def error_of(request: SignedRequest, *, at: float | None = None) -> IvsError:
    with pytest.raises(IvsError) as raised:
        VERIFIER.verify(request, now() if at is None else at)
    return raised.value


def test_account_and_region_come_from_access_key_and_scope() -> None:
    assert VERIFIER.verify(signed(), now()) == AccountRegion("111122223333", "us-west-2")
    other = signed(access_key="other", secret="other", region="eu-west-1")
    assert VERIFIER.verify(other, now()) == AccountRegion("444455556666", "eu-west-1")


@pytest.mark.parametrize(
    "url",
    [
        "http://h/tags/arn%3Aaws%3Aivs%3Aus-west-2%3A111122223333%3Achannel%2Fabc",
        "http://h/ivs/tags/arn%3Aaws%3Aivs%3Aus-west-2%3A111122223333%3Achannel%2Fabc",
        "http://h/ivs/tags/arn:aws:ivs:us-west-2:111122223333:channel/abc",
        "http://h:8080/tags/x?tagKeys=a%2Bb%20c&tagKeys=%C3%BC&tagKeys=a%2Fb&tagKeys=",
        "http://h//a/./b/../c/",
        "http://h/",
        "https://[::1]:8443/a~b_c-d.e?z=1&a=2&a=1",
    ],
)
def test_paths_and_queries_are_verified_as_sent(url: str) -> None:
    assert VERIFIER.verify(signed(url, method="DELETE", body=b""), now()).account == "111122223333"


@pytest.mark.slow
@EXAMPLES
@given(
    st.lists(st.text("abc /%:+~üé日?#&=", max_size=6), max_size=4),
    st.lists(st.tuples(st.text("ab =&+/%ü~", min_size=1, max_size=5), st.text("ab =&+/%ü~", max_size=5)), max_size=4),
    st.binary(max_size=40),
)
def test_every_request_signed_by_botocore_is_accepted(
    path: list[str], query: list[tuple[str, str]], body: bytes
) -> None:
    url = "http://h/" + "/".join(quote(piece, safe="~") for piece in path)
    if query:
        url += "?" + "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in query)
    assert VERIFIER.verify(signed(url, body=body), now()).region == "us-west-2"


def test_a_session_token_is_accepted_and_ignored() -> None:
    assert VERIFIER.verify(signed(token="session"), now()).account == "111122223333"


def test_a_signed_body_hash_must_match_the_body() -> None:
    fine = signed(headers={"X-Amz-Content-SHA256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"})
    assert VERIFIER.verify(fine, now())
    unsigned = signed(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    assert error_of(unsigned).code == "InvalidSignatureException"


@pytest.mark.parametrize(
    "change",
    [
        {"method": "GET"},
        {"raw_path": b"/GetChannels"},
        {"raw_path": b"/ivs/GetChannel"},
        {"raw_query": b"a=1"},
        {"body": b"{ }"},
    ],
    ids=str,
)
def test_a_request_modified_after_signing_is_rejected(change: dict[str, Any]) -> None:
    error = error_of(signed()._replace(**change))
    assert error.code == "InvalidSignatureException"
    assert "does not match" in error.message


def test_a_wrong_secret_is_rejected_without_revealing_anything() -> None:
    error = error_of(signed(secret="a guess"))
    assert error.code == "InvalidSignatureException"
    for secret in ("the/secret+key", "a guess", "AKIDTEST"):
        assert secret not in error.message


def test_repr_does_not_contain_the_secret() -> None:
    assert "the/secret+key" not in repr(SECRETS)


def changed_header(name: str, value: str | None) -> SignedRequest:
    request = signed()
    others = [(n, v) for n, v in request.headers if n != name]
    return request._replace(headers=others if value is None else [*others, (name, value)])


def authorization(find: str, replacement: str) -> SignedRequest:
    old = dict(signed().headers)["authorization"]
    assert find in old
    return changed_header("authorization", old.replace(find, replacement))


def test_a_request_without_signature_has_no_authentication_token() -> None:
    assert error_of(changed_header("authorization", None)).code == "MissingAuthenticationTokenException"


def test_an_unknown_access_key_is_unrecognized() -> None:
    assert error_of(signed(access_key="nobody")).code == "UnrecognizedClientException"


def test_the_credential_scope_must_name_the_service() -> None:
    error = error_of(signed(service="ivschat"))
    assert error.code == "InvalidSignatureException"
    assert "scoped to correct service: 'ivs'" in error.message


@pytest.mark.parametrize("form", ["Bearer x", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a, Signature=b", ""])
def test_another_form_of_authorization_is_an_incomplete_signature(form: str) -> None:
    assert error_of(changed_header("authorization", form)).code == "IncompleteSignature"


@pytest.mark.parametrize("date", [None, "", "today", "20260230T000000Z", "2026-01-01T00:00:00Z"])
def test_a_valid_date_header_is_required(date: str | None) -> None:
    assert error_of(changed_header("x-amz-date", date)).code == "IncompleteSignature"


def test_host_and_date_must_be_signed() -> None:
    for left_out in ("host;", ";x-amz-date"):
        assert "host and x-amz-date" in error_of(authorization(left_out, "")).message


def test_every_signed_header_must_be_sent() -> None:
    assert error_of(authorization("host;", "host;missing;")).code == "InvalidSignatureException"


@pytest.mark.parametrize(("after", "word"), [(310, "expired"), (-310, "not yet current")])
def test_a_signature_is_valid_for_five_minutes(after: float, word: str) -> None:
    request = signed()
    assert VERIFIER.verify(request, now() + (290 if after > 0 else -290))
    error = error_of(request, at=now() + after)
    assert error.code == "InvalidSignatureException"
    assert word in error.message


def test_the_scope_and_the_date_header_must_agree() -> None:
    day = datetime.now(UTC).strftime("%Y%m%d")
    assert "does not match the x-amz-date" in error_of(authorization(f"/{day}/", "/20200101/")).message


def test_a_presigned_request_is_rejected_by_name() -> None:
    request = AWSRequest("GET", "http://h/tags/x")
    SigV4QueryAuth(BotoCredentials("AKIDTEST", "the/secret+key"), "ivs", "us-west-2").add_auth(request)
    parts = urlsplit(request.url)
    error = error_of(SignedRequest("GET", parts.path.encode(), parts.query.encode(), [("host", "h")], b""))
    assert error.code == "IncompleteSignature"
    assert "Presigned" in error.message


def test_an_encoded_path_is_encoded_once_more() -> None:
    assert canonical_path(b"/ivs/tags/arn%3Aaws") == "/ivs/tags/arn%253Aaws"


def test_access_keys_are_parsed_from_the_command_line_form() -> None:
    assert parse_access_key("id:se:cret:000000000001") == ("id", AccessKeySecret("se:cret", "000000000001"))
    for text in ("", "id:secret", "id:secret:12", "i/d:secret:000000000001", ":x:000000000001"):
        with pytest.raises(ValueError, match="ID:SECRET:ACCOUNT"):
            parse_access_key(text)
