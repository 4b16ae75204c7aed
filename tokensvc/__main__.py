"""`python -m tokensvc` is the `tokensvc` command.

The command line is loaded when it runs: `serve`'s worker processes load this file too, and never need it.
"""


def main() -> None:
    """Run the command line and leave with its exit code."""
    from tokensvc.cli import main as run

    run()


if __name__ == "__main__":
    main()
