"""Folders of a server: data roots, model kinds, safe names, counters of saved files. No torch, no HTTP."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Literal, NamedTuple

from executor.claims import Claims
from executor.errors import UnsafePath
from executor.fence import Fence, is_below, require_encodable, require_fit
from executor.model_paths import read_extra_paths
from executor.settings import Settings

Root = Literal["input", "output", "temp"]
ROOTS: tuple[Root, ...] = ("input", "output", "temp")

MODEL_SUFFIXES = frozenset({".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"})
ANY_SUFFIX: frozenset[str] = frozenset()

MODEL_KINDS: dict[str, tuple[tuple[str, ...], frozenset[str]]] = {
    "checkpoints": (("checkpoints",), MODEL_SUFFIXES),
    "configs": (("configs",), frozenset({".yaml"})),
    "loras": (("loras",), MODEL_SUFFIXES),
    "vae": (("vae",), MODEL_SUFFIXES),
    "text_encoders": (("text_encoders", "clip"), MODEL_SUFFIXES),
    "diffusion_models": (("unet", "diffusion_models"), MODEL_SUFFIXES),
    "clip_vision": (("clip_vision",), MODEL_SUFFIXES),
    "style_models": (("style_models",), MODEL_SUFFIXES),
    "embeddings": (("embeddings",), MODEL_SUFFIXES),
    "diffusers": (("diffusers",), frozenset({"folder"})),
    "vae_approx": (("vae_approx",), MODEL_SUFFIXES),
    "controlnet": (("controlnet", "t2i_adapter"), MODEL_SUFFIXES),
    "gligen": (("gligen",), MODEL_SUFFIXES),
    "upscale_models": (("upscale_models",), MODEL_SUFFIXES),
    "custom_nodes": ((), ANY_SUFFIX),
    "hypernetworks": (("hypernetworks",), MODEL_SUFFIXES),
    "photomaker": (("photomaker",), MODEL_SUFFIXES),
    "classifiers": (("classifiers",), frozenset({""})),
    "model_patches": (("model_patches",), MODEL_SUFFIXES),
    "audio_encoders": (("audio_encoders",), MODEL_SUFFIXES),
}
"""Kind of model -> folders below `models/` and the file endings that count (empty: any)."""

OLD_KINDS = {"clip": "text_encoders", "unet": "diffusion_models"}
OUTPUT_KINDS = {
    "checkpoints": "checkpoints",
    "clip": "text_encoders",
    "vae": "vae",
    "diffusion_models": "diffusion_models",
    "loras": "loras",
}
"""Folders below `output/` that are searched too, because saving nodes write there."""

AT_REST_NS = 1_000_000_000
"""A folder that has not changed for so long is taken to rest."""

MANY = 256
"""How many numbers who does not say it may use: a pack that asks for a name and saves a batch from there on."""

CLOCK_STEP_NS = 50_000_000
"""Two changes of a folder that are closer than this may leave the same time of change."""

FEW_FOLDERS = 32
"""How many folders may be looked at for changes without leaving the event loop."""

BATCH_TOKEN = "%batch_num%"
NUMBER = re.compile(r"_(\d+)_")  # what follows the stem in the names of saved files
"""What stands for the number within a batch, in the last part of a prefix; the saving node fills it in."""

_SUFFIX = re.compile(r"^(?P<name>.*) ?\[(?P<root>input|output|temp)\]$", re.DOTALL)


class SaveName(NamedTuple):
    """Where the next saved file goes: folder, stem, first free counter, subfolder as clients see it."""

    folder: Path
    stem: str
    counter: int
    subfolder: str
    prefix: str


KindTable = MutableMapping[str, Sequence[Iterable[str]]]
"""Kind of model -> [folders, file endings], as packs change it: lists or tuples, the endings may be missing."""

ChangedKind = tuple[str, tuple[str, ...], tuple[str, ...]]
"""A kind of model with its folders and file endings."""

Stamps = tuple[tuple[str, int], ...]
"""Folders with their times of change in ns; in the place of one that is not there, what has to change first."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Folders as they were at a time (Unix time in ns)."""

    stamps: Stamps
    taken_ns: int

    def is_fresh(self) -> bool:
        """Tell whether no folder has changed since; False when one had changed just before, for clocks are coarse."""
        settled_ns = self.taken_ns - CLOCK_STEP_NS
        return all(stamp < settled_ns and _stamp(path) == stamp for path, stamp in self.stamps)


