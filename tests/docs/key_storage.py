"""What a page about the storage of private keys finds beside its deployment: AWS KMS, and a deployment on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.docs.environments import EXAMPLE_ACCOUNT, PageEnvironment, new_passphrase, write_settings
from tests.support.moto_kms import moto_kms
from tests.support.processes import TOKENSVC, run

KEY_STORAGE = frozenset({"docs/how-to/change-the-passphrase.md"})
EXAMPLE_KMS_KEY = f"arn:aws:kms:us-east-1:{EXAMPLE_ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@contextmanager
def with_key_storage(found: PageEnvironment) -> Iterator[PageEnvironment]:
    """moto's KMS in AWS's place, with a key for the page's example; and the store in SQLite has a key, in `keys` beside
    it, and settings of its own in /etc/tokensvc/sqlite.environment."""
    etc, home = found.folder / "etc/tokensvc", found.folder / "var/lib/tokensvc"
    sqlite = {
        "TOKENSVC_CONTROL_PLANE": "local",
        "TOKENSVC_DATABASE_URL": f"sqlite:///{home / 'store.db'}",
        "TOKENSVC_PASSPHRASE_FILE": str(new_passphrase(etc / "sqlite.passphrase")),
        "TOKENSVC_VAULT": f"file:{home / 'keys'}",
    }
    write_settings(etc / "sqlite.environment", sqlite)
    run([TOKENSVC, "keys", "generate"], home, {**found.variables, **sqlite})
    with moto_kms() as kms:
        example = EXAMPLE_KMS_KEY.replace(EXAMPLE_ACCOUNT, found.substitutions[EXAMPLE_ACCOUNT])
        yield found._replace(
            variables={**found.variables, "AWS_ENDPOINT_URL_KMS": kms.environ["AWS_ENDPOINT_URL_KMS"]},
            substitutions={**found.substitutions, example: kms.new_key()},
        )
