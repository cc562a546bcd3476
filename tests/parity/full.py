"""Compares full-size random models: full_sd15_parts in this process, full_sd15 and full_svd on a real server.

Needs the random files (numeric README, "Full model"), which are made once: gigabytes, minutes.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import requests
import torch
from PIL import Image
from safetensors.torch import load
from torch import Tensor

from executor.inference.checkpoint import Checkpoint, load_checkpoint
from executor.inference.devices import CPU
from executor.inference.lora import apply_lora
from executor.inference.memory import Memory
from executor.inference.weights import read_weights
from tests.full.random_checkpoint import write_random_checkpoint
from tests.parity.recording import SHIPPED, Check, Figure, Recording, absolute, relative
from tests.serving import serving

RELATIVE = 1e-3
DECODED = 2e-3
LEVELS = 2.0
PATIENCE_S = 1800
KINDS = {"ckpt_name": "checkpoints", "lora_name": "loras", "control_net_name": "controlnet"}
CACHE = Path(__file__).parents[2] / ".cache" / "full"


def random_file(name: str) -> Path:
    """A random model file `LAYOUT_random.safetensors`, made when it is not there yet."""
    folder = Path(os.environ.get("WEFT_FULL_DIR", CACHE))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    if not path.exists():
        part = path.with_suffix(".part")
        write_random_checkpoint(name.removesuffix("_random"), part)
        part.replace(path)
    return path


def prepared(recording: Recording) -> closing[Iterator[Check]]:
    """Every case of full-size files; what the cases of one file need is let go before those of the next."""
    return closing(checks(recording))


def checks(recording: Recording) -> Generator[Check]:
    """Every case; a server starts when the first case of its file is compared and ends after the last."""
    parts = Parts(recording)
    for name in recording.cases("full_sd15_parts"):
        yield Check(file="full_sd15_parts", name=name, measure=partial(parts.measure, name))
    parts.close()
    for file in ("full_sd15", "full_svd"):
        with ExitStack() as stack:
            workflows = Workflows(recording, file, stack)
            for name in recording.cases(file):
                yield Check(file=file, name=name, measure=partial(workflows.measure, name))


class Parts:
    """The parts of the random SD1.5 model, loaded for the first case."""

    def __init__(self, recording: Recording) -> None:
        self.recording, self.cases = recording, recording.cases("full_sd15_parts")

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The model, weights in float32."""
        folders = [random_file("embedding_sd15_random").parent]
        return load_checkpoint(random_file("sd15_random"), Memory(CPU), embedding_folders=folders)

    def close(self) -> None:
        """Let the model go."""
        vars(self).pop("checkpoint", None)

    def recorded(self, name: str) -> Tensor:
        """A recorded tensor, in float32."""
        return self.recording.tensor("full_sd15_parts", name).float()

    def measure(self, name: str) -> Iterator[Figure]:
        """One part."""
        return {"text": self.text, "unet": self.network, "vae": self.autoencoder}[name.split("/")[0]](name)

    def text(self, name: str) -> Iterator[Figure]:
        """A text's embedding and pooled vector, every seventh token."""
        case, clip = self.cases[name], self.checkpoint.clip.clone()
        if (layer := case.get("stop_at_clip_layer")) is not None:
            clip.clip_layer(layer)
        if (strength := case.get("lora_strength_clip")) is not None:
            lora = read_weights(random_file("lora_sd15_random"))
            clip = apply_lora(lora, self.checkpoint.model, clip, 0.0, strength)[1]
        [[embedding, condition]] = clip.encode(case["text"])
        yield relative("cond", embedding[:, ::7], self.recorded(f"{name}/cond"), RELATIVE)
        yield relative("pooled", condition["pooled_output"], self.recorded(f"{name}/pooled"), RELATIVE)

    def network(self, name: str) -> Iterator[Figure]:
        """One call of the network, with a LoRA where the case has a strength."""
        case, model = self.cases[name], self.checkpoint.model
        if (strength := case.get("strength_model")) is not None:
            lora = read_weights(random_file("lora_sd15_random"))
            model, _ = apply_lora(lora, model, self.checkpoint.clip, strength, 0.0)
        context = self.checkpoint.clip.encode(self.cases["text/cat"]["text"])[0][0]
        sigma = case["sigma"]
        x = self.recorded("unet/x") * (1 + sigma**2) ** 0.5
        model.load(x.shape)
        denoised = model.model.apply(x, torch.tensor([sigma]), context=context)
        yield relative("denoised", denoised, self.recorded(f"{name}/denoised"), RELATIVE)
        if strength is None:
            yield relative("eps", (x - denoised) / sigma, self.recorded(f"{name}/eps"), RELATIVE)
        else:
            weights = model.model.part.module.state_dict()
            attention = weights["middle_block.1.transformer_blocks.0.attn2.to_k.weight"][:8, :32]
            residual = weights["middle_block.0.in_layers.2.weight"][:4, :4]
            yield relative("attention", attention, self.recorded("lora/middle_attn2_to_k[:8,:32]"), RELATIVE)
            yield relative("residual", residual, self.recorded("lora/middle_resnet0_conv1[:4,:4]"), RELATIVE)

    def autoencoder(self, name: str) -> Iterator[Figure]:
        """Pictures to latents, and latents to pictures, at once or in tiles."""
        case, vae = self.cases[name], self.checkpoint.vae
        match name:
            case "vae/encode":
                yield relative(
                    "encoded", vae.encode(self.recorded("vae/pixels")), self.recorded("vae/encoded"), RELATIVE
                )
            case "vae/decode":
                found = vae.decode(self.recorded("vae/latent"))[:, ::2, ::2]
                yield absolute("decoded", found, self.recorded("vae/decoded"), DECODED)
            case "vae/decode_tiled":
                tile, shared = case["tile_size"] // 8, case["overlap"] // 8
                found = vae.decode_tiled(self.recorded("vae/latent_tiled"), tile, tile, shared)[:, ::3, ::3]
                yield absolute("decoded", found, self.recorded("vae/decoded_tiled"), DECODED)
            case _:
                raise LookupError(f"no comparison knows {name!r}")


