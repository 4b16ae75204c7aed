"""Tokens: what is requested, issued and validated."""
