"""Signing keys: requests for them and how they are presented."""
