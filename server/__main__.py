"""`python -m server` and the console script: starts the front."""

import sys

from server.main import main as run


def main() -> int:
    """Run a server with this process's arguments; returns the exit status."""
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
