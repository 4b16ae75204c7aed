"""The schema's revisions, for alembic; `migrate.py` runs them."""
