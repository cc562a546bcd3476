"""A mark on disk while a pack is being imported: if the process dies of it, the next one leaves that pack out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodes.packs.discover import Pack


class Mark:
    """The marks of one worker's place, kept over its processes; without a folder there are none."""

    def __init__(self, folder: Path | None, worker: str) -> None:
        self._file = folder / f"loading-{worker}" if folder is not None else None
        self._deadly = folder / f"deadly-{worker}" if folder is not None else None
        if self._file is not None and self._deadly is not None and self._file.is_file():
            with self._deadly.open("a", encoding="utf-8") as file:
                file.write(self._file.read_text(encoding="utf-8") + "\n")
            self._file.unlink()

    @contextmanager
    def around(self, pack: Pack) -> Iterator[None]:
        """Mark a pack as being imported; RuntimeError if an earlier process ended while it was."""
        if self._file is None or self._deadly is None:
            yield
            return
        if self._deadly.is_file() and str(pack.path) in self._deadly.read_text(encoding="utf-8").splitlines():
            raise RuntimeError("the process ended while this pack was being imported; it is left out until a restart")
        self._file.write_text(str(pack.path), encoding="utf-8")
        try:
            yield
        finally:
            self._file.unlink(missing_ok=True)
