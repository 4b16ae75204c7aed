"""Audit records: who did what, to what, and what was refused."""
