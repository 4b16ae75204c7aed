"""The resources of IVS: one file holds the description of a resource and its rules."""
