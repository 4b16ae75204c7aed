"""The vault in the store, and a check value for each wrapping key instead of one for the passphrase."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both tables; what proved the passphrase right goes on proving it, under the name that it has now."""
    op.create_table(
        "private_keys",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("wrapped", sa.Text, nullable=False),
    )
    wrapping_keys = op.create_table(
        "wrapping_keys",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("check_value", sa.LargeBinary),
    )
    deployment = sa.table("deployment", sa.column("passphrase_check", sa.LargeBinary))
    for check in op.get_bind().execute(sa.select(deployment.c.passphrase_check)).scalars():
        if check is not None:
            op.bulk_insert(wrapping_keys, [{"name": f"passphrase:{check[:4].hex()}", "check_value": check}])
    op.drop_column("deployment", "passphrase_check")
