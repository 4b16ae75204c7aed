"""alembic's environment: runs the migrations on the given connection, in its transaction."""

from __future__ import annotations

from alembic import context

from tokensvc.storage import revocation_tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=revocation_tables.denials.metadata,  # all tables: the module also imports those of schema.py
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
