"""ViewerIdResolver: a subject's viewer ids under every version of the subject key."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.support.keks import CIPHER, OLD, FakeKms, passphrase
from tokensvc.errors import SubjectKeyLost
from tokensvc.storage import schema
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store
from tokensvc.tokens.viewer_id_resolver import ViewerIdResolver, create_subject_key
from tokensvc.tokens.viewer_ids import SUBJECT_KEY_PURPOSE, viewer_id
from tokensvc.vault.cipher import SecretCipher

FIRST, SECOND = b"1" * 32, b"2" * 32


def add_key(store: Store, *keys: bytes) -> None:
    for version, key in enumerate(keys, 1):
        store.deployment.add_subject_key(version, CIPHER.encrypt_secret(SUBJECT_KEY_PURPOSE, key))


def test_a_subject_resolves_to_one_viewer_id_per_key_version_newest_first(store: Store) -> None:
    add_key(store, FIRST, SECOND)
    viewer_ids = ViewerIdResolver(store.deployment, lambda: CIPHER).for_namespace("apps")
    assert viewer_ids(None, "ada") == (viewer_id(SECOND, "apps", "ada"), viewer_id(FIRST, "apps", "ada"))


def test_a_viewer_id_resolves_to_itself_without_reading_keys(store: Store) -> None:
    viewer_ids = ViewerIdResolver(store.deployment, lambda: CIPHER).for_namespace("apps")
    assert (viewer_ids("ada", None), viewer_ids(None, None)) == (("ada",), ())
    assert store.deployment.subject_keys() == []


def test_a_later_version_is_found_and_each_is_decrypted_once(store: Store) -> None:
    keys = FakeKms()
    cipher = SecretCipher(keys, passphrase(OLD))
    subjects = ViewerIdResolver(store.deployment, lambda: cipher)
    [first] = subjects.for_namespace("apps")(None, "ada")
    store.deployment.add_subject_key(2, cipher.encrypt_secret(SUBJECT_KEY_PURPOSE, SECOND))
    later = subjects.for_namespace("apps")
    assert later(None, "ada") == (viewer_id(SECOND, "apps", "ada"), first)
    later(None, "eve")
    assert keys.decryptions == 2


def test_new_tokens_use_the_newest_version_and_share_the_decrypted_keys(store: Store) -> None:
    keys = FakeKms()
    cipher = SecretCipher(keys, passphrase(OLD))
    subjects = ViewerIdResolver(store.deployment, lambda: cipher)
    for version, key in enumerate((FIRST, SECOND), 1):
        store.deployment.add_subject_key(version, cipher.encrypt_secret(SUBJECT_KEY_PURPOSE, key))
    assert subjects.newest_key() == SECOND
    assert keys.decryptions == 1, "an older version is not needed for new tokens"
    assert subjects.keys() == [SECOND, FIRST]
    assert (subjects.newest_key(), keys.decryptions) == (SECOND, 2)


def test_the_first_worker_that_needs_a_subject_key_creates_it(store: Store) -> None:
    [named] = ViewerIdResolver(store.deployment, lambda: CIPHER).for_namespace("apps")(None, "ada")
    [stored] = store.deployment.subject_keys()
    assert named == viewer_id(CIPHER.decrypt_secret(SUBJECT_KEY_PURPOSE, stored.wrapped), "apps", "ada")


def test_the_loser_of_the_race_uses_the_winners_subject_key(store: Store) -> None:
    """Both workers found no key: the second to write must use the key that the first one wrote."""
    add_key(store, FIRST)
    made = create_subject_key(store.deployment, CIPHER)
    assert CIPHER.decrypt_secret(SUBJECT_KEY_PURPOSE, made.wrapped) == FIRST


def delete_subject_key(store: Store) -> None:
    with write_transaction(store.engine) as connection:
        connection.execute(sa.delete(schema.subject_keys))


def test_a_subject_key_that_was_lost_is_never_replaced(store: Store) -> None:
    """Another key would give every subject another viewer id, and viewers that are denied by subject would get
    tokens."""
    [before] = ViewerIdResolver(store.deployment, lambda: CIPHER).for_namespace("apps")(None, "ada")
    [stored] = store.deployment.subject_keys()
    delete_subject_key(store)
    again = ViewerIdResolver(store.deployment, lambda: CIPHER).for_namespace("apps")
    with pytest.raises(SubjectKeyLost, match="from a backup"):
        again(None, "ada")
    with pytest.raises(SubjectKeyLost):
        create_subject_key(store.deployment, CIPHER)
    assert again("ada", None) == ("ada",), "a viewer id needs no key"
    with write_transaction(store.engine) as connection:
        connection.execute(sa.insert(schema.subject_keys).values(stored._asdict()))
    assert again(None, "ada") == (before,)


def test_a_lost_older_version_is_noticed_too(store: Store) -> None:
    """Tokens issued yesterday carry its viewer ids, and a revocation by subject would miss them."""
    add_key(store, FIRST, SECOND)
    with write_transaction(store.engine) as connection:
        connection.execute(sa.delete(schema.subject_keys).where(schema.subject_keys.c.version == 1))
    with pytest.raises(SubjectKeyLost, match="version 1"):
        store.deployment.subject_keys()


def test_a_subject_key_whose_row_cannot_be_read_is_lost(store: Store) -> None:
    add_key(store, FIRST)
    with write_transaction(store.engine) as connection:
        connection.execute(sa.text("UPDATE subject_keys SET created_at = 'junk'"))
    with pytest.raises(SubjectKeyLost, match="created_at is not a timestamp"):
        store.deployment.subject_keys()
