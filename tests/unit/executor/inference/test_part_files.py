"""Files that hold one part of a model, in the original names and diffusers', and folders of them."""

import json

import pytest
import torch
from safetensors.torch import save_file

from executor.errors import ModelFileError
from executor.inference.checkpoint import load_checkpoint, load_diffusion_model
from executor.inference.configuration import configured, read_configuration
from executor.inference.denoiser import VPrediction
from executor.inference.diffusers_folder import load_folder
from executor.inference.families.diffusers_unet import original_unet_names
from executor.inference.memory import Memory
from executor.inference.text.loading import load_text_encoder
from executor.inference.unet_names import diffusers_key, diffusers_names
from executor.inference.vae import load_vae, pixel_space
from tests.tiny_checkpoint import TEXT, UNET, VAE, TinySizes, tiny_tensors

CPU = Memory(mode="cpu")
SIZES = TinySizes(vocabulary=49408, widths=(16, 24, 24), attends=(True, True, False), layers=2)
VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


@pytest.fixture(scope="module")
def tensors():
    """A checkpoint's tensors."""
    return tiny_tensors(SIZES)


@pytest.fixture(scope="module")
def whole(tensors, tmp_path_factory):
    """The checkpoint, opened as such."""
    return load_checkpoint(saved(tmp_path_factory.mktemp("whole") / "whole.safetensors", tensors), CPU)


def below(tensors, prefix):
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def theirs(tensors):
    """A UNet's tensors in diffusers' names."""
    shape = load_shape(tensors)
    names = diffusers_names(shape)
    return {diffusers_key(name, names): tensor for name, tensor in below(tensors, UNET).items()}


def load_shape(tensors):
    from executor.inference.families.ldm_unet import read_unet_shape

    return read_unet_shape(below(tensors, UNET))


def vae_theirs(tensors):
    """A VAE's tensors in diffusers' names."""
    last, renamed = len(SIZES.vae_widths) - 1, {}
    for name, tensor in below(tensors, VAE).items():
        parts = name.replace("nin_shortcut", "conv_shortcut").replace("norm_out", "conv_norm_out").split(".")
        match parts:
            case [side, ("down" | "up") as way, level, "block", place, *rest]:
                level = str(last - int(level)) if way == "up" else level
                parts = [side, f"{way}_blocks", level, "resnets", place, *rest]
            case [side, ("down" | "up") as way, level, sampler, *rest]:
                level = str(last - int(level)) if way == "up" else level
                parts = [side, f"{way}_blocks", level, f"{sampler.removesuffix('e')}ers", "0", *rest]
            case [side, "mid", "attn_1", part, kind]:
                parts = [side, "mid_block", "attentions", "0", *VAE_ATTENTION[part].split("."), kind]
                tensor = tensor[:, :, 0, 0] if tensor.ndim == 4 else tensor
            case [side, "mid", block, *rest]:
                parts = [side, "mid_block", "resnets", str(int(block[-1]) - 1), *rest]
        renamed[".".join(parts)] = tensor.contiguous()
    return renamed


def saved(path, tensors):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path


def test_diffusers_names_lead_back_to_the_original_ones(tensors):
    renamed = theirs(tensors)
    originals = original_unet_names(renamed)
    assert {originals[name] for name in renamed} == set(below(tensors, UNET))
    assert all(renamed[name] is tensors[UNET + original] for name, original in originals.items())


@pytest.mark.parametrize("form", ["checkpoint", "bare", "diffusers"])
def test_a_diffusion_model_of_its_own_is_the_checkpoints(tensors, form, tmp_path):
    given = {"checkpoint": tensors, "bare": below(tensors, UNET), "diffusers": theirs(tensors)}[form]
    model = load_diffusion_model(saved(tmp_path / "net.safetensors", given), CPU)
    weights = model.model.part.weights
    assert model.family == "sd15"
    assert all(torch.equal(weights[name], tensor) for name, tensor in below(tensors, UNET).items())


def test_weights_are_rounded_to_eight_bits_if_asked(tensors, tmp_path):
    path = saved(tmp_path / "net.safetensors", below(tensors, UNET))
    model = load_diffusion_model(path, CPU, weight_dtype="fp8_e4m3fn")
    model.load()
    layer = model.model.diffusion_model.middle_block[1].proj_in
    assert layer.weight.dtype == torch.float8_e4m3fn
    with torch.no_grad():
        answer = model.model.apply(torch.randn(1, 4, 8, 8), torch.tensor([1.0]), context=torch.randn(1, 7, 32))
    assert bool(answer.isfinite().all())


