"""Revocations of viewer sessions, and denials: requests, use cases and views."""
