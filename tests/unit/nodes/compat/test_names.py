"""Every name that many packs import is there and of the kind that they use (reference/custom_node_surface.md)."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator
from pathlib import Path

from executor.inference.seams import Seam
from nodes.placeholders import Missing
from tests.unit.nodes.compat.conftest import COMPAT, Host

DATA = Path(__file__).parents[3] / "data" / "compat_names.json"


def kind_of(value: object) -> str:
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType | Seam):
        return "function"
    return "EnumType" if type(value).__name__ in ("EnumMeta", "EnumType") else type(value).__name__


def wrong_kinds(host: Host) -> Iterator[str]:
    wanted = json.loads(DATA.read_text())
    for module, kinds in wanted.items():
        for kind, names in kinds.items():
            for name in names:
                found = getattr(host(module), name, None)
                plain = kind == "type" and isinstance(found, type) and not isinstance(found, Missing)
                if not plain and kind_of(found) != kind:
                    yield f"{module}.{name}: {kind_of(found)} instead of {kind}"


def test_every_name_is_there_and_of_its_kind(host: Host):
    assert list(wrong_kinds(host)) == []


def modules_here() -> set[str]:
    paths = [path.relative_to(COMPAT) for path in COMPAT.rglob("*.py")]
    names = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths}
    return {name for name in names if not name.startswith(("comfy_api.", "comfy_execution."))}


def test_the_readme_tells_every_module_and_no_other():
    text = (COMPAT / "README.md").read_text()
    table = text.partition("## Files")[2].partition("##")[0]
    assert set(re.findall(r"^\| `([\w.]+)` \|", table, re.M)) == modules_here()


def test_the_readme_tells_every_seam(host: Host):
    from executor.inference.seams import SEAMS

    for name in (
        "comfy.samplers",
        "comfy.supported_models",
        "latent_preview",
        "comfy.lora",
        "comfy.ldm.modules.attention",
    ):
        host(name)
    table = (COMPAT / "README.md").read_text().partition("## Functions that packs replace")[2].partition("##")[0]
    told = {name.removeprefix("comfy.") for name in re.findall(r"^\| `([\w.]+)` \|", table, re.M)}
    assert told == set(SEAMS)


def test_every_module_is_reached_from_the_package(host: Host):
    comfy = host("comfy")
    assert comfy.k_diffusion.sampling.to_d is host("comfy.k_diffusion.sampling").to_d
    assert comfy.ldm.modules.attention is host("comfy.ldm.modules.attention")
