"""`sgpo`, and `python -m sgpo.cli`, which torchrun and the flows start."""

import sys

INTERRUPTED = 130
"""What a shell has for a process that Ctrl-C ended."""


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback, while its modules are imported too."""
    try:
        from sgpo.cli.main import main as run_command

        run_command()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
