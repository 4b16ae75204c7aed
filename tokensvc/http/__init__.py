"""HTTP building blocks that all ASGI applications of the project share."""
