"""An AWS KMS key as the wrapping key: envelope encryption with one data key per secret.

Invariants
- The KMS key never leaves KMS. A data key is generated once per secret, and stored encrypted beside it.
- Every call passes the deployment's id as encryption context: KMS does not decrypt a data key for another deployment,
  and CloudTrail shows which deployment it belongs to.
- One attempt per call, with the same timeouts as for IVS. The region is taken from the ARN; credentials and endpoint
  are boto3's own (AWS_ENDPOINT_URL_KMS).
- Exceptions of boto3 are converted to VaultErrors. No message contains key material.
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
_ACTIONS = {"generate_data_key": "generate a data key", "decrypt": "decrypt a data key"}
FOREIGN_CIPHERTEXT_CODES = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
"""KMS's error codes for a data key that is damaged, or belongs to another KMS key or another deployment."""


class KmsKey:
    """One symmetric KMS key, for one deployment."""

    check_value: bytes | None = None
    """Not needed: KMS itself rejects data keys that it did not encrypt."""

    def __init__(self, arn: str, deployment_id: str) -> None:
        self.name = f"kms:{arn}"
        self._arn = arn
        self._context = {CONTEXT_KEY: deployment_id}
        self._cached_client: Any = None
        self._lock = threading.Lock()

    def generate_data_key(self) -> tuple[DerivedKeys, bytes]:
        """The keys for one new secret, derived from a new data key, and that data key encrypted by KMS."""
        response = self._call("generate_data_key", KeySpec="AES_256")
        return self._derived_keys(response), bytes(response["CiphertextBlob"])

    def decrypt_data_key(self, data_key: bytes) -> DerivedKeys:
        """The keys of a secret, derived from its encrypted data key."""
        return self._derived_keys(self._call("decrypt", CiphertextBlob=data_key))

    def _derived_keys(self, response: dict[str, Any]) -> DerivedKeys:
        data_key = bytes(response["Plaintext"])
        if len(data_key) != DATA_KEY_BYTES:
            raise InvalidKey(f"the data key that {self.name} returned does not have {DATA_KEY_BYTES} bytes")
        return DerivedKeys.of_data_key(data_key)

    def _call(self, operation: str, **request: Any) -> dict[str, Any]:
        try:
            response: dict[str, Any] = getattr(self._client(), operation)(
                KeyId=self._arn, EncryptionContext=self._context, **request
            )
        except boto.ClientError as client_error:
            error = client_error.response.get("Error", {})
            code = str(error.get("Code", ""))
            if code in FOREIGN_CIPHERTEXT_CODES:
                raise InvalidKey(
                    f"it is damaged, or belongs to another deployment: {self.name} cannot decrypt its data key"
                ) from None
            message = str(error.get("Message") or "no message").partition("\n")[0]  # a proxy may return a whole page
            raise WrappingKeyUnavailable(
                f"AWS KMS refused to {_ACTIONS[operation]} with {self._arn}: {code}, {message}"
            ) from None
        except boto.BotoCoreError as transport_error:
            raise WrappingKeyUnavailable(
                f"AWS KMS could not be called to {_ACTIONS[operation]}: {transport_error}"
            ) from None
        if not {"Plaintext", "KeyId"} <= response.keys():
            raise WrappingKeyUnavailable(
                f"the response to a call to {_ACTIONS[operation]} is not from AWS KMS, or is incomplete"
            )
        return response

    def _client(self) -> Any:
        """boto3 clients may be shared by threads, but two threads must not create clients at the same time."""
        with self._lock:
            self._cached_client = self._cached_client or make_client("kms", self._arn.split(":")[3])
            return self._cached_client
