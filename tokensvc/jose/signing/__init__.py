"""ES384 signatures by three libraries, and the choice among them."""
