"""Writes random, well-scaled, full-size SD1.5, SVD and SDXL files, the same bytes on every machine. Needs only numpy.

    python -m tests.full.random_checkpoint sd15 OUT.safetensors

Element i of tensor NAME is c * (2 * u_i - 65535) in float32, rounded to float16; u_i are the 16-bit words of numpy's
raw Philox stream keyed with sha256("LAYOUT:SEED:NAME"), c = sqrt(3) * std / 65535: a uniform law of standard deviation
std = gain / sqrt(fan-in) for matrices, 0.02 for biases; norm weights are 1 + 0.1 * uniform. An identity path from the
first convolution over the last skip connection to the last convolution makes sampling contract to ordinary latents.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import struct
import sys
from pathlib import Path

import numpy as np

Array = np.ndarray
KEYS = Path(__file__).parent / "random_checkpoint_keys.json.gz"
SEED = 0
SHA256 = {
    "sd15": "6c68ee42e0dbdd3e38f9b6a8ea01703264186ae8b8a2db8ebaf33c33c3539098",
    "embedding_sd15": "f28467dc193d506b6ab956d1aa77d781c1598c4b69cf9eeba723fa1aa981915d",
    "lora_sd15": "a323a0945cae5b2ed2cb18316b1d2a59054aa3b5195110b2161d403c5c946218",
    "controlnet_sd15": "597b35f4ab164eef9642aefa1ae55329dec2e4412565a0bc9a3d1f7a8df2599c",
}
SVD_SHA256 = "8f9ef7678d239cbedec3bf5d9d1018ffd2b9a7d74d7b50bb0862596b639cc053"  # of the layout svd_xt, 4.2 GiB
SDXL_SHA256 = "457692fc250b7849deffcda5fa4e3476677814c3eb02e672eab71d389bc0a68d"  # of the layout sdxl, 6.5 GiB
UNET = "model.diffusion_model."
LAST_OUTPUTS = {"sdxl": 8}  # the number of the last output block; 11 in the layouts of four levels
RESIDUAL_OUT = (
    "out_layers.3.weight",
    "proj_out.weight",
    "to_out.0.weight",
    "ff.net.2.weight",
    "ff_in.net.2.weight",
    "mlp.fc2.weight",
    "attn.out_proj.weight",
    "mlp.c_proj.weight",
    "conv2.weight",
)


def draw(layout: str, name: str, shape: list[int]) -> Array:
    """Odd whole numbers -65535..65535, uniform, as float32."""
    count = math.prod(shape)
    digest = hashlib.sha256(f"{layout}:{SEED}:{name}".encode()).digest()
    key = np.frombuffer(digest[:16], dtype="<u8")
    raw = np.random.Philox(key=key.astype(np.uint64)).random_raw((count + 3) // 4)
    words = np.asarray(raw, dtype="<u8").view("<u2")[:count]
    return (words.astype(np.float32) * np.float32(2) - np.float32(65535)).reshape(shape)


def scaled(numbers: Array, std: float) -> Array:
    """The numbers brought to a standard deviation."""
    return numbers * np.float32(math.sqrt(3.0) * std / 65535.0)


def is_norm(name: str) -> bool:
    """Whether a tensor is drawn as a norm's weight or bias."""
    ends = ("in_layers.0.weight", "out_layers.0.weight", f"{UNET}out.0.weight")
    layer = name.split(".")[-2]
    return "norm" in layer or layer.startswith("ln_") or name.endswith(ends)


def gain(name: str) -> float:
    """How much a matrix enlarges its input; little on the last layer of every residual branch."""
    if name.startswith("first_stage_model."):
        for end, value in (("encoder.conv_out.weight", 6.0), ("decoder.conv_out.weight", 0.6)):
            if name.endswith(end):
                return value
        if "decoder.conv_out.time_mix_conv" in name:
            return 0.6
    if "zero_convs." in name or "middle_block_out" in name:
        return 0.4
    if name.endswith(RESIDUAL_OUT):
        return 0.5
    return 1.3 if any(part in name for part in ("to_q.", "to_k.", "q_proj", "k_proj")) else 1.0


def values(layout: str, name: str, dtype: str, shape: list[int]) -> Array:
    """The contents of one tensor."""
    if dtype == "I64":
        return np.arange(math.prod(shape), dtype="<i8").reshape(shape)
    numbers = draw(layout, name, shape)
    if name.endswith(".alpha"):
        weight = np.full(shape, 2.0, np.float32)
    elif name.endswith("mix_factor"):
        weight = scaled(numbers, 0.5)
    elif ".lora_down." in name:
        weight = scaled(numbers, 1.0 / math.sqrt(math.prod(shape[1:])))
    elif ".lora_up." in name:
        weight = scaled(numbers, 0.25)
    elif "token_embedding" in name or name == "emb_params":
        weight = scaled(numbers, 1.0)
    elif any(part in name for part in ("position_embedding", "positional_embedding", "class_embedding")):
        weight = scaled(numbers, 0.3)
    elif is_norm(name):
        weight = np.float32(1) + scaled(numbers, 0.1) if name.endswith("weight") else scaled(numbers, 0.05)
    elif len(shape) <= 1:
        weight = scaled(numbers, 0.02)
    else:
        fan_in = shape[0] if name.endswith("visual.proj") else math.prod(shape[1:])
        weight = scaled(numbers, gain(name) / math.sqrt(fan_in))
    return np.ascontiguousarray(with_identity_path(layout, name, weight).astype("<f2"))


def with_identity_path(layout: str, name: str, weight: Array) -> Array:
    """Latent channel k is carried by the pairs of channels (2p, 2p + 1), p % 4 == k, with signs +1 and -1."""
    one = np.float32(1)
    if name == f"{UNET}input_blocks.0.0.weight":
        weight = weight * np.float32(0.1)
        for channel in range(len(weight)):
            weight[channel, (channel // 2) % 4, 1, 1] = one if channel % 2 == 0 else -one
    elif name == f"{UNET}output_blocks.{LAST_OUTPUTS.get(layout, 11)}.0.skip_connection.weight":
        weight[:, :320] *= np.float32(0.5)
        weight[:, 320:] *= np.float32(0.1)
        for channel in range(320):
            weight[channel, 320 + channel, 0, 0] = one
    elif name == f"{UNET}out.2.weight":
        weight = weight * np.float32(0.25)
        for channel in range(weight.shape[1]):
            sign = 1.0 if channel % 2 == 0 else -1.0
            weight[(channel // 2) % 4, channel, 1, 1] += np.float32(sign * 1.5 / 40.0)
    return weight


def header_of(tensors: list[tuple[str, str, list[int]]]) -> bytes:
    """The safetensors header of tensors in this order, with its length before it."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, dtype, shape in tensors:
        end = offset + math.prod(shape) * {"F16": 2, "I64": 8}[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def write_random_checkpoint(layout: str, path: Path) -> str:
    """Write the file of a layout; the answer is its SHA-256."""
    with gzip.open(KEYS, "rt") as file:
        tensors = json.load(file)[layout]
    digest = hashlib.sha256()
    with path.open("wb") as file:
        file.write(header := header_of(tensors))
        digest.update(header)
        for name, dtype, shape in tensors:
            part = values(layout, name, dtype, shape).tobytes()
            file.write(part)
            digest.update(part)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.stdout.write(write_random_checkpoint(sys.argv[1], Path(sys.argv[2])) + "\n")
