"""ViewerIdResolver: one viewer, whichever version of the subject key named it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.support.keks import OLD, CIPHER, FakeKms, passphrase
from tokensvc.errors import SubjectKeyLost
from tokensvc.storage import schema
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store
from tokensvc.tokens.viewer_ids import SUBJECT_KEY_PURPOSE, ViewerIdResolver, create_subject_key, viewer_id
from tokensvc.vault.cipher import SecretCipher

FIRST, SECOND = b"1" * 32, b"2" * 32


def keep(store: Store, *keys: bytes) -> None:
    for version, key in enumerate(keys, 1):
        store.deployment.add_subject_key(version, CIPHER.encrypt_secret(SUBJECT_KEY_PURPOSE, key))


def test_a_subject_is_every_viewer_that_a_kept_version_made_of_it_the_newest_first(store: Store) -> None:
    keep(store, FIRST, SECOND)
    viewer_ids = ViewerIdResolver(store.deployment, lambda: CIPHER).for_namespace("apps")
    assert viewer_ids(None, "ada") == (viewer_id(SECOND, "apps", "ada"), viewer_id(FIRST, "apps", "ada"))


def test_who_is_named_by_viewer_id_is_that_viewer_and_no_key_is_read(store: Store) -> None:
    viewer_ids = ViewerIdResolver(store.deployment, lambda: CIPHER).for_namespace("apps")
    assert (viewer_ids("ada", None), viewer_ids(None, None)) == (("ada",), ())
    assert store.deployment.subject_keys() == []


def test_a_version_that_comes_later_is_seen_and_each_is_opened_once(store: Store) -> None:
    keys = FakeKms()
    cipher = SecretCipher(keys, passphrase(OLD))
    subjects = ViewerIdResolver(store.deployment, lambda: cipher)
    [first] = subjects.for_namespace("apps")(None, "ada")
    store.deployment.add_subject_key(2, cipher.encrypt_secret(SUBJECT_KEY_PURPOSE, SECOND))
    later = subjects.for_namespace("apps")
    assert later(None, "ada") == (viewer_id(SECOND, "apps", "ada"), first)
    later(None, "eve")
    assert keys.opened == 2


def test_new_tokens_are_issued_with_the_newest_version_and_share_what_was_opened(store: Store) -> None:
    keys = FakeKms()
    cipher = SecretCipher(keys, passphrase(OLD))
    subjects = ViewerIdResolver(store.deployment, lambda: cipher)
    for version, key in enumerate((FIRST, SECOND), 1):
        store.deployment.add_subject_key(version, cipher.encrypt_secret(SUBJECT_KEY_PURPOSE, key))
    assert subjects.newest_key() == SECOND
    assert keys.opened == 1, "an older version is not needed for new tokens"
    assert subjects.keys() == [SECOND, FIRST]
    assert (subjects.newest_key(), keys.opened) == (SECOND, 2)


def test_a_new_store_gets_its_subject_key_from_whoever_needs_it_first(store: Store) -> None:
    [named] = ViewerIdResolver(store.deployment, lambda: CIPHER).for_namespace("apps")(None, "ada")
    [kept] = store.deployment.subject_keys()
    assert named == viewer_id(CIPHER.decrypt_secret(SUBJECT_KEY_PURPOSE, kept.wrapped), "apps", "ada")


def test_the_loser_of_the_race_takes_the_winners_subject_key(store: Store) -> None:
    """Two who both saw none: the second to write must use what the first one wrote."""
    keep(store, FIRST)
    made = create_subject_key(store.deployment, CIPHER)
    assert CIPHER.decrypt_secret(SUBJECT_KEY_PURPOSE, made.wrapped) == FIRST


def lose(store: Store) -> None:
    with write_transaction(store.engine) as connection:
        connection.execute(sa.delete(schema.subject_keys))


def test_a_subject_key_that_was_lost_is_never_replaced(store: Store) -> None:
    """Another would give every subject another viewer id, and viewers that are denied by subject would be let in."""
    [before] = ViewerIdResolver(store.deployment, lambda: CIPHER).for_namespace("apps")(None, "ada")
    [kept] = store.deployment.subject_keys()
    lose(store)
    again = ViewerIdResolver(store.deployment, lambda: CIPHER).for_namespace("apps")
    with pytest.raises(SubjectKeyLost, match="back from a backup"):
        again(None, "ada")
    with pytest.raises(SubjectKeyLost):
        create_subject_key(store.deployment, CIPHER)
    assert again("ada", None) == ("ada",), "who is named by viewer id needs none"
    with write_transaction(store.engine) as connection:
        connection.execute(sa.insert(schema.subject_keys).values(kept._asdict()))
    assert again(None, "ada") == (before,)


def test_an_older_version_that_was_lost_is_missed_too(store: Store) -> None:
    """Tokens of yesterday carry its ids, and a revocation by subject would pass them over."""
    keep(store, FIRST, SECOND)
    with write_transaction(store.engine) as connection:
        connection.execute(sa.delete(schema.subject_keys).where(schema.subject_keys.c.version == 1))
    with pytest.raises(SubjectKeyLost, match="version 1"):
        store.deployment.subject_keys()


def test_a_subject_key_whose_row_cannot_be_read_is_lost(store: Store) -> None:
    keep(store, FIRST)
    with write_transaction(store.engine) as connection:
        connection.execute(sa.text("UPDATE subject_keys SET created_at = 'junk'"))
    with pytest.raises(SubjectKeyLost, match="created_at is not a timestamp"):
        store.deployment.subject_keys()
