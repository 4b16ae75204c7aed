"""The seams: what the use cases ask of the world, one Protocol per file, and the plain values that cross it.

Every port has one contract suite in `tests/`, which each implementation runs.
"""
