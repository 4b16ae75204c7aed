"""The local playback edge: who may watch, and what they are handed."""
