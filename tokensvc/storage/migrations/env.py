"""What alembic runs for each command: the migrations, on the connection and in the transaction that it was given."""

from __future__ import annotations

from alembic import context

from tokensvc.storage import revocation_tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=revocation_tables.denials.metadata,  # every table: that file brings those of tables.py along
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
