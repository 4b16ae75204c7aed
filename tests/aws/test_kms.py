"""A key of AWS KMS wraps: moto's KMS over the wire, boto3 unmodified, and every way in which it may fail."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator

import pytest

from tests.aws.wire import Told, closed_port, hanging, told
from tests.support.moto_kms import MotoKms, moto_kms
from tokensvc.aws.kms import CONTEXT_KEY, KmsKey
from tokensvc.errors import InvalidKey, SettingsError, VaultError, WrappingKeyUnavailable
from tokensvc.jose.keypair import PrivateKey
from tokensvc.vault import envelope
from tokensvc.vault.cipher import SecretCipher

ARN = "arn:aws:kms:eu-west-1:123456789012:key/0987dcba-09fe-87dc-65ba-ab0987654321"
SECRET = b"a subject key of thirty-two byte"


@pytest.fixture(scope="module")
def server() -> Iterator[MotoKms]:
    with moto_kms() as running:
        yield running


@pytest.fixture
def kms(server: MotoKms) -> MotoKms:
    """The server, and the environment in which boto3 finds it."""
    os.environ.update(server.environ)
    return server


def test_what_it_wraps_it_opens_again_also_in_another_process(kms: MotoKms, private_key: PrivateKey) -> None:
    arn = kms.new_key()
    cipher, later = SecretCipher(KmsKey(arn, "deployment")), SecretCipher(KmsKey(arn, "deployment"))
    assert cipher.current == f"kms:{arn}"
    assert later.decrypt_key(cipher.encrypt_key(private_key)).private_numbers() == private_key.private_numbers()
    assert later.decrypt_secret("subject key", cipher.encrypt_secret("subject key", SECRET)) == SECRET


def test_each_secret_has_a_data_key_of_its_own_that_lies_beside_it_encrypted(kms: MotoKms) -> None:
    arn = kms.new_key()
    cipher = SecretCipher(KmsKey(arn, "deployment"))
    first, second = (envelope.read(cipher.encrypt_secret("subject key", SECRET)) for _ in range(2))
    assert first.data_key != second.data_key
    answer = kms.client().decrypt(CiphertextBlob=first.data_key, KeyId=arn, EncryptionContext={CONTEXT_KEY: "deployment"})
    assert len(answer["Plaintext"]) == 32
    assert answer["Plaintext"] not in envelope.write(first)
    assert answer["Plaintext"].hex().encode() not in envelope.write(first)


def test_the_region_is_the_keys_own(kms: MotoKms) -> None:
    arn = kms.new_key("eu-central-1")
    os.environ["AWS_REGION"] = "us-east-1"
    cipher = SecretCipher(KmsKey(arn, "deployment"))
    assert cipher.decrypt_secret("p", cipher.encrypt_secret("p", SECRET)) == SECRET


def test_no_other_deployment_and_no_other_key_opens_it(kms: MotoKms) -> None:
    arn = kms.new_key()
    kept = SecretCipher(KmsKey(arn, "deployment")).encrypt_secret("p", SECRET)
    with pytest.raises(InvalidKey, match="of another deployment"):
        SecretCipher(KmsKey(arn, "another")).decrypt_secret("p", kept)
    stranger = SecretCipher(KmsKey(kms.new_key(), "deployment"))
    with pytest.raises(VaultError):
        stranger.decrypt_secret("p", kept.replace(arn.encode(), stranger.current.removeprefix("kms:").encode()))


def test_a_data_key_that_was_altered_is_damaged(kms: MotoKms) -> None:
    cipher = SecretCipher(KmsKey(kms.new_key(), "deployment"))
    found = envelope.read(cipher.encrypt_secret("p", SECRET))
    altered = found._replace(data_key=found.data_key[:-1] + bytes([found.data_key[-1] ^ 1]))
    with pytest.raises(InvalidKey, match="is damaged"):
        cipher.decrypt_secret("p", envelope.write(altered))


def test_a_key_that_does_not_exist_is_said_by_its_arn(kms: MotoKms) -> None:
    gone = kms.new_key()[:-4] + "0000"
    with pytest.raises(WrappingKeyUnavailable, match=rf"refused to generate data key under {gone}: NotFoundException"):
        SecretCipher(KmsKey(gone, "deployment")).encrypt_secret("p", SECRET)


def test_threads_share_one_client(kms: MotoKms) -> None:
    key, ready, opened = KmsKey(kms.new_key(), "deployment"), threading.Barrier(6, timeout=5), []

    def act() -> None:
        cipher = SecretCipher(key)
        ready.wait()
        opened.append(cipher.decrypt_secret("p", cipher.encrypt_secret("p", SECRET)))

    threads = [threading.Thread(target=act) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [SECRET] * 6


def test_a_service_that_is_away_is_said_in_words() -> None:
    os.environ.update(MotoKms(f"http://127.0.0.1:{closed_port()}").environ)
    with pytest.raises(
        WrappingKeyUnavailable, match="AWS KMS could not be asked to generate data key: Could not connect"
    ):
        KmsKey(ARN, "deployment").generate_data_key()


def test_a_service_that_says_nothing_is_given_up() -> None:
    with hanging() as port:
        os.environ.update(MotoKms(f"http://127.0.0.1:{port}").environ)
        key = KmsKey(ARN, "deployment")
        config = key._client().meta.config
        key._client()._endpoint.http_session._manager.connection_pool_kw["timeout"] = 0.05
        with pytest.raises(WrappingKeyUnavailable, match="Read timeout"):
            key.generate_data_key()
    assert (config.connect_timeout, config.read_timeout) == (2, 5)
    assert config.retries["total_max_attempts"] == 1


@pytest.fixture
def answering() -> Iterator[Told]:
    """A server that answers as it is told, where KMS should be."""
    with told() as (what, _):
        os.environ["AWS_ENDPOINT_URL_KMS"] = os.environ["AWS_ENDPOINT_URL_IVS"]
        yield what


@pytest.mark.parametrize(
    "code", ["AccessDeniedException", "DisabledException", "ThrottlingException", "KMSInternalException"]
)
def test_what_it_refuses_is_told_with_its_code_after_one_attempt(answering: Told, code: str) -> None:
    answering.status, answering.body = 400, json.dumps({"__type": code, "message": "words of KMS"}).encode()
    with pytest.raises(WrappingKeyUnavailable, match=f"{code}, words of KMS"):
        KmsKey(ARN, "deployment").decrypt_data_key(b"data key")
    assert len(answering.paths) == 1


@pytest.mark.parametrize("code", ["InvalidCiphertextException", "IncorrectKeyException"])
def test_a_data_key_that_is_not_its_own_is_damaged(answering: Told, code: str) -> None:
    answering.status, answering.body = 400, json.dumps({"__type": code}).encode()
    with pytest.raises(InvalidKey, match="does not open its data key"):
        KmsKey(ARN, "deployment").decrypt_data_key(b"data key")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"{}"),
        (200, b"<html>sign in</html>"),
        (502, b"<html>\nbad gateway</html>"),
        (200, b'{"Plaintext":"AAAA"}'),
    ],
    ids=["nothing", "a page", "a proxy's page", "half an answer"],
)
def test_what_is_no_answer_of_kms_is_never_taken_for_one(answering: Told, status: int, body: bytes) -> None:
    answering.status, answering.body = status, body
    with pytest.raises(WrappingKeyUnavailable) as refused:
        KmsKey(ARN, "deployment").generate_data_key()
    assert "\n" not in refused.value.message


def test_a_data_key_of_another_length_wraps_nothing(answering: Told) -> None:
    answering.body = json.dumps({"KeyId": ARN, "Plaintext": "AAAA", "CiphertextBlob": "AAAA"}).encode()
    with pytest.raises(InvalidKey, match="no data key of ours"):
        KmsKey(ARN, "deployment").generate_data_key()


def test_a_profile_that_does_not_exist_is_a_fault_of_the_settings() -> None:
    os.environ["AWS_PROFILE"] = "nobody"
    with pytest.raises(SettingsError, match="nobody"):
        KmsKey(ARN, "deployment").generate_data_key()


def test_nothing_secret_shows(kms: MotoKms) -> None:
    key = KmsKey(kms.new_key(), "deployment")
    wrapping, _ = key.generate_data_key()
    assert wrapping.pkcs8_password.decode() not in repr(key) + repr(vars(key))
