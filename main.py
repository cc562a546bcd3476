"""Starts the server; scripts and images in the wild call `python main.py --listen --port …`, which opens it to all."""

import sys

from server.main import main

if __name__ == "__main__":
    sys.exit(main(may_be_open=True))
