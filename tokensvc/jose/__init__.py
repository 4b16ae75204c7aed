"""Key pairs, PEM, JWK, JWS with ES384 (RFC 7515, RFC 7517, RFC 7518) and strict JSON."""
