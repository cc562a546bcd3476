"""Packs that use the host's modules the way the popular ones do (reference/custom_node_surface.md), over HTTP."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.packs.client import Client, node

DEMO = Path(__file__).parents[2] / "models" / "checkpoints" / "weft-demo.safetensors"


@pytest.fixture
def model_nodes(packs_base: Path) -> dict[str, object]:
    """The nodes before a sampling with the demo's checkpoint."""
    folder = packs_base / "models" / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(DEMO, folder / "compat.safetensors")
    return {
        "model": node("CheckpointLoaderSimple", ckpt_name="compat.safetensors"),
        "pos": node("CLIPTextEncode", clip=["model", 1], text="a red circle"),
        "neg": node("CLIPTextEncode", clip=["model", 1], text=""),
        "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
    }


def sampling(class_type: str, sampler: str, scheduler: str) -> dict[str, object]:
    sides = {"positive": ["pos", 0], "negative": ["neg", 0]}
    return node(
        class_type, model=["model", 0], latent=["latent", 0], sampler_name=sampler, scheduler=scheduler, **sides
    )


def ksampler(sampler: str, scheduler: str) -> dict[str, object]:
    sides = {"positive": ["pos", 0], "negative": ["neg", 0], "latent_image": ["latent", 0]}
    numbers = {"seed": 3, "steps": 4, "cfg": 3.0, "denoise": 1.0}
    return node("KSampler", model=["model", 0], sampler_name=sampler, scheduler=scheduler, **sides, **numbers)


async def difference(
    client: Client, model_nodes: dict[str, object], a: dict[str, object], b: dict[str, object]
) -> float:
    prompt = {**model_nodes, "a": a, "b": b, "out": node("CompatDifference", a=["a", 0], b=["b", 0])}
    ran = await client.run(prompt)
    assert ran.ok, ran.error
    return ran.outputs["out"]["difference"][0]


async def test_a_pack_samples_as_the_built_in_node_does(client: Client, model_nodes: dict[str, object]):
    assert (
        await difference(client, model_nodes, ksampler("euler", "normal"), sampling("CompatSample", "euler", "normal"))
        == 0
    )


async def test_a_packs_method_is_a_sampler_of_the_built_in_node(client: Client, model_nodes: dict[str, object]):
    theirs = ksampler("compat_euler", "normal")
    assert await difference(client, model_nodes, theirs, ksampler("euler", "normal")) == 0


async def test_a_packs_schedule_is_one_of_the_built_in_node(client: Client, model_nodes: dict[str, object]):
    theirs = sampling("CompatSample", "euler", "compat_flat")
    assert await difference(client, model_nodes, ksampler("euler", "compat_flat"), theirs) == 0


async def test_a_guider_with_a_guidance_of_its_own(client: Client, model_nodes: dict[str, object]):
    theirs = sampling("CompatGuided", "dpmpp_2m", "karras")
    assert await difference(client, model_nodes, ksampler("dpmpp_2m", "karras"), theirs) < 1e-5


async def test_a_wrapped_previewer_is_asked(client: Client, model_nodes: dict[str, object]):
    ran = await client.run(
        {
            **model_nodes,
            "k": ksampler("euler", "simple"),
            "v": node("VAEDecode", samples=["k", 0], vae=["model", 2]),
            "p": node("CompatPreview", images=["v", 0]),
        }
    )
    assert ran.ok, ran.error
    assert ran.outputs["p"]["images"][0]["type"] == "temp"
    assert "Latent2RGBPreviewer" in await client.get("/compat_video/seen")


