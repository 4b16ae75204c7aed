"""The checks of `tokensvc doctor`."""
