"""Where the web front end's files lie: the installed package or a folder of the user's, templates, help on nodes.

Knows folders and names, no requests. The packages are located, never imported: they are somebody else's programs, and
nothing but their data is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from executor.errors import FrontEndMissing, UnsafePath
from executor.files import inside
from executor.settings import Settings
from server.version import installed_version

FRONT_END_PACKAGE = "comfyui-frontend-package"
TEMPLATES_PACKAGE = "comfyui-workflow-templates"
DOCUMENTS_PACKAGE = "comfyui-embedded-docs"

OFFICIAL = frozenset({"comfyanonymous/comfyui_frontend", "comfy-org/comfyui_frontend"})
"""Names of the repository that the front end's package is made of, in lower case."""
UNPACKED = "web_custom_versions"
"""Folder below the base directory for further versions: `<owner>_<repository>/<version>/index.html`."""

OWN_TEMPLATES = Path(__file__).parent / "templates"
"""The workflow that can be run with nothing but what comes with Weft: offered where the package is not installed."""

_LIST = re.compile(r"index\.[A-Za-z-]+\.json")
"""The list of templates in one language; the one in English has no language in its name."""
_WISH = re.compile(r"(?:(?P<source>[\w.-]+/[\w.-]+)@)?v?(?P<version>latest|\d+(?:\.\d+)*[\w.+-]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebRoot:
    """The folders that pages are served from; absolute paths, None or empty for what is not there."""

    pages: Path | None = None
    templates: tuple[Path, ...] = (OWN_TEMPLATES,)
    documents: Path | None = None

    def page(self, name: str) -> Path | None:
        """The front end's file of this name (`assets/x.js`), or None."""
        return _file(self.pages, name)

    def template(self, name: str) -> Path | None:
        """The file of this name in the first template folder that has it (of lists, or the English one), or None."""
        found = next((path for folder in self.templates if (path := _file(folder, name))), None)
        return self.template("index.json") if found is None and _LIST.fullmatch(name) else found

    def document(self, name: str) -> Path | None:
        """The help file of this name (`KSampler/en.md`), or None."""
        return _file(self.documents, name)

    def extensions(self) -> list[str]:
        """The front end's own extension scripts, as sorted addresses."""
        if self.pages is None:
            return []
        folder = self.pages / "extensions"
        return sorted(f"/extensions/{path.relative_to(folder).as_posix()}" for path in folder.glob("**/*.js"))


def find_web_root(settings: Settings) -> WebRoot:
    """The folders that the settings and the installed packages give; FrontEndMissing if a wish cannot be met."""
    documents = _package_folder(DOCUMENTS_PACKAGE, "docs")
    return WebRoot(pages=_pages(settings), templates=_template_folders() or (OWN_TEMPLATES,), documents=documents)


def _file(folder: Path | None, name: str) -> Path | None:
    if folder is None:
        return None
    try:
        path = inside(folder, name)
        return path if path.is_file() else None
    except (UnsafePath, OSError):  # such as a name that is too long
        return None


# ---------------------------------------------------------------- the front end


def _pages(settings: Settings) -> Path | None:
    if settings.front_end_root is not None:
        folder = settings.front_end_root.absolute()
        if not (folder / "index.html").is_file():
            raise FrontEndMissing(f"--front-end-root {settings.front_end_root}: there is no index.html in that folder")
        return folder
    if settings.front_end_version is not None:
        return _of_version(settings.front_end_version, settings.base_directory.absolute() / UNPACKED)
    return _package_folder(FRONT_END_PACKAGE, "static")


def _of_version(wish: str, unpacked: Path) -> Path:
    """The folder of the version that `[owner/repository@]version` names, `latest` being the newest that is here."""
    match = _WISH.fullmatch(wish)
    if match is None:
        raise FrontEndMissing(f"--front-end-version {wish}: not of the form comfyanonymous/ComfyUI_frontend@1.2.3")
    source, version = match["source"], match["version"]
    here = dict(_unpacked_versions(unpacked, source))
    if source is None or source.lower() in OFFICIAL:
        installed, static = installed_version(FRONT_END_PACKAGE), _package_folder(FRONT_END_PACKAGE, "static")
        if installed and static:
            here[installed] = static
    if version == "latest" and here:
        return here[max(here, key=_rank)]
    if version in here:
        return here[version]
    known = ", ".join(sorted(here, key=_rank)) or "none"
    raise FrontEndMissing(
        f"--front-end-version {wish}: not here (here: {known}), and Weft downloads nothing by itself; "
        f"install {FRONT_END_PACKAGE} in that version, or unpack it to {unpacked / '<owner>_<repository>' / version}"
    )


def _unpacked_versions(unpacked: Path, source: str | None) -> Iterator[tuple[str, Path]]:
    sources = OFFICIAL if source is None or source.lower() in OFFICIAL else {source.lower()}
    names = {source.replace("/", "_") for source in sources}
    for index in sorted(unpacked.glob("*/*/index.html")):
        if index.parent.parent.name.lower() in names:
            yield index.parent.name.removeprefix("v"), index.parent


def _rank(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


# ---------------------------------------------------------------- packages


def _package_folder(package: str, below: str) -> Path | None:
    """A folder inside an installed package, found without importing it."""
    spec = PathFinder.find_spec(package.replace("-", "_"))
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        folder = Path(location) / below
        if folder.is_dir():
            return folder.absolute()
    return None


def _template_folders() -> tuple[Path, ...]:
    """Where templates lie: in the package itself (to 0.1), or in its parts, which are installed next to it."""
    name = TEMPLATES_PACKAGE.replace("-", "_")
    spec = PathFinder.find_spec(name)
    places = [Path(place).absolute() for place in (spec.submodule_search_locations or ())] if spec is not None else []
    return tuple(folder for place in places for folder in sorted(place.parent.glob(f"{name}*/templates")))