def test_a_text_encoder_is_no_diffusion_model(tensors, tmp_path):
    path = saved(tmp_path / "clip.safetensors", {f"text_model.{k}": v for k, v in below(tensors, TEXT).items()})
    with pytest.raises(ModelFileError, match=r"looks like a CLIP text encoder; diffusion models of these families"):
        load_diffusion_model(path, CPU)


@pytest.mark.parametrize("prefix", ["text_model.", "cond_stage_model.transformer.text_model.", ""])
def test_a_text_encoder_of_its_own_reads_as_the_checkpoints(tensors, prefix, tmp_path, tiny):
    path = saved(tmp_path / "clip.safetensors", {prefix + k: v for k, v in below(tensors, TEXT).items()})
    clip = load_text_encoder([path], "stable_diffusion", CPU)
    assert set(clip.part.weights) == set(tiny.clip.part.weights)
    [[embedding, _]] = clip.encode("a circle")
    assert embedding.shape == (1, 77, 32)


def test_encoders_of_other_kinds_are_refused_by_name(tensors, tmp_path):
    path = saved(tmp_path / "clip.safetensors", {f"text_model.{k}": v for k, v in below(tensors, TEXT).items()})
    with pytest.raises(
        ModelFileError, match=r"text encoders for mochi are not supported yet; known types: stable_diff"
    ):
        load_text_encoder([path], "mochi", CPU)
    other = saved(tmp_path / "t5.safetensors", {"encoder.block.0.layer.0.SelfAttention.q.weight": torch.zeros(1)})
    with pytest.raises(ModelFileError, match=r"looks like a T5 text encoder; the CLIP-L text encoder"):
        load_text_encoder([other], "stable_diffusion", CPU)


@pytest.mark.parametrize("form", ["checkpoint", "bare", "diffusers"])
def test_a_vae_of_its_own_is_the_checkpoints(tensors, form, tmp_path, whole):
    given = {"checkpoint": tensors, "bare": below(tensors, VAE), "diffusers": vae_theirs(tensors)}[form]
    vae = load_vae(saved(tmp_path / "vae.safetensors", given), CPU)
    assert all(torch.equal(vae.part.weights[key], weight) for key, weight in whole.vae.part.weights.items())


def test_another_file_is_no_vae(tensors, tmp_path):
    with pytest.raises(ModelFileError, match=r"looks like a diffusion model without text encoder and VAE.*; a VAE of"):
        load_vae(saved(tmp_path / "vae.safetensors", below(tensors, UNET)), CPU)


def test_in_pixel_space_latents_are_pixels():
    vae, picture = pixel_space(CPU), torch.rand(1, 5, 7, 3)
    latent = vae.encode(picture)
    torch.testing.assert_close(latent, picture.movedim(-1, 1) * 2 - 1)
    torch.testing.assert_close(vae.decode(latent), picture)


def test_a_folder_of_diffusers_is_a_checkpoint(tensors, tmp_path, tiny):
    saved(tmp_path / "unet" / "diffusion_pytorch_model.safetensors", theirs(tensors))
    saved(tmp_path / "vae" / "diffusion_pytorch_model.safetensors", vae_theirs(tensors))
    text = {f"text_model.{k}": v for k, v in below(tensors, TEXT).items()}
    saved(tmp_path / "text_encoder" / "model.safetensors", text)
    checkpoint = load_folder(tmp_path, CPU)
    assert set(checkpoint.clip.part.weights) == set(tiny.clip.part.weights)
    assert checkpoint.model.family == "sd15"


def test_a_folder_whose_network_was_saved_in_pieces_is_read_whole(tensors, tmp_path, whole):
    network = theirs(tensors)
    middle = len(network) // 2
    for number, names in enumerate((list(network)[:middle], list(network)[middle:]), start=1):
        piece = {name: network[name] for name in names}
        saved(tmp_path / "unet" / f"diffusion_pytorch_model-0000{number}-of-00002.safetensors", piece)
    saved(tmp_path / "vae" / "diffusion_pytorch_model.safetensors", vae_theirs(tensors))
    text = {f"text_model.{k}": v for k, v in below(tensors, TEXT).items()}
    saved(tmp_path / "text_encoder" / "model.safetensors", text)
    found = load_folder(tmp_path, CPU).model.patched_weights()
    wanted = whole.model.patched_weights()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


TYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("ending", ["safetensors", "ckpt", "pth", "bin"])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_weights_of_every_type_compute_what_the_rounded_ones_do(tmp_path, dtype, ending):
    sizes = TinySizes(vocabulary=9, widths=(8,), attends=(True,), text_layers=1, vae_widths=(4, 4))
    rounded = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tiny_tensors(sizes).items()}
    path = tmp_path / f"x.{ending}"
    if ending == "safetensors":
        save_file(rounded, path)
    else:
        torch.save({"state_dict": rounded} if ending == "ckpt" else rounded, path)
    same = {name: t.float() if t.is_floating_point() else t for name, t in rounded.items()}
    answers = [answer_of(load_checkpoint(file, CPU)) for file in (path, saved(tmp_path / "y.safetensors", same))]
    for found, wanted in zip(*answers, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def answer_of(checkpoint):
    """What each part of a checkpoint makes of fixed inputs."""
    generator = torch.Generator().manual_seed(0)
    x, context = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 7, 32, generator=generator)
    checkpoint.model.load()
    with torch.no_grad():
        drawn = checkpoint.model.model.apply(x, torch.tensor([2.0]), context=context)
    tokens = {"l": [[(each, 1.0) for each in (1, 2, 3)]]}
    return drawn, checkpoint.clip.encode_tokens(tokens)[0][0], checkpoint.vae.decode(x)


def test_weights_of_eight_bits_with_scales_are_multiplied(tmp_path):
    sizes = TinySizes(vocabulary=9, widths=(8,), attends=(True,), text_layers=1, vae_widths=(4, 4))
    plain, key = tiny_tensors(sizes), "middle_block.1.proj_in.weight"
    stored = (plain[UNET + key].float() * 64).to(torch.float8_e4m3fn)
    scale = torch.tensor(1 / 64)
    tensors = {**plain, UNET + key: stored, f"{UNET}middle_block.1.proj_in.scale_weight": scale}
    found = load_diffusion_model(saved(tmp_path / "x.safetensors", tensors), CPU).patched_weights()[key]
    torch.testing.assert_close(found.float().flatten(), (stored.float() / 64).flatten(), rtol=1e-3, atol=0)


def test_a_folder_without_a_part_says_which(tmp_path):
    with pytest.raises(ModelFileError, match=r"has no unet/diffusion_pytorch_model\.safetensors; a folder that"):
        load_folder(tmp_path, CPU)


def test_a_configuration_sets_prediction_and_layer(tmp_path, tiny):
    parameters = {"parameterization": "v", "cond_stage_config": {"params": {"layer": "penultimate"}}}
    (tmp_path / "v.yaml").write_text(json.dumps({"model": {"params": parameters}}))
    changed = configured(tiny, read_configuration(tmp_path / "v.yaml"))
    assert isinstance(changed.model.model_sampling.prediction, VPrediction)
    assert (changed.clip.layer_idx, tiny.clip.layer_idx) == (-2, None)
    assert not isinstance(tiny.model.model_sampling.prediction, VPrediction)


def test_another_file_is_no_configuration(tmp_path):
    (tmp_path / "x.yaml").write_text("- 1\n")
    with pytest.raises(ModelFileError, match=r"x\.yaml: is no configuration"):
        read_configuration(tmp_path / "x.yaml")


def test_tiles_larger_than_the_picture_decode_as_the_whole(tiny):
    latent = torch.randn(1, 4, 4, 5)
    whole = tiny.vae.decode(latent)
    torch.testing.assert_close(tiny.vae.decode_tiled(latent, 16, 16, 2), whole, rtol=1e-4, atol=1e-4)
    assert tiny.vae.decode_tiled(latent, 4, 4, 1).shape == whole.shape


def test_tiles_larger_than_the_picture_encode_as_the_whole(tiny):
    pixels = torch.rand(1, 34, 40, 3)
    whole = tiny.vae.encode(pixels)
    torch.testing.assert_close(tiny.vae.encode_tiled(pixels, 128, 128, 16), whole, rtol=1e-4, atol=1e-4)
    assert tiny.vae.encode_tiled(pixels, 32, 32, 8).shape == whole.shape
