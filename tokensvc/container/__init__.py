"""The composition root: assembles the service from settings."""