async def test_frames_are_loaded_and_saved(client: Client, packs_base: Path):
    folder = packs_base / "input" / "compat_frames"
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(3):
        Image.new("RGB", (20, 10 + index), (index, 0, 0)).save(folder / f"{index}.png")
    load = node("CompatLoadFolder", directory="compat_frames", width=8, format="plain.json", undeclared=1)
    ran = await client.run({"1": load, "2": node("CompatSaveFrames", images=["1", 0], prefix="compat/frames")})
    assert ran.ok, ran.error
    assert ran.outputs["2"]["gifs"][0] == {
        "filename": "frames_00001.json",
        "subfolder": "compat",
        "type": "output",
        "format": "x/json",
    }
    assert [step["value"] for step in ran.of("progress")] == [1, 2, 3]
    assert (
        packs_base / "output" / "compat" / "frames_00001.json"
    ).read_text() == '{"frames": [3, 8, 8, 3], "nodes": ["1", "2"]}'


async def test_names_of_loaders(client: Client):
    ran = await client.run({"1": node("CompatPowerLora", text="x", lora="None", lora_1="{}")})
    assert ran.ok, ran.error
    told = {"port": 0, "preview": False, "most": 16384, "loader": True, "kinds": "FLUX", "more": ["lora_1"]}
    assert ran.outputs["1"]["told"] == [told]


async def test_picture_tools(client: Client):
    image = node("EmptyImage", width=40, height=24, batch_size=1, color=0x336699)
    ran = await client.run({"1": image, "2": node("CompatDetect", image=["1", 0], scale=2)})
    assert ran.ok, ran.error
    told = {
        "steps": [6, 6],
        "shape": [1, 3, 48, 80],
        "same": True,
        "renamed": {"c.w": 1},
        "attr": [3, 7],
        "device": "cpu",
        "bytes": 36,
    }
    assert ran.outputs["2"]["told"] == [told]


async def test_kinds_of_model_that_a_pack_brings(client: Client, packs_base: Path):
    folder = packs_base / "models" / "compat_sams" / "sub"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "b.pth").write_bytes(b"x")
    (folder / "b.txt").write_bytes(b"x")
    info = (await client.get("/object_info/CompatSam"))["CompatSam"]["input"]["required"]
    assert info == {"model": [["sub/b.pth"]], "lora": [["None"]]}
    assert {"compat_sams", "compat_adapters"} <= set(await client.get("/models"))
    ran = await client.run({"1": node("CompatSam", model="sub/b.pth", lora="None")})
    assert ran.outputs["1"]["path"] == ["compat_sams/sub/b.pth"]
    (folder / "c.pth").write_bytes(b"x")
    assert (await client.run({"1": node("CompatSam", model="sub/c.pth", lora="None")})).ok
    status, answer = await client.submit({"1": node("CompatSam", model="gone.pth", lora="None")})
    assert status == 400
    assert answer["node_errors"]["1"]["errors"][0]["type"] == "value_not_in_list"


async def test_a_folder_put_before_the_loras_is_searched_by_the_front(client: Client, packs_base: Path):
    folder = packs_base / "models" / "compat_loras"
    folder.mkdir(exist_ok=True)
    (folder / "own.safetensors").write_bytes(b"x")
    assert "own.safetensors" in await client.get("/models/loras")


async def test_what_is_lacking_imports_and_is_told(client: Client):
    ran = await client.run({"1": node("CompatLacking", use="nothing")})
    assert ran.outputs["1"]["told"] == [False, True, 3]
    report = next(row for row in await client.get("/weft/packs") if row["name"] == "compat_lacking")
    assert report["state"] == "loaded"
    assert {"comfy.ldm.lumina.model.JointTransformerBlock", "comfy_extras.nodes_nothing.NothingAtAll"} <= set(
        report["missing"]
    )


@pytest.mark.parametrize(
    ("use", "name"),
    [
        ("class", "comfy.ldm.lumina.model.JointTransformerBlock"),
        ("function", "comfy.ldm.lightricks.model.precompute_freqs_cis"),
        ("node", "comfy_extras.nodes_nothing.NothingAtAll"),
        ("attribute", "comfy.text_encoders.CONFIGS"),
    ],
)
async def test_using_what_is_lacking_names_it(client: Client, use: str, name: str):
    ran = await client.run({"1": node("CompatLacking", use=use)})
    assert ran.error["exception_message"].startswith(f"needs {name}, not provided by Weft")
