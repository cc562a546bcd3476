"""`make nodes`: every node of the reference, whether it is here, listed as there, and tested.

Exits 1 when one is missing that has to be here.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from executor.files import Folders
from executor.settings import Settings
from tests.inventory.table import called_in_tests, lines, rows


def main() -> int:
    """Print the table; 0 when every module that is asked for is whole."""
    with tempfile.TemporaryDirectory() as base:
        found = rows(Folders(Settings(base_directory=Path(base))), called_in_tests())
    sys.stdout.write("\n".join(lines(found)) + "\n")
    missing = [row.name for row in found if row.missing]
    if missing:
        sys.stdout.write(f"not whole: {', '.join(missing)}\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