class Workflows:
    """The recorded workflows of a file, posted to a server as any client would."""

    def __init__(self, recording: Recording, file: str, stack: ExitStack) -> None:
        self.recording, self.file, self.stack = recording, file, stack
        self.cases = recording.cases(file)

    @cached_property
    def url(self) -> str:
        """A server whose folders hold the files that the workflows name, started at the first look."""
        base = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="weft-parity-")))
        nodes = [node for case in self.cases.values() for node in case["workflow"].values()]
        wanted = {(KINDS[key], str(value)) for n in nodes for key, value in n["inputs"].items() if key in KINDS}
        named = re.findall(r"embedding:(\w+)", " ".join(str(node["inputs"].get("text", "")) for node in nodes))
        wanted |= {("embeddings", f"{name}.safetensors") for name in named}
        for kind, name in sorted(wanted):
            folder = base / "models" / kind
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(random_file(name.removesuffix(".safetensors")))
        pictures = self.recording.folder / "h_inputs"
        shutil.copytree(pictures if pictures.exists() else SHIPPED / "h_inputs", base / "input")
        return self.stack.enter_context(serving(base, "--cpu", "--cache-lru", "20"))

    def measure(self, name: str) -> Iterator[Figure]:
        """Saved latents and pixels of a workflow."""
        latent, pixels = draw(self.url, self.cases[name]["workflow"])
        yield relative("latent", latent, self.recording.tensor(self.file, f"{name}/latent"), RELATIVE)
        yield absolute("image", pixels.int(), self.recording.tensor(self.file, f"{name}/image").int(), LEVELS)


def draw(url: str, workflow: object) -> tuple[Tensor, Tensor]:
    """Post a workflow, wait for it, download the saved latent and the pixels of the pictures."""
    answer = requests.post(f"{url}/prompt", json={"prompt": workflow}, timeout=60)
    if answer.status_code != 200:
        raise RuntimeError(f"refused: {answer.text}")
    done = wait(url, answer.json()["prompt_id"])
    found: dict[str, Any] = {kind: items for output in done["outputs"].values() for kind, items in output.items()}
    [latents, *pictures] = [
        requests.get(f"{url}/view", params=item, timeout=60).content for item in found["latents"] + found["images"]
    ]
    pixels = [np.asarray(Image.open(BytesIO(data)).convert("RGB")) for data in pictures]
    return load(latents)["latent_tensor"], torch.from_numpy(np.stack(pixels))


def wait(url: str, prompt_id: str) -> dict[str, Any]:
    """The history of a prompt once it has ended well."""
    deadline = time.monotonic() + PATIENCE_S
    while not (entry := requests.get(f"{url}/history/{prompt_id}", timeout=60).json()):
        if time.monotonic() > deadline:
            raise TimeoutError("the prompt takes too long")
        time.sleep(0.2)
    done: dict[str, Any] = entry[prompt_id]
    if not done["status"]["completed"]:
        raise RuntimeError(str(done["status"]["messages"][-1]))
    return done
