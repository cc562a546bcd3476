"""The rules of the house: sizes, layers, imports, and that the documents say what is so."""

import ast
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.flags import FLAGS, Flag

ROOT = Path(__file__).parents[1]
PACKAGES = ("server", "executor", "nodes")
SOURCES = sorted(path for name in (*PACKAGES, "training", "examples") for path in (ROOT / name).rglob("*.py"))
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "docs" / "design.md",
    ROOT / "docs" / "compatibility.md",
    ROOT / "docs" / "custom_nodes.md",
    ROOT / "docs" / "durability.md",
    ROOT / "docs" / "operations.md",
    ROOT / "docs" / "video_formats.md",
]

LONGEST_FILE, USUAL_FILE = 600, 400
LONGEST_FUNCTION, USUAL_FUNCTION = 80, 35


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length in lines of each function, its docstring left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            said = body[0].end_lineno - body[0].lineno + 1 if ast.get_docstring(node) is not None else 0
            yield f"{name_of(path)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1 - said


def imported(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def imported_at_once(path: Path) -> set[str]:
    """The modules that a file imports when it is imported itself, and what it takes from them, maybe modules too."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
    return found


def module_names() -> list[str]:
    """Our importable modules; the programs that act when imported, and nodes/compat, are not among them."""
    names = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if "compat" not in parts and parts[-1] != "__main__":
                names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return sorted(names)


# ---------------------------------------------------------------- sizes


def test_no_file_is_too_long():
    offenders = {name_of(path): length(path) for path in SOURCES if length(path) > LONGEST_FILE}
    assert not offenders


def test_most_files_are_short():
    lengths = {name_of(path): length(path) for path in SOURCES}
    long = {name: lines for name, lines in lengths.items() if lines > USUAL_FILE}
    assert len(long) <= len(lengths) / 10, long
    assert statistics.median(lengths.values()) <= 160


def test_no_function_is_too_long():
    offenders = {name: lines for path in SOURCES for name, lines in functions(path) if lines > LONGEST_FUNCTION}
    assert not offenders


def test_most_functions_are_short():
    lengths = {name: lines for path in SOURCES for name, lines in functions(path)}
    long = {name: lines for name, lines in lengths.items() if lines > USUAL_FUNCTION}
    assert len(long) <= len(lengths) / 10, long


# ---------------------------------------------------------------- text of the sources


@pytest.mark.parametrize("mark", ["TODO", "FIXME", "XXX", "raise NotImplementedError"])
def test_nothing_is_left_for_later(mark: str):
    offenders = [name_of(path) for path in SOURCES if re.search(rf"\b{mark}\b", path.read_text(encoding="utf-8"))]
    assert not offenders


def test_every_module_says_what_it_is():
    silent = [name_of(path) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert not silent


def test_public_names_of_the_packages_say_what_they_are():
    silent = []
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] not in PACKAGES or "compat" in path.parts or "builtin" in path.parts:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            public = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_"
            if public and not ast.get_docstring(node):
                silent.append(f"{name_of(path)}:{node.lineno} {node.name}")
    assert not silent


def test_files_are_named_after_what_they_know():
    vague = {"utils.py", "util.py", "helper.py", "helpers.py", "misc.py", "common.py"}
    assert not [name_of(path) for path in SOURCES if path.name in vague and "compat" not in path.parts]


def test_nothing_reads_outside_the_repository():
    needle = "/".join(["", "work", "shared"])
    paths = [path for path in [*SOURCES, *(ROOT / "tests").rglob("*.py")] if path.is_file()]
    assert not [name_of(path) for path in paths if needle in path.read_text(encoding="utf-8")]


# ---------------------------------------------------------------- imports


def test_the_layers_hold():
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


IMPORT_EACH = """
import contextlib, gc, importlib, json, os, sys, threading, warnings
ours, theirs = json.loads(sys.argv[1])
for name in theirs:
    with contextlib.suppress(ModuleNotFoundError):  # a class or a function of a module
        importlib.import_module(name)
warnings.simplefilter("error")
gc.disable()
gc.freeze()  # a collection would write to every page that the forks share
failures = {}
for name in ours:
    read, write = os.pipe()
    with warnings.catch_warnings(action="ignore"):
        child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
            said = "" if threading.active_count() == 1 else "started a thread"
        except BaseException as error:  # a module may even call exit()
            said = f"{type(error).__name__}: {error}"
        os.write(write, said.encode()[:4000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    if said:
        failures[name] = said
print(json.dumps(failures))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="imports each module in a forked interpreter")
def test_each_module_can_be_the_first_of_ours_to_be_imported():
    """What others wrote is imported beforehand, ours not: one fork for each module, warnings as errors."""
    ours = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in PACKAGES and "compat" not in path.parts]
    named = {module for path in ours for module in imported_at_once(path)}
    outside = sorted(name for name in named if name.partition(".")[0] not in PACKAGES)
    command = [sys.executable, "-c", IMPORT_EACH, json.dumps([module_names(), outside])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {}


def test_the_front_loads_neither_torch_nor_nodes():
    source = "import json, sys, server.main; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    heavy = {"torch", "nodes", "numpy", "diffusers", "transformers", "PIL"}
    assert not heavy & {name.partition(".")[0] for name in loaded}
    assert not [name for name in loaded if name.startswith(("executor.inference", "executor.worker"))]


# ---------------------------------------------------------------- packaging


IMPORT_NAMES = {"PIL": "pillow", "prometheus_client": "prometheus-client", "yaml": "pyyaml"}
"""Where the name that is imported is not the name that is installed."""


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def bare(requirement: str) -> str:
    return re.split(r"[ ;<>=\[]", requirement)[0]


def test_every_import_of_the_packages_is_a_declared_dependency():
    used = set()
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] in PACKAGES and "compat" not in path.parts:
            used.update(name.partition(".")[0] for name in imported(path))
    outside = used - set(sys.stdlib_module_names) - set(PACKAGES)
    declared = {bare(requirement) for requirement in project()["dependencies"]}
    assert {IMPORT_NAMES.get(name, name) for name in outside} <= declared


def test_every_declared_dependency_is_pinned():
    pins = re.findall(r"^([a-z0-9.-]+)==[0-9][^\s]*$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    extras = [requirement for rows in project()["optional-dependencies"].values() for requirement in rows]
    assert {bare(requirement) for requirement in [*project()["dependencies"], *extras]} <= set(pins)


LENT = {"aiohttp", "numpy", "pillow", "prometheus-client", "psutil", "pyyaml", "safetensors", "scipy", "tokenizers"}
LENT |= {"hypothesis", "torch", "tqdm", "transformers", "yarl"}
"""What a machine with a GPU that is lent for minutes has (docs/gpu.md)."""
WITHOUT = {"av"}  # no picture needs it


def test_what_a_lent_machine_lacks_comes_along():
    lines = (ROOT / "tests" / "gpu" / "wheels.txt").read_text(encoding="utf-8").splitlines()
    carried = {line for line in lines if not line.startswith("#")}
    pins = set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M))
    assert {bare(each) for each in project()["dependencies"]} - LENT - WITHOUT <= carried <= pins


