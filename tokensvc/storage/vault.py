"""`Vault` in the store: encrypted PKCS#8 text, available to every machine of the deployment."""

from __future__ import annotations

import sqlalchemy as sa

from tokensvc.errors import PrivateKeyMissing, VaultError
from tokensvc.jose.keypair import PrivateKey
from tokensvc.storage.dialect import insert
from tokensvc.storage.engine import read_transaction, write_transaction
from tokensvc.storage.schema import private_keys
from tokensvc.vault.cipher import SecretCipher
from tokensvc.vault.store import require_key_id


class SqlVault:
    """See `tokensvc.vault.store`."""

    def __init__(self, engine: sa.Engine, cipher: SecretCipher) -> None:
        self._engine = engine
        self._cipher = cipher

    def put(self, key_id: str, private_key: PrivateKey) -> None:
        require_key_id(key_id)
        envelope = self._cipher.encrypt_key(private_key)
        with write_transaction(self._engine) as connection:
            added = (
                insert(connection, private_keys)
                .values(key_id=key_id, wrapped=envelope.decode("ascii"))
                .on_conflict_do_nothing()
                .returning(private_keys.c.key_id)
            )
            if connection.execute(added).first() is None:
                raise VaultError(f"the store already has a private key {key_id}; it was not overwritten")

    def load(self, key_id: str) -> PrivateKey:
        return self._cipher.decrypt_key(self.read_envelope(key_id))

    def remove(self, key_id: str) -> None:
        require_key_id(key_id)
        with write_transaction(self._engine) as connection:
            connection.execute(sa.delete(private_keys).where(private_keys.c.key_id == key_id))

    def key_ids(self) -> frozenset[str]:
        with read_transaction(self._engine) as connection:
            return frozenset(connection.execute(sa.select(private_keys.c.key_id)).scalars())

    def read_envelope(self, key_id: str) -> bytes:
        require_key_id(key_id)
        query = sa.select(private_keys.c.wrapped).where(private_keys.c.key_id == key_id)
        with read_transaction(self._engine) as connection:
            text: str | None = connection.execute(query).scalar()
        if text is None:
            raise PrivateKeyMissing(f"the store has no private key {key_id}", subject={"key_id": key_id})
        return text.encode()

    def replace(self, key_id: str, expected: bytes, envelope: bytes) -> bool:
        require_key_id(key_id)
        update = (
            sa.update(private_keys)
            .where(private_keys.c.key_id == key_id, private_keys.c.wrapped == expected.decode())
            .values(wrapped=envelope.decode("ascii"))
            .returning(private_keys.c.key_id)
        )
        with write_transaction(self._engine) as connection:
            return connection.execute(update).first() is not None
