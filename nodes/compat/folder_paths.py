"""Folders and files as packs know them: live views of the worker's Folders. Loads no torch.

What is assigned to this module's directories holds for every node of the worker; the front keeps its own.
Source: reference/custom_node_surface.md, tier 1.
"""

from __future__ import annotations

import mimetypes
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from types import ModuleType
from typing import Literal

from executor.contract.choices import is_content
from executor.contract.definition import FileChoices
from executor.contract.types import FileList
from executor.files import MODEL_SUFFIXES, OLD_KINDS, Folders, Root, split_root
from executor.own_folders import OwnFolders
from nodes import bridge
from nodes.placeholders import fallback

ROOT_ATTRIBUTES: dict[str, Root] = {
    "output_directory": "output",
    "input_directory": "input",
    "temp_directory": "temp",
}


def _folders() -> Folders:
    return bridge.folders()


def _own(root: Root) -> str | None:
    """A data folder of the running prompt's owner; None where prompts have none."""
    folders = _folders()
    return str(folders.root(root)) if isinstance(folders, OwnFolders) else None


def _table(folders: Folders) -> dict[str, tuple[list[str], set[str]]]:
    """The kinds of model as a plain dictionary that packs change; kinds with the usual endings share one set."""
    shared = set(MODEL_SUFFIXES)
    table = {}
    for kind in folders.kinds():
        suffixes = folders.suffixes(kind)
        table[kind] = ([str(path) for path in folders.paths(kind)], shared if suffixes == shared else suffixes)
    return table


def _directory(name: str, get: Callable[[], str]) -> property:
    """An attribute of this module that is read by a function, and kept as it was assigned."""

    def put(module: ModuleType, value: object) -> None:
        vars(module)[name] = value

    return property(lambda module: get(), put)


class _Module(ModuleType):
    """This module; assigning one of its directories or its table changes the worker's folders.

    While a prompt of an owner runs, its directories are that one's.
    """

    output_directory = _directory("output_directory", lambda: get_output_directory())
    input_directory = _directory("input_directory", lambda: get_input_directory())
    temp_directory = _directory("temp_directory", lambda: get_temp_directory())
    user_directory = _directory("user_directory", lambda: get_user_directory())

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name in ROOT_ATTRIBUTES and value is not None:
            _whole.set_root(ROOT_ATTRIBUTES[name], Path(os.fspath(value)))  # type: ignore[arg-type]
        elif name == "folder_names_and_paths" and isinstance(value, dict):
            _whole.adopt(value)


_whole = bridge.services().folders
folder_names_and_paths = _table(_whole)
supported_pt_extensions = folder_names_and_paths["checkpoints"][1]
filename_list_cache: dict[str, object] = {}
extension_mimetypes_cache: dict[str, str] = {"webp": "image", "fbx": "model"}

base_path = str(_whole.base)
models_dir = str(_whole.models)
output_directory = str(_whole.root("output"))
temp_directory = str(_whole.root("temp"))
input_directory = str(_whole.root("input"))
user_directory = str(_whole.user)

_whole.adopt(folder_names_and_paths)
__file__ = os.path.join(base_path, "folder_paths.py")  # packs take its folder for the host's
__getattr__ = fallback(__name__)
sys.modules[__name__].__class__ = _Module


class CacheHelper:
    """A cache that is active inside a `with` block; listings have their own, so it keeps nothing."""

    active = False

    def get(self, key: str, default: object = None) -> object:
        return default

    def set(self, key: str, value: object) -> None:
        return None

    def clear(self) -> None:
        return None

    def __enter__(self) -> CacheHelper:
        self.active = True
        return self

    def __exit__(self, *cause: object) -> None:
        self.active = False


cache_helper = CacheHelper()

# ---------------------------------------------------------------- data folders


def get_output_directory() -> str:
    return _own("output") or output_directory


def get_input_directory() -> str:
    return _own("input") or input_directory


def get_temp_directory() -> str:
    return _own("temp") or temp_directory


def get_user_directory() -> str:
    return str(_folders().user) if _own("output") else user_directory


def get_public_user_directory(user_id: str) -> str | None:
    """The folder of a user; None for an empty or a reserved name."""
    return None if not user_id or user_id.startswith("__") else os.path.join(get_user_directory(), user_id)


def get_system_user_directory(name: str = "system") -> str:
    return os.path.join(get_user_directory(), f"__{name}")


def _assign(name: str, value: str) -> None:
    setattr(sys.modules[__name__], name, value)


def set_output_directory(output_dir: str) -> None:
    _assign("output_directory", output_dir)


def set_input_directory(input_dir: str) -> None:
    _assign("input_directory", input_dir)


def set_temp_directory(temp_dir: str) -> None:
    _assign("temp_directory", temp_dir)


def set_user_directory(user_dir: str) -> None:
    _assign("user_directory", user_dir)


def get_directory_by_type(type_name: str) -> str | None:
    """The folder called "output", "temp" or "input"; None for another name."""
    match type_name:
        case "output":
            return get_output_directory()
        case "temp":
            return get_temp_directory()
        case "input":
            return get_input_directory()
    return None


def get_input_subfolders() -> list[str]:
    """The folders below input, relative and sorted."""
    root = get_input_directory()
    walked = (os.path.relpath(folder, root) for folder, _, _ in os.walk(root, followlinks=True))
    return sorted(name for name in walked if name != ".")


def annotated_filepath(name: str) -> tuple[str, str | None]:
    """A name without its "[output]", "[input]" or "[temp]", and the folder that stands for (None: none was said)."""
    bare, root = split_root(name)
    return bare, get_directory_by_type(root) if root else None