def test_the_constraints_hold_nothing_but_exact_pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line and not line.startswith("#")]
    assert not [row for row in rows if not re.fullmatch(r"[a-z0-9.-]+==[0-9][^\s+]*", row)]


@pytest.mark.skipif(shutil.which("hadolint", path=Path(sys.executable).parent) is None, reason="no hadolint here")
def test_the_dockerfile_is_clean():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_models_holds_data_only():
    assert not list((ROOT / "models").rglob("*.py"))


# ---------------------------------------------------------------- documents


def flag_row(flag: Flag) -> str:
    names = ", ".join(f"`{name}`" for name in flag.names)
    value = f" `{flag.metavar}`".replace("|", "\\|") if flag.metavar else ""
    return f"| {names}{value} | {flag.help} |"


def test_the_readme_tells_every_flag():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- flags -->\n(.*?)<!-- /flags -->", text, re.DOTALL)
    expected = "\n".join(["| Flag | What it does |", "|---|---|", *map(flag_row, FLAGS)])
    assert table is not None
    assert table[1].strip() == expected, f"README's table should be\n{expected}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(document: Path):
    targets = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    assert not [target for target in targets if not (document.parent / target).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_of_make_exist(document: Path):
    goals = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(encoding="utf-8"), re.M))
    assert named <= goals


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_programs_named_in_documents_exist(document: Path):
    named = re.findall(r"python (?:-m )?((?:examples|training)[\w./]+)", document.read_text(encoding="utf-8"))
    paths = [ROOT / (name if name.endswith(".py") else name.replace(".", "/") + ".py") for name in named]
    assert not [path for path in paths if not path.exists()]


def test_the_design_names_files_that_exist():
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    trees = re.findall(r"^### (\w+/)\n```\n(.*?)```", text, re.MULTILINE | re.DOTALL)
    named = [folder + line.split()[0] for folder, lines in trees for line in lines.splitlines()]
    assert len(trees) == len(PACKAGES)
    assert not [name for name in named if not (ROOT / name).exists()]
