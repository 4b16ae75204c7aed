"""Encrypted secrets: the key-encryption keys, the envelope format, and where private keys are stored."""
