"""GET /models, /embeddings, /experiment/models."""

from __future__ import annotations

import base64
import io
import json
import struct

import pytest
from PIL import Image


@pytest.fixture
def loras(stand):
    folder = stand.base / "models" / "loras"
    folder.mkdir(parents=True)
    return folder


async def test_kinds(stand):
    kinds = await (await stand.get("/models")).json()
    assert {"checkpoints", "loras", "text_encoders", "diffusion_models"} <= set(kinds)
    assert not {"clip", "unet"} & set(kinds)


async def test_files_of_a_kind(stand, loras):
    (loras / "s").mkdir()
    for name in ("b.safetensors", "s/a.pt", "readme.md"):
        (loras / name).touch()
    assert await (await stand.get("/api/models/loras")).json() == ["b.safetensors", "s/a.pt"]


@pytest.mark.parametrize("name", ["unknown", "clip", "unet"])
async def test_unknown_kind_is_404(stand, name):
    assert (await stand.get(f"/models/{name}")).status == 404
    assert (await stand.get(f"/experiment/models/{name}")).status == 404


async def test_embeddings_have_no_ending(stand):
    folder = stand.base / "models" / "embeddings"
    folder.mkdir()
    (folder / "easy.neg.pt").touch()
    assert await (await stand.get("/embeddings")).json() == ["easy.neg"]


async def test_model_browser_leaves_configs_out(stand):
    shown = await (await stand.get("/experiment/models")).json()
    names = {entry["name"] for entry in shown}
    assert "loras" in names
    assert not {"configs", "custom_nodes"} & names


async def test_details(stand, loras):
    (loras / "a.pt").write_bytes(b"xyz")
    (entry,) = await (await stand.get("/experiment/models/loras")).json()
    assert (entry["name"], entry["pathIndex"], entry["size"]) == ("a.pt", 0, 3)
    assert isinstance(entry["modified"], float)


async def cover(stand, path="loras/0/a.safetensors"):
    answer = await stand.get(f"/experiment/models/preview/{path}")
    return answer.status, Image.open(io.BytesIO(await answer.read())) if answer.status == 200 else None


@pytest.mark.parametrize("name", ["a.png", "a.preview.png"])
async def test_cover_beside_the_model(stand, loras, make_png, name):
    (loras / name).write_bytes(make_png((6, 5)))
    status, image = await cover(stand)
    assert (status, image.format, image.size) == (200, "WEBP", (6, 5))


async def test_cover_in_the_metadata(stand, loras, make_png):
    covers = json.dumps([base64.b64encode(make_png((6, 5))).decode()])
    header = json.dumps({"__metadata__": {"ssmd_cover_images": covers}}).encode()
    (loras / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    status, image = await cover(stand)
    assert (status, image.size) == (200, (6, 5))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("loras/0/a.safetensors", 404),
        ("loras/9/a.safetensors", 404),
        ("loras/x/a.safetensors", 400),
        ("unknown/0/a.safetensors", 404),
        ("loras/0/..%2F..%2Fa.safetensors", 403),
    ],
)
async def test_cover_that_cannot_be_had(stand, path, status):
    assert (await cover(stand, path))[0] == status