@dataclass(frozen=True, slots=True)
class _Listing:
    names: tuple[str, ...]
    watch: Watch


class Folders:
    """The folders of one server; listings are cached until a folder below changes. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self.base = settings.base_directory.absolute()
        self.models = settings.folder("models")
        self.user = settings.folder("user")
        self.custom_nodes = settings.folder("custom_nodes")
        self._roots: dict[Root, Path] = {root: settings.folder(root) for root in ROOTS}
        self._kinds: dict[str, tuple[list[Path], set[str]]] = {}
        for kind, (below, suffixes) in MODEL_KINDS.items():
            self._kinds[kind] = ([self.models / name for name in below], set(suffixes))
        self._kinds["custom_nodes"][0].append(self.custom_nodes)
        for name, kind in OUTPUT_KINDS.items():
            self._kinds[kind][0].append(self._roots["output"] / name)
        self._table: KindTable | None = None
        self._listings: dict[tuple[str, str], _Listing] = {}
        self._lock = threading.RLock()
        self._promised: set[Path] = set()  # files that are still being written
        self.claims: Claims | None = None  # where other workers save too
        self.fence = Fence(self._reachable, follow=settings.follow_symlinks)
        for file in extra_path_files(settings):
            for extra in read_extra_paths(file):
                self.add(extra.kind, extra.path, first=extra.first)

    def create(self) -> None:
        """Make the data folders that are missing."""
        for path in (*self._roots.values(), self.user, self.custom_nodes, self.models):
            path.mkdir(parents=True, exist_ok=True)

    def root(self, name: Root) -> Path:
        """The absolute path of input, output or temp."""
        return self._roots[name]

    def named(self, subfolder: str) -> str:
        """A subfolder as its names are here, where somebody told it by the server's."""
        return subfolder

    def set_root(self, name: Root, path: Path) -> None:
        """Use another folder for input, output or temp from now on."""
        self._roots[name] = path.absolute()

    def _reachable(self) -> Iterator[Path]:
        """The folders that links in the data folders may lead to: all of them but the packs', which hold programs."""
        yield from self._roots.values()
        yield self.user
        yield self.models
        for kind in self.kinds():
            if kind != "custom_nodes":
                with suppress(TypeError, LookupError):  # packs change the table
                    yield from self.paths(kind)

    # ---------------------------------------------------------------- models

    def kinds(self) -> list[str]:
        """The kinds of model there are folders for."""
        return list(self._kinds if self._table is None else self._table)

    def paths(self, kind: str) -> list[Path]:
        """The folders searched for a kind of model; KeyError for an unknown kind."""
        return list(self._kind(kind)[0])

    def suffixes(self, kind: str) -> set[str]:
        """The file endings that count for a kind (empty: any)."""
        return set(self._kind(kind)[1])

    def adopt(self, table: KindTable) -> None:
        """Read kinds of model from a table that others change while it is in use."""
        self._table = table

    def changed_kinds(self) -> tuple[ChangedKind, ...]:
        """The kinds of an adopted table that the settings do not have so; those that cannot be read are left out."""
        changed: list[ChangedKind] = []
        for kind in self.kinds():
            try:
                paths, suffixes = self._kind(kind)
            except (TypeError, LookupError):
                continue
            if (paths, suffixes) != self._kinds.get(kind):
                changed.append((kind, tuple(map(str, paths)), tuple(sorted(suffixes))))
        return tuple(changed)

    def learn(self, kinds: Iterable[ChangedKind]) -> None:
        """Take over kinds that another process's `changed_kinds` told."""
        with self._lock:
            for kind, paths, suffixes in kinds:
                self._kinds[kind] = ([Path(path) for path in paths], set(suffixes))

    def _kind(self, kind: str) -> tuple[list[Path], set[str]]:
        name = OLD_KINDS.get(kind, kind)
        if self._table is None:
            return self._kinds[name]
        entry = self._table[name]
        paths = [entry[0]] if isinstance(entry[0], str) else entry[0]
        return [Path(path) for path in paths], set(entry[1]) if len(entry) > 1 else set()

    def add(self, kind: str, path: Path, *, first: bool = False) -> None:
        """Search one more folder for a kind of model, making the kind if it is new."""
        name = OLD_KINDS.get(kind, kind)
        with self._lock:
            paths, suffixes = self._kind(name) if name in self.kinds() else ([], set())
            if path in paths:
                return
            paths.insert(0 if first else len(paths), path)
            if self._table is None:
                self._kinds[name] = (paths, suffixes)
            else:
                self._table[name] = ([str(each) for each in paths], suffixes)

    def names(self, kind: str) -> list[str]:
        """Sorted relative names of a kind's files, with `/` between folders; KeyError for an unknown kind."""
        paths, suffixes = self._kind(kind)
        found: set[str] = set()
        for path in paths:
            found.update(self._list(path, frozenset(suffixes)).names)
        return sorted(found)

    def fresh_names(self, kind: str) -> list[str] | None:
        """What `names` would say, if that is known without reading folders: cheap enough for an event loop.

        None when folders have changed or are too many to look at; KeyError for an unknown kind.
        """
        paths, suffixes = self._kind(kind)
        listings = [self._listings.get(_key(path, suffixes)) for path in paths]
        known = [listing for listing in listings if listing is not None]
        looks = sum(len(listing.watch.stamps) for listing in known)
        if len(known) < len(paths) or looks > FEW_FOLDERS or not all(listing.watch.is_fresh() for listing in known):
            return None
        return sorted({name for listing in known for name in listing.names})

    def watch(self, sources: Iterable[str]) -> Watch:
        """What to look at for changes in the lists of these kinds of model and of "input"; unknown ones stay."""
        stamps: dict[str, int] = {}
        taken_ns = time.time_ns()
        for source in sources:
            if source == "input":
                folder = str(self._roots["input"])
                stamps.update([_first_to_change(folder)])
            elif source in self.kinds():
                suffixes = frozenset(self.suffixes(source))
                for path in self.paths(source):
                    stamps.update(self._list(path, suffixes).watch.stamps)
        return Watch(tuple(stamps.items()), taken_ns)

    def located(self, kind: str) -> list[tuple[int, str, Path]]:
        """Each file of a kind: the index of its folder, its name there, its full path; KeyError for an unknown kind."""
        suffixes = frozenset(self.suffixes(kind))
        return [
            (index, name, folder / name)
            for index, folder in enumerate(self.paths(kind))
            for name in self._list(folder, suffixes).names
        ]

    def find(self, kind: str, name: str) -> Path | None:
        """The full path of a kind's file, or None; never outside the kind's folders."""
        for folder in self.paths(kind):
            try:
                path = inside(folder, name)
            except UnsafePath:
                continue
            if path.exists():
                return path
        return None

    # ---------------------------------------------------------------- input, output, temp

    def files(self, root: Root) -> list[str]:
        """Sorted names of the files directly in a data folder."""
        return sorted(entry.name for entry in self.entries(root) if entry.is_file())

    def folders(self, root: Root) -> list[str]:
        """Sorted names of the folders directly in a data folder."""
        return sorted(entry.name for entry in self.entries(root) if entry.is_dir())

    def entries(self, root: Root) -> list[os.DirEntry[str]]:
        """What lies directly in a data folder, without links that lead outside."""
        folder = self._roots[root]
        if not folder.is_dir():
            return []
        with os.scandir(folder) as found:
            return [entry for entry in found if not entry.is_symlink() or self.fence.holds(Path(entry.path))]

    def resolve(self, name: str, default: Root = "input") -> Path:
        """The path that `name`, `name [input]`, `name [output]` or `name [temp]` stands for; UnsafePath outside it.

        A Windows path stands for the file of its own name in that folder, when there is one.
        """
        bare, root = split_root(name)
        folder = self._roots[root or default]
        return self.fence.require((_windows_file(folder, bare) if "\\" in bare else None) or inside(folder, bare))

    def place(self, folder: Path, name: str) -> Path:
        """Where a file of this name may be written in a data folder or below it; UnsafePath outside of them."""
        require_fit(name)
        return self.fence.require(inside(folder, name))

    def next_name(
        self,
        prefix: str,
        root: Path,
        width: int = 0,
        height: int = 0,
        *,
        count: int = MANY,
        numbered: Callable[[str, Iterable[str]], int] | None = None,
    ) -> SaveName:
        """The place of the next file saved under `prefix`; makes the folder. UnsafePath if the prefix leaves `root`.

        `count` numbers from there on are the caller's, whatever other workers save until its job ends. `numbered` tells
        the first free number of a stem among the names of a folder, where it is not told as ComfyUI does.
        """
        filled = fill_size(prefix, width, height)
        relative = os.path.normpath(filled)
        subfolder, stem = os.path.split(relative)
        folder = inside(root, subfolder or ".")
        if filled and Path(os.path.normpath(root / filled)).parent != folder:
            raise UnsafePath(f"the prefix {prefix!r} leads outside {root}")
        require_fit(filled)
        if not is_below(os.path.realpath(folder), os.path.realpath(root)):  # a pack may save in a folder of its own
            self.fence.require(folder)
        folder.mkdir(parents=True, exist_ok=True)

        def listed() -> int:
            promised = self._promised_in(folder)  # first: a file that is finished meanwhile is in the folder by then
            return (numbered or _next_counter)(stem, [*promised, *os.listdir(folder)])

        if self.claims is None:
            counter = listed()
        else:
            place = os.path.normcase(os.path.join(os.path.realpath(folder), stem))
            counter = self.claims.take(place, listed, count)
        return SaveName(
            folder=folder,
            stem=stem,
            counter=counter,
            subfolder=subfolder,
            prefix=filled,
        )

    def promise(self, paths: Iterable[Path]) -> None:
        """Take the names of files that are still to be written: `next_name` counts on from them."""
        with self._lock:
            self._promised.update(paths)

    def keep(self, paths: Iterable[Path]) -> None:
        """End a promise, if there was one: the files are there, or will never be."""
        if self._promised:
            with self._lock:
                self._promised.difference_update(paths)

    def _promised_in(self, folder: Path) -> list[str]:
        if not self._promised:
            return []
        with self._lock:
            return [path.name for path in self._promised if path.parent == folder]

    # ---------------------------------------------------------------- listing

    def _list(self, folder: Path, suffixes: frozenset[str]) -> _Listing:
        key = _key(folder, suffixes)
        with self._lock:
            cached = self._listings.get(key)
        if cached is not None and cached.watch.is_fresh():
            return cached
        listing = _read(folder, suffixes)
        with self._lock:
            self._listings[key] = listing
        return listing


