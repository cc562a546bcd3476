"""TAESD against diffusers' AutoencoderTiny, its files, and previews that are decoded by it."""

from __future__ import annotations

import logging

import pytest
import torch
from safetensors.torch import save_file

from executor import context
from executor.errors import ModelFileError
from executor.files import Folders
from executor.inference import latent_formats
from executor.inference.memory import Memory
from executor.inference.preview import LatentPreview, latent_pixels, preview_decoder
from executor.inference.sample import prepare_callback
from executor.inference.tiny_autoencoder import SCALES, approximate_vae, decoder, encoder
from executor.settings import Settings
from nodes.builtin.loaders import VAELoader
from nodes.builtin.services import services

WIDTH = 8


def weights(side, channels=4, width=WIDTH):
    """Random weights by the numbers of the layers."""
    torch.manual_seed(7)
    with torch.no_grad():
        module = (encoder if side == "encoder" else decoder)(width, channels)
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


class Place:
    """Services with folders of their own."""

    def __init__(self, base):
        self.settings = Settings(base_directory=base)
        self.folders = Folders(self.settings)
        self.memory = Memory(mode="cpu")
        self.approximate = self.folders.paths("vae_approx")[0]
        self.approximate.mkdir(parents=True)

    def write(self, name, channels=4):
        for side in ("encoder", "decoder"):
            save_file(weights(side, channels), self.approximate / f"{name}_{side}.safetensors")


@pytest.fixture
def place(tmp_path):
    here = Place(tmp_path)
    with context.entered(context.RunContext(services=here, previews=context.PreviewChoice("taesd"))):
        yield here


@pytest.fixture(scope="module")
def theirs():
    """diffusers' form of the same weights."""
    from diffusers import AutoencoderTiny

    sizes = {"encoder_block_out_channels": (WIDTH,) * 4, "decoder_block_out_channels": (WIDTH,) * 4}
    module = AutoencoderTiny(**sizes, num_encoder_blocks=(1, 3, 3, 3), num_decoder_blocks=(3, 3, 3, 1))
    tensors = {f"encoder.layers.{name}": tensor for name, tensor in weights("encoder").items()}
    for name, tensor in weights("decoder").items():  # it bends outside of its list of layers
        number, _, rest = name.partition(".")
        tensors[f"decoder.layers.{int(number) - 1}.{rest}"] = tensor
    module.load_state_dict(tensors)
    return module.eval()


@pytest.mark.parametrize("name", ["taesd", "taesdxl"])
def test_pictures_are_those_of_diffusers_autoencoder_tiny(place, theirs, name):
    place.write(name)
    vae, latent = approximate_vae(place.folders, name, place.memory), torch.randn(2, 4, 5, 6) * 4
    with torch.no_grad():
        wanted = theirs.decode(latent * SCALES[name].factor).sample
    found = vae.decode(latent)
    assert found.shape == (2, 40, 48, 3)
    torch.testing.assert_close(found, (wanted * 0.5 + 0.5).clamp(0, 1).movedim(1, -1), rtol=1e-4, atol=1e-5)


def test_latents_are_those_of_diffusers_autoencoder_tiny(place, theirs):
    place.write("taesd")
    vae, picture = approximate_vae(place.folders, "taesd", place.memory), torch.rand(1, 16, 24, 3)
    with torch.no_grad():
        wanted = theirs.encode(picture.movedim(-1, 1) * 2 - 1).latents / SCALES["taesd"].factor
    torch.testing.assert_close(vae.encode(picture), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["taesd3", "taef1"])
def test_latents_of_16_channels_are_shifted(place, name):
    place.write(name, channels=16)
    vae, scale = approximate_vae(place.folders, name, place.memory), SCALES[name]
    latent = torch.randn(1, 16, 2, 2)
    plain = vae.part.module.decoder((latent - scale.shift) * scale.factor)
    torch.testing.assert_close(vae.decode(latent), plain.clamp(0, 1).movedim(1, -1), rtol=1e-5, atol=1e-5)
    picture = torch.rand(1, 16, 16, 3)
    with torch.no_grad():
        inside = vae.part.module.encoder(picture.movedim(-1, 1))
    torch.testing.assert_close(vae.encode(picture), inside / scale.factor + scale.shift, rtol=1e-5, atol=1e-5)


def test_one_file_in_diffusers_names_serves_both_sides(place, theirs):
    for side in ("encoder", "decoder"):
        save_file(theirs.state_dict(), place.approximate / f"taesd_{side}.safetensors")
    vae, latent = approximate_vae(place.folders, "taesd", place.memory), torch.randn(1, 4, 2, 2)
    with torch.no_grad():
        wanted = theirs.decode(latent * SCALES["taesd"].factor).sample
    torch.testing.assert_close(vae.decode(latent), (wanted * 0.5 + 0.5).clamp(0, 1).movedim(1, -1))


