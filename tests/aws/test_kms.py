"""KmsKey against moto's KMS over HTTP with unmodified boto3, and every way in which a call may fail."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator

import pytest

from tests.aws.stub_server import Stub, closed_port, silent_server, stub_server
from tests.support.moto_kms import MotoKms, moto_kms
from tokensvc.aws.kms import CONTEXT_KEY, KmsKey
from tokensvc.errors import InvalidKey, SettingsError, VaultError, WrappingKeyUnavailable
from tokensvc.jose.keypair import PrivateKey
from tokensvc.vault import envelope
from tokensvc.vault.cipher import SecretCipher

pytestmark = pytest.mark.slow

ARN = "arn:aws:kms:eu-west-1:123456789012:key/0987dcba-09fe-87dc-65ba-ab0987654321"
SECRET = b"a subject key of thirty-two byte"


@pytest.fixture(scope="module")
def server() -> Iterator[MotoKms]:
    with moto_kms() as running:
        yield running


@pytest.fixture
def kms(server: MotoKms) -> MotoKms:
    """The server, with the environment in which boto3 finds it."""
    os.environ.update(server.environ)
    return server


def test_encrypted_secrets_can_be_decrypted_by_another_process(kms: MotoKms, private_key: PrivateKey) -> None:
    arn = kms.new_key()
    cipher, later = SecretCipher(KmsKey(arn, "deployment")), SecretCipher(KmsKey(arn, "deployment"))
    assert cipher.current == f"kms:{arn}"
    assert later.decrypt_key(cipher.encrypt_key(private_key)).private_numbers() == private_key.private_numbers()
    assert later.decrypt_secret("subject key", cipher.encrypt_secret("subject key", SECRET)) == SECRET


def test_each_secret_is_stored_with_an_encrypted_data_key_of_its_own(kms: MotoKms) -> None:
    arn = kms.new_key()
    cipher = SecretCipher(KmsKey(arn, "deployment"))
    first, second = (envelope.read(cipher.encrypt_secret("subject key", SECRET)) for _ in range(2))
    assert first.data_key != second.data_key
    response = kms.client().decrypt(
        CiphertextBlob=first.data_key, KeyId=arn, EncryptionContext={CONTEXT_KEY: "deployment"}
    )
    assert len(response["Plaintext"]) == 32
    assert response["Plaintext"] not in envelope.write(first)
    assert response["Plaintext"].hex().encode() not in envelope.write(first)


def test_the_region_is_taken_from_the_arn(kms: MotoKms) -> None:
    arn = kms.new_key("eu-central-1")
    os.environ["AWS_REGION"] = "us-east-1"
    cipher = SecretCipher(KmsKey(arn, "deployment"))
    assert cipher.decrypt_secret("p", cipher.encrypt_secret("p", SECRET)) == SECRET


def test_another_deployment_or_another_key_cannot_decrypt_a_secret(kms: MotoKms) -> None:
    arn = kms.new_key()
    encrypted = SecretCipher(KmsKey(arn, "deployment")).encrypt_secret("p", SECRET)
    with pytest.raises(InvalidKey, match="belongs to another deployment"):
        SecretCipher(KmsKey(arn, "another")).decrypt_secret("p", encrypted)
    other = SecretCipher(KmsKey(kms.new_key(), "deployment"))
    with pytest.raises(VaultError):
        other.decrypt_secret("p", encrypted.replace(arn.encode(), other.current.removeprefix("kms:").encode()))


def test_an_altered_data_key_is_damaged(kms: MotoKms) -> None:
    cipher = SecretCipher(KmsKey(kms.new_key(), "deployment"))
    found = envelope.read(cipher.encrypt_secret("p", SECRET))
    altered = found._replace(data_key=found.data_key[:-1] + bytes([found.data_key[-1] ^ 1]))
    with pytest.raises(InvalidKey, match="is damaged"):
        cipher.decrypt_secret("p", envelope.write(altered))


def test_the_error_about_a_missing_key_names_its_arn(kms: MotoKms) -> None:
    missing = kms.new_key()[:-4] + "0000"
    with pytest.raises(
        WrappingKeyUnavailable, match=rf"refused to generate a data key with {missing}: NotFoundException"
    ):
        SecretCipher(KmsKey(missing, "deployment")).encrypt_secret("p", SECRET)


def test_threads_share_one_client(kms: MotoKms) -> None:
    key, ready, decrypted = KmsKey(kms.new_key(), "deployment"), threading.Barrier(6, timeout=5), []

    def use_key() -> None:
        cipher = SecretCipher(key)
        ready.wait()
        decrypted.append(cipher.decrypt_secret("p", cipher.encrypt_secret("p", SECRET)))

    threads = [threading.Thread(target=use_key) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert decrypted == [SECRET] * 6


def test_a_refused_connection_is_reported() -> None:
    os.environ.update(MotoKms(f"http://127.0.0.1:{closed_port()}").environ)
    with pytest.raises(
        WrappingKeyUnavailable, match="AWS KMS could not be called to generate a data key: Could not connect"
    ):
        KmsKey(ARN, "deployment").generate_data_key()


def test_a_call_without_a_response_times_out() -> None:
    with silent_server() as port:
        os.environ.update(MotoKms(f"http://127.0.0.1:{port}").environ)
        key = KmsKey(ARN, "deployment")
        config = key._client().meta.config
        key._client()._endpoint.http_session._manager.connection_pool_kw["timeout"] = 0.05
        with pytest.raises(WrappingKeyUnavailable, match="Read timeout"):
            key.generate_data_key()
    assert (config.connect_timeout, config.read_timeout) == (2, 5)
    assert config.retries["total_max_attempts"] == 1


@pytest.fixture
def stub() -> Iterator[Stub]:
    """A server with prepared responses in place of KMS."""
    with stub_server() as (stub, _):
        os.environ["AWS_ENDPOINT_URL_KMS"] = os.environ["AWS_ENDPOINT_URL_IVS"]
        yield stub


@pytest.mark.parametrize(
    "code", ["AccessDeniedException", "DisabledException", "ThrottlingException", "KMSInternalException"]
)
def test_an_error_of_kms_is_reported_with_its_code_after_one_attempt(stub: Stub, code: str) -> None:
    stub.status, stub.body = 400, json.dumps({"__type": code, "message": "message of KMS"}).encode()
    with pytest.raises(WrappingKeyUnavailable, match=f"{code}, message of KMS"):
        KmsKey(ARN, "deployment").decrypt_data_key(b"data key")
    assert len(stub.paths) == 1


@pytest.mark.parametrize("code", ["InvalidCiphertextException", "IncorrectKeyException"])
def test_a_data_key_of_another_key_is_reported_as_damaged(stub: Stub, code: str) -> None:
    stub.status, stub.body = 400, json.dumps({"__type": code}).encode()
    with pytest.raises(InvalidKey, match="cannot decrypt its data key"):
        KmsKey(ARN, "deployment").decrypt_data_key(b"data key")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"{}"),
        (200, b"<html>sign in</html>"),
        (502, b"<html>\nbad gateway</html>"),
        (200, b'{"Plaintext":"AAAA"}'),
    ],
    ids=["empty", "a page", "a proxy's page", "incomplete"],
)
def test_a_response_that_is_not_from_kms_is_an_error(stub: Stub, status: int, body: bytes) -> None:
    stub.status, stub.body = status, body
    with pytest.raises(WrappingKeyUnavailable) as raised:
        KmsKey(ARN, "deployment").generate_data_key()
    assert "\n" not in raised.value.message


def test_a_data_key_of_another_length_is_rejected(stub: Stub) -> None:
    stub.body = json.dumps({"KeyId": ARN, "Plaintext": "AAAA", "CiphertextBlob": "AAAA"}).encode()
    with pytest.raises(InvalidKey, match="does not have 32 bytes"):
        KmsKey(ARN, "deployment").generate_data_key()


def test_an_unknown_profile_is_a_settings_error() -> None:
    os.environ["AWS_PROFILE"] = "nobody"
    with pytest.raises(SettingsError, match="nobody"):
        KmsKey(ARN, "deployment").generate_data_key()


def test_a_repr_contains_no_secret(kms: MotoKms) -> None:
    key = KmsKey(kms.new_key(), "deployment")
    derived_keys, _ = key.generate_data_key()
    assert derived_keys.pkcs8_password.decode() not in repr(key) + repr(vars(key))