def extra_path_files(settings: Settings) -> list[Path]:
    """The files that name more model folders: the one in the base directory, if there is one, and those of the flag."""
    usual = settings.base_directory / "extra_model_paths.yaml"
    return [*([usual] if usual.is_file() else []), *settings.model_paths]


def inside(folder: Path, name: str) -> Path:
    """`folder / name`, normalised; UnsafePath when it would lie outside `folder`."""
    require_encodable(name)
    path = Path(os.path.normpath(folder / name))
    if path != folder and folder not in path.parents:
        raise UnsafePath(f"{name!r} leads outside its folder")
    return path


def _windows_file(folder: Path, name: str) -> Path | None:
    """The file that a name with backslashes means: one of that very name, one below, or one of its last part."""
    for candidate in (name, name.replace("\\", "/"), PureWindowsPath(name).name):
        with suppress(UnsafePath):
            path = inside(folder, candidate)
            if path.is_file():
                return path
    return None


def split_root(name: str) -> tuple[str, Root | None]:
    """Take the suffix ` [input]`, ` [output]` or ` [temp]` off a file name."""
    match = _SUFFIX.match(name)
    if match is None:
        return name, None
    root: Root = match["root"]  # type: ignore[assignment]  # the pattern admits these three only
    return match["name"].rstrip(" "), root


