"""Has regions compiled by a process of its own, and loads the code that it leaves. Knows no layer."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, cast

import torch

from executor.inference.compiling import keep_in
from executor.inference.regions import Code, Region

MODULE = "executor.inference.region_compiler"


class RegionProcess:
    """Builds code; the process is started with the first region and ends with the worker."""

    def __init__(self, folder: Path, module: str = MODULE) -> None:
        """`folder`: where what was compiled is kept, so that the next start need not compile it again."""
        self.folder, self.module = folder, module
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, region: Region) -> Code:
        """The code of a region; RuntimeError with what the compiler said."""
        self.folder.mkdir(parents=True, exist_ok=True)
        keep_in(self.folder)
        from torch._inductor.standalone_compile import CompiledArtifact  # here: it takes more than a second

        with tempfile.TemporaryDirectory(dir=self.folder, prefix="region-") as folder:
            file = Path(folder, "code")
            told = self._asked(region, file)
            if told:
                raise RuntimeError(told)
            return cast(Code, CompiledArtifact.load(path=str(file), format="binary"))

    def _asked(self, region: Region, file: Path) -> str:
        """What the process says to a region: nothing when all went well."""
        process = self._started()
        try:
            asked = cast("IO[bytes]", process.stdin)
            pickle.dump((region, file), asked)
            asked.flush()
            return cast(str, pickle.load(cast("IO[bytes]", process.stdout)))
        except (EOFError, OSError) as error:
            self.close()
            raise RuntimeError("the process that compiles ended") from error

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, str(torch.get_num_threads())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._process

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
