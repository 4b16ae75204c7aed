"""Streams: their lifecycle, sessions, events and recordings, and the operations on them."""