def get_annotated_filepath(name: str, default_dir: str | None = None) -> str:
    """The path of "name [type]"; names without a type lie in `default_dir`, or in input."""
    bare, folder = annotated_filepath(name)
    return os.path.join(folder or default_dir or get_input_directory(), bare)


def exists_annotated_filepath(name: str) -> bool:
    return os.path.exists(get_annotated_filepath(name))


def get_save_image_path(
    filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
) -> tuple[str, str, int, str, str]:
    """Folder, stem, first free counter, subfolder, prefix of the next saved file; UnsafePath outside `output_dir`."""
    place = _folders().next_name(filename_prefix, Path(os.path.abspath(output_dir)), image_width, image_height)
    return str(place.folder), place.stem, place.counter, place.subfolder, place.prefix


# ---------------------------------------------------------------- models


def map_legacy(folder_name: str) -> str:
    """The kind of model that an old name stands for."""
    return OLD_KINDS.get(folder_name, folder_name)


def add_model_folder_path(folder_name: str, full_folder_path: str, is_default: bool = False) -> None:
    """Search one more folder for a kind of model, first if it is the default; makes the kind if it is new."""
    kind = map_legacy(folder_name)
    path = os.fspath(full_folder_path)
    entry = folder_names_and_paths.get(kind)
    if entry is None:
        folder_names_and_paths[kind] = ([path], set())
        return
    paths = [each for each in entry[0] if is_default is False or each != path]
    if path not in paths:
        paths.insert(0 if is_default else len(paths), path)
    if isinstance(entry[0], list):
        entry[0][:] = paths
    else:
        folder_names_and_paths[kind] = (paths, *entry[1:])


def get_folder_paths(folder_name: str) -> list[str]:
    """The folders of a kind of model; KeyError for an unknown kind."""
    return folder_names_and_paths[map_legacy(folder_name)][0][:]


def recursive_search(
    directory: str, excluded_dir_names: Collection[str] | None = None
) -> tuple[list[str], dict[str, float]]:
    """Files below a folder, relative to it, and the folders with their times of change."""
    if not os.path.isdir(directory):
        return [], {}
    excluded = set(excluded_dir_names or ())
    files: list[str] = []
    folders = {directory: os.path.getmtime(directory)}
    for parent, names, found in os.walk(directory, followlinks=True):
        names[:] = [name for name in names if name not in excluded]
        files += [os.path.relpath(os.path.join(parent, name), directory) for name in found]
        folders |= {path: os.path.getmtime(path) for path in (os.path.join(parent, name) for name in names)}
    return files, folders


def filter_files_extensions(files: Iterable[str], extensions: Collection[str]) -> list[str]:
    """The files with one of these endings, sorted; with no ending asked for, all."""
    return sorted(file for file in files if not extensions or os.path.splitext(file)[-1].lower() in extensions)


def filter_files_content_types(
    files: Iterable[str], content_types: list[Literal["image", "video", "audio", "model"]]
) -> list[str]:
    """The files of some kinds of media, by their endings, in the order given."""
    known = {kind for kind in content_types if kind != "model"}
    return [file for file in files if is_content(file, ",".join(known) or "none") or _is_known(file, content_types)]


def _is_known(file: str, content_types: Collection[str]) -> bool:
    """What the tables of this module and of the machine say beyond Weft's own."""
    ending = file.rpartition(".")[2].lower()
    kind = extension_mimetypes_cache.get(ending) or (mimetypes.guess_type(file, strict=False)[0] or "").split("/")[0]
    return kind in content_types


def get_full_path(folder_name: str, filename: str) -> str | None:
    """The path of a kind's file, or None; names cannot lead outside the kind's folders."""
    kind = map_legacy(folder_name)
    if kind not in folder_names_and_paths:
        return None
    relative = os.path.relpath(os.path.join("/", filename), "/")
    path = _folders().find(kind, relative)
    return str(path) if path is not None and path.is_file() else None


def get_full_path_or_raise(folder_name: str, filename: str) -> str:
    """The path of a kind's file; FileNotFoundError if there is none."""
    path = get_full_path(folder_name, filename)
    if path is None:
        raise FileNotFoundError(f"there is no file {filename!r} among the {folder_name}")
    return path


def get_relative_path(full_path: str) -> tuple[str, str] | None:
    """The kind and the name of a model file; None if it lies in no kind's folder."""
    for kind, (paths, *_) in folder_names_and_paths.items():
        for folder in paths:
            if os.path.abspath(full_path).startswith(os.path.join(os.path.abspath(folder), "")):
                return kind, os.path.relpath(full_path, folder)
    return None


def get_filename_list_(folder_name: str) -> tuple[list[str], dict[str, float], float]:
    """A kind's files, its folders with their times of change, and when they were read."""
    folders: dict[str, float] = {}
    for path in get_folder_paths(folder_name):
        folders |= recursive_search(path, [".git"])[1]
    return list(get_filename_list(folder_name)), folders, time.perf_counter()


def cached_filename_list_(folder_name: str) -> tuple[list[str], dict[str, float], float] | None:
    """Nothing: listings are cached where they are read."""
    return None


def get_filename_list(folder_name: str) -> list[str]:
    """A kind's files, relative, below subfolders too, sorted; a combo made of the list follows the disk.

    KeyError for an unknown kind.
    """
    kind = map_legacy(folder_name)
    return FileList(FileChoices(source=kind), _folders().names(kind))
