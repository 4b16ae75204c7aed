"""The schema's history, for alembic; `migrate.py` is what runs it."""
