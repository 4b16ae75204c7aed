"""Callers: who may request tokens, and under which policy."""