def fill_size(prefix: str, width: int, height: int) -> str:
    """Replace the tokens of a file name prefix: sizes in pixels and the local date and time."""
    now = time.localtime()
    tokens = {
        "%width%": str(width),
        "%height%": str(height),
        "%year%": str(now.tm_year),
        "%month%": f"{now.tm_mon:02}",
        "%day%": f"{now.tm_mday:02}",
        "%hour%": f"{now.tm_hour:02}",
        "%minute%": f"{now.tm_min:02}",
        "%second%": f"{now.tm_sec:02}",
    }
    for token, value in tokens.items():
        prefix = prefix.replace(token, value)
    return prefix


def _next_counter(stem: str, names: Iterable[str]) -> int:
    """The number after the highest of `stem_<number>_*`; %batch_num% in the stem stands for any number.

    Asked for at every save: folders hold thousands of files.
    """
    if BATCH_TOKEN in stem:
        shape = re.escape(stem).replace(re.escape(BATCH_TOKEN), r"\d+")
        pattern = re.compile(shape + NUMBER.pattern, 0 if os.path.normcase("A") == "A" else re.IGNORECASE)
        taken = [pattern.match(name) for name in names]
    else:  # no pattern of its own: previews have a new stem each, and compiled patterns are kept by Python
        own, length = os.path.normcase(stem), len(stem)
        if own != stem or os.path.normcase("A") != "A":
            names = [name for name in names if os.path.normcase(name[:length]) == own]
        else:
            names = [name for name in names if name.startswith(stem)]
        taken = [NUMBER.match(name, length) for name in names]
    return max((int(match[1]) for match in taken if match), default=0) + 1


