"""alembic's environment: runs the migrations on the given connection, in its transaction."""

from __future__ import annotations

from alembic import context

from tokensvc.storage.partial_indexes import complete_metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=complete_metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
