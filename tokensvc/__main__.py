"""`python -m tokensvc` is the `tokensvc` command."""

from tokensvc.cli import main

main()
