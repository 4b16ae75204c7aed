"""The HTTP interface of the service; `routes.py` has every URL."""
