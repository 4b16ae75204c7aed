"""The watch page of the local IVS: a player in the browser, and what decides about its token."""
