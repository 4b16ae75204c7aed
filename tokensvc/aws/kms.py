"""A key of AWS KMS as the wrapping key: envelope encryption, a data key for each secret.

Rules of the file
- The KMS key never leaves KMS. A data key is made once per secret, and lies beside it as KMS encrypted it.
- Every call carries the deployment's id as encryption context: KMS opens a data key for no other deployment, and
  CloudTrail shows whose it was.
- One attempt, the same time-outs as for IVS; region from the ARN, credentials and endpoint are boto3's own
  (AWS_ENDPOINT_URL_KMS). What goes wrong becomes one of our failures; no key material is in its words.
"""

from __future__ import annotations

import threading
from typing import Any

from botocore import exceptions as boto

from tokensvc.aws.ivs import make_client
from tokensvc.errors import InvalidKey, WrappingKeyUnavailable
from tokensvc.vault.kek import DerivedKeys

CONTEXT_KEY = "tokensvc:deployment"
DATA_KEY_BYTES = 32
FOREIGN_CIPHERTEXT_CODES = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
"""What KMS answers when a data key is damaged, another KMS key's or another deployment's."""


class KmsKey:
    """One symmetric KMS key, for one deployment."""

    check_value: bytes | None = None
    """KMS itself refuses what it did not wrap."""

    def __init__(self, arn: str, deployment_id: str) -> None:
        self.name = f"kms:{arn}"
        self._arn = arn
        self._context = {CONTEXT_KEY: deployment_id}
        self._made: Any = None
        self._lock = threading.Lock()

    def generate_data_key(self) -> tuple[DerivedKeys, bytes]:
        """The wrapping for one new secret under a new data key, and that data key as KMS encrypted it."""
        answer = self._call("generate_data_key", KeySpec="AES_256")
        return self._wrapping(answer), bytes(answer["CiphertextBlob"])

    def decrypt_data_key(self, data_key: bytes) -> DerivedKeys:
        """The wrapping of a secret, from its data key as KMS encrypted it."""
        return self._wrapping(self._call("decrypt", CiphertextBlob=data_key))

    def _wrapping(self, answer: dict[str, Any]) -> DerivedKeys:
        plain = bytes(answer["Plaintext"])
        if len(plain) != DATA_KEY_BYTES:
            raise InvalidKey(f"what {self.name} opened is no data key of ours")
        return DerivedKeys.of_data_key(plain)

    def _call(self, operation: str, **request: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client(), operation)(
                KeyId=self._arn, EncryptionContext=self._context, **request
            )
        except boto.ClientError as refusal:
            error = refusal.response.get("Error", {})
            code = str(error.get("Code", ""))
            if code in FOREIGN_CIPHERTEXT_CODES:
                raise InvalidKey(
                    f"it is damaged, or of another deployment: {self.name} does not open its data key"
                ) from None
            words = str(error.get("Message") or "no message").partition("\n")[0]  # a proxy may answer a whole page
            raise WrappingKeyUnavailable(
                f"AWS KMS refused to {_spoken(operation)} under {self._arn}: {code}, {words}"
            ) from None
        except boto.BotoCoreError as problem:
            raise WrappingKeyUnavailable(f"AWS KMS could not be asked to {_spoken(operation)}: {problem}") from None
        if not {"Plaintext", "KeyId"} <= answer.keys():
            raise WrappingKeyUnavailable(f"what was asked to {_spoken(operation)} is not AWS KMS, or was cut off")
        return answer

    def _client(self) -> Any:
        """boto3 clients may be shared by threads, but not be made by two at once."""
        with self._lock:
            self._made = self._made or make_client("kms", self._arn.split(":")[3])
            return self._made


def _spoken(operation: str) -> str:
    return operation.replace("_", " ")
