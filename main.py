"""Starts the server; scripts and images in the wild call `python main.py --listen --port …`."""

import sys

from server.main import main

if __name__ == "__main__":
    sys.exit(main())