# ---------------------------------------------------------------- files


def test_the_node_loads_it_by_name(place):
    place.write("taesdxl")
    [vae] = VAELoader().load_vae("taesdxl")
    assert vae.decode(torch.zeros(1, 4, 2, 2)).shape == (1, 16, 16, 3)
    assert vae.decode_tiled(torch.zeros(1, 4, 20, 20), 8, 8, 2).shape == (1, 160, 160, 3)
    assert services() is place


def test_a_missing_side_is_named(place):
    save_file(weights("decoder"), place.approximate / "taesd_decoder.safetensors")
    with pytest.raises(ModelFileError, match=r"taesd_encoder\.safetensors: is missing from models/vae_approx"):
        VAELoader().load_vae("taesd")


def test_another_network_is_refused(place):
    place.write("taesd")
    save_file({"lora_down.weight": torch.zeros(1, 1)}, place.approximate / "taesd_encoder.safetensors")
    with pytest.raises(ModelFileError, match="looks like a LoRA; TAESD's own encoder and decoder files"):
        VAELoader().load_vae("taesd")


def test_missing_layers_are_named(place):
    place.write("taesd")
    some = {name: tensor for name, tensor in weights("decoder").items() if not name.startswith("19.")}
    save_file(some, place.approximate / "taesd_decoder.safetensors")
    with pytest.raises(ModelFileError, match=r"lacks 2 tensors, such as decoder\.19\.weight"):
        VAELoader().load_vae("taesd")


# ---------------------------------------------------------------- previews


@pytest.mark.parametrize(
    ("latent_format", "name"),
    [
        (latent_formats.SD15, "taesd"),
        (latent_formats.SDXL, "taesdxl"),
        (latent_formats.SD3, "taesd3"),
        (latent_formats.FLUX, "taef1"),
    ],
    ids=["sd15", "sdxl", "sd3", "flux"],
)
def test_a_preview_is_decoded_from_the_networks_scale(place, latent_format, name):
    place.write(name, latent_format.channels)
    latent = torch.randn(2, latent_format.channels, 4, 6)
    vae = approximate_vae(place.folders, name, place.memory)
    picture = LatentPreview(latent=latent, latent_format=latent_format, decoder=preview_decoder(latent_format)).image()
    assert picture.size == (48, 32)
    with torch.no_grad():
        wanted = vae.part.module.decoder(latent[:1])[0].clamp(0, 1).mul(255).to(torch.uint8)
    found = torch.tensor(list(picture.tobytes()), dtype=torch.uint8).reshape(32, 48, 3)
    assert int((found.int() - wanted.movedim(0, -1).int()).abs().max()) <= 1


def test_playgrounds_latents_are_brought_to_sdxls_scale(place):
    place.write("taesdxl")
    latent_format, latent = latent_formats.PLAYGROUND_25, torch.randn(1, 4, 2, 2)
    raw = latent_format.process_out(latent)
    images = [
        LatentPreview(latent=given, latent_format=each, decoder=preview_decoder(each)).image().tobytes()
        for each, given in ((latent_format, latent), (latent_formats.SDXL, latent_formats.SDXL.process_in(raw)))
    ]
    differences = [abs(first - second) for first, second in zip(*images, strict=True)]
    assert max(differences) <= 1


def test_without_the_files_previews_show_colours_and_the_log_says_so(place, caplog):
    with caplog.at_level(logging.WARNING, logger="weft.inference"):
        assert preview_decoder(latent_formats.SD15) is None
    assert "taesd_decoder.safetensors: is missing" in caplog.text


def test_a_prompt_that_wants_colours_loads_no_decoder(place):
    place.write("taesd")
    with context.entered(context.RunContext(services=place, previews=context.PreviewChoice("auto"))):
        assert preview_decoder(latent_formats.SD15) is None


class Shown(context.SilentProgress):
    def advance(self, node_id, value, total, preview):
        self.preview = preview


class Model:
    latent_format = latent_formats.SD15


@pytest.mark.parametrize(("method", "size"), [("taesd", (32, 16)), ("latent2rgb", (4, 2))])
def test_a_sampling_shows_what_the_prompt_asks_for(place, method, size):
    place.write("taesd")
    shown, latent = Shown(), torch.randn(1, 4, 2, 4)
    with context.entered(context.RunContext(services=place, previews=context.PreviewChoice(method), sink=shown)):
        prepare_callback(Model(), 1)(0, latent, latent, 1)
    picture = shown.preview.image()
    assert picture.size == size
    assert (picture.tobytes() == latent_pixels(latent, Model.latent_format).numpy().tobytes()) is (method != "taesd")
