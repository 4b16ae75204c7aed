"""The store on SQLite or PostgreSQL, through SQLAlchemy Core: one file for each subject."""
