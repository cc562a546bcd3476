"""A worker without packs imports nothing for them."""

import json
import subprocess
import sys
from pathlib import Path

SOURCE = """
import json, sys
from pathlib import Path
from executor.files import Folders
from executor.settings import Settings
from executor.worker.line import Line
from executor.worker.services import Services
import nodes
settings = Settings(base_directory=Path(sys.argv[1]))
services = Services(settings=settings, folders=Folders(settings), line=Line(control=None))
before = list(sys.path)
nodes.prestart(services)
print(json.dumps([services.packs is None, sys.path == before, sorted(sys.modules)]))
"""


def test_without_packs_nothing_is_loaded_for_them(tmp_path: Path):
    (tmp_path / "custom_nodes").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SOURCE, str(tmp_path)], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    has_none, path_stays, loaded = json.loads(done.stdout)
    assert (has_none, path_stays) == (True, True)
    assert not {"torch", "aiohttp", "nodes.packs.loaded", "nodes.prompt_server", "comfy"} & set(loaded)
