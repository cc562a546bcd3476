"""Which nodes of the reference are here, listed as there, and tested. Knows what tests call, not what they prove."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodes
from executor.contract import wire
from executor.files import Folders

TESTS = Path(__file__).parents[1]
REFERENCE = TESTS / "data" / "reference_nodes.json"
OWN_WORDS = {"tooltip", "description", "output_tooltips"}
GRAPHS = re.compile(r"\"class_type\":\s*\"([^\"]+)\"")
RECORDED = re.compile(r"(?:\"node\":\s*|\[)\"([^\"]+)\",\s*(?=\{|\"inputs\"|\"cfg)")
MODULES = frozenset(
    [
        "nodes",
        "custom_sampler",
        "images",
        "mask",
        "latent",
        "compositing",
        "post_processing",
        "rebatch",
        "upscale_model",
        "controlnet",
        "clip_sdxl",
        "flux",
        "sd3",
        "edit_model",
        "qwen",
        "cond",
        "model_advanced",
        "model_merging",
        "model_downscale",
        "freelunch",
        "hypertile",
        "tomesd",
        "pag",
        "sag",
        "perpneg",
        "slg",
        "video_model",
        "video",
        "webcam",
        "stable3d",
        "sdupscale",
        "ip2p",
        "differential_diffusion",
        "align_your_steps",
        "gits",
        "advanced_samplers",
        "cfg",
        "apg",
        "tcfg",
        "fresca",
        "mahiro",
        "eps",
        "optimalsteps",
        "hypernetwork",
        "photomaker",
        "attention_multiply",
        "lora_extract",
        "torch_compile",
        "easycache",
        "context_windows",
        "hooks",
        "morphology",
        "canny",
        "primitive",
        "string",
        "preview_any",
        "logic",
        "audio",
    ]
)
"""Modules that have to be whole, without `comfy_extras.nodes_` before them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One node of the reference."""

    name: str
    module: str
    present: bool
    equal: bool
    tested: bool

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        return self.present and self.equal and self.tested

    @property
    def counts(self) -> bool:
        """Whether its module has to be whole."""
        return self.module.removeprefix("comfy_extras.nodes_") in MODULES

    @property
    def missing(self) -> bool:
        """Whether something is missing that has to be here."""
        return self.counts and not self.whole


def without_own_words(value: Any) -> Any:
    """A listing without the texts for people."""
    if isinstance(value, dict):
        return {key: without_own_words(item) for key, item in value.items() if key not in OWN_WORDS}
    return [without_own_words(item) for item in value] if isinstance(value, list) else value


def digest(entry: object) -> str:
    """What a listing is compared by."""
    plain = json.loads(json.dumps(without_own_words(entry)))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def rows(folders: Folders, tested: Iterable[str]) -> list[Row]:
    """Every node of the reference, as it stands here."""
    registry, known = nodes.load(), set(tested)
    templates = registry.wire_templates()
    reference: Mapping[str, Mapping[str, str]] = json.loads(REFERENCE.read_text(encoding="utf-8"))
    return [
        Row(
            name=name,
            module=told["module"],
            present=name in templates,
            equal=name in templates and digest(wire.render(templates[name], folders)) == told["entry"],
            tested=name in templates and bool(known & {name, registry.get(name)[1].__name__}),
        )
        for name, told in reference.items()
    ]


def called_in_tests(root: Path = TESTS) -> set[str]:
    """Names of nodes and node classes that test files call, put into graphs, or that recorded calls are replayed of."""
    found: set[str] = set()
    for path in root.rglob("*.py"):
        if "inventory" not in path.parts:
            text = path.read_text(encoding="utf-8")
            found |= called(ast.parse(text)) | set(GRAPHS.findall(text))
    for path in (root / "data").rglob("*.json"):
        if path != REFERENCE and not path.name.startswith("object_info"):
            text = path.read_text(encoding="utf-8")
            found |= set(RECORDED.findall(text)) | set(GRAPHS.findall(text))
    return found


def called(tree: ast.AST) -> set[str]:
    """Names of what a file makes instances of or calls, words given to calls and cases, and values of graphs."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found |= names_of(node.func)
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            listed = "parametrize" in names_of(node.func)
            everything = [each for top in given for each in ast.walk(top)] if listed else given
            found |= words(everything)
            if listed:  # classes among the cases are what the test calls
                found |= {name for each in everything if isinstance(each, ast.expr) for name in names_of(each)}
        elif isinstance(node, ast.Dict):
            found |= words(node.values)
    return found


def words(values: Iterable[ast.AST | None]) -> set[str]:
    """The texts among values."""
    return {each.value for each in values if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def names_of(function: ast.expr) -> set[str]:
    """The name that is called, and that of the class whose method it is."""
    match function:
        case ast.Name(id=name):
            return {name}
        case ast.Attribute(value=owner, attr=name):
            return {name} | names_of(owner)
        case ast.Call(func=inner):
            return names_of(inner)
    return set()


def lines(found: Sequence[Row]) -> Iterator[str]:
    """Each node, then totals by module."""
    yes = {True: "yes", False: "-"}
    yield f"{'node':<40} {'module':<32} {'here':>5} {'entry':>6} {'tested':>7}"
    for row in sorted(found, key=lambda row: (not row.counts, row.module, row.name)):
        module = row.module.removeprefix("comfy_extras.") + ("" if row.counts else " *")
        yield f"{row.name:<40} {module:<32} {yes[row.present]:>5} {yes[row.equal]:>6} {yes[row.tested]:>7}"
    yield ""
    yield f"{'module':<40} {'nodes':>6} {'here':>5} {'entry':>6} {'tested':>7}"
    for module in sorted({row.module for row in found}):
        here = [row for row in found if row.module == module]
        mark = "" if any(row.counts for row in here) else " *"
        yield total(module.removeprefix("comfy_extras.") + mark, here)
    yield total("asked for", [row for row in found if row.counts])
    yield total("all (* not asked for yet)", found)


def total(name: str, found: Sequence[Row]) -> str:
    """One line of sums."""
    sums = sum(row.present for row in found), sum(row.equal for row in found), sum(row.tested for row in found)
    return f"{name:<40} {len(found):>6} {sums[0]:>5} {sums[1]:>6} {sums[2]:>7}"
