"""Signing keys: their lifecycle, rotation, import and deletion, and how they are presented."""
