"""The HTTP interface of the service; `routes.py` lists every operation."""
