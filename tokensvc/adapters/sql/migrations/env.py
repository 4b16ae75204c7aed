"""What alembic runs for each command: the migrations, on the connection and in the transaction that it was given."""

from __future__ import annotations

from alembic import context

from tokensvc.adapters.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