def _key(folder: Path, suffixes: Iterable[str]) -> tuple[str, str]:
    return str(folder), ",".join(sorted(suffixes))


def _stamp(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _first_to_change(folder: str) -> tuple[str, int]:
    """A folder, or where it is not there the nearest one above it that is, with its time of change in ns.

    It cannot come to be without that. Looking at what is not there costs more, and new servers lack most folders. But
    it is looked at itself, with time 0, where the one above changes all the time (the output folder), and where it is
    a link that leads nowhere: what that leads to may appear elsewhere.
    """
    there = folder
    while not os.path.lexists(there) and (above := os.path.dirname(there)) != there:
        there = above
    stamp = _stamp(there)
    return (there, stamp) if there == folder or stamp < time.time_ns() - AT_REST_NS else (folder, 0)


def _read(folder: Path, suffixes: frozenset[str]) -> _Listing:
    names: list[str] = []
    taken_ns = time.time_ns()
    stamps: list[tuple[str, int]] = [_first_to_change(str(folder))]
    for parent, directories, files in os.walk(folder, followlinks=True):
        directories[:] = sorted(name for name in directories if name != ".git")
        stamps += [(path, _stamp(path)) for path in (os.path.join(parent, name) for name in directories)]
        candidates: Iterable[str] = directories if "folder" in suffixes else files
        below = os.path.relpath(parent, folder)
        for name in candidates:
            if not suffixes or "folder" in suffixes or os.path.splitext(name)[1].lower() in suffixes:
                names.append(name if below == "." else f"{below}/{name}".replace(os.sep, "/"))
    return _Listing(names=tuple(sorted(names)), watch=Watch(tuple(stamps), taken_ns))
