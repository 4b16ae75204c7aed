"""ES384 signatures with three libraries, and the choice of one."""
