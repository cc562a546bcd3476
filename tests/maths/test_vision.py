"""Our picture tower against transformers' of the same weights."""

import pytest
import torch
from safetensors.torch import save_file

from executor.errors import ModelFileError
from executor.inference.memory import Memory
from executor.inference.vision import clip_preprocess, load_clip_vision
from tests.maths.recordings import error
from tests.maths.test_families import filled

BOUND = 1e-5
CPU = Memory(mode="cpu")


@pytest.fixture(scope="module")
def original():
    """transformers' vision model, every weight random."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=1,
        image_size=28,
        patch_size=7,
        projection_dim=16,
        hidden_act="gelu",
    )
    return filled(CLIPVisionModelWithProjection(config))


def open_clip(tensors):
    """The same weights under OpenCLIP's names."""
    renamed = {}
    tops = {
        "embeddings.class_embedding": "class_embedding",
        "embeddings.patch_embedding.weight": "conv1.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
    }
    layers = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    for name, tensor in tensors.items():
        bare = name.removeprefix("vision_model.")
        if bare in tops:
            renamed[f"visual.{tops[bare]}"] = tensor
        elif bare.startswith(("pre_layrnorm", "post_layernorm")):
            renamed["visual." + bare.replace("pre_layrnorm", "ln_pre").replace("post_layernorm", "ln_post")] = tensor
        elif name == "visual_projection.weight":
            renamed["visual.proj"] = tensor.T.contiguous()
        elif ".q_proj." in bare:
            kind = bare.rpartition(".")[2]
            joined = torch.cat([tensors[name.replace(".q_proj.", f".{part}_proj.")] for part in "qkv"])
            number = bare.split(".")[2]
            renamed[f"visual.transformer.resblocks.{number}.attn.in_proj_{kind}"] = joined
        elif ".k_proj." not in bare and ".v_proj." not in bare and bare.startswith("encoder.layers."):
            number, rest = bare.removeprefix("encoder.layers.").split(".", 1)
            rest = rest.replace("self_attn.out_proj", "attn.out_proj")
            for theirs, ours in layers.items():
                rest = rest.replace(theirs, ours)
            renamed[f"visual.transformer.resblocks.{number}.{rest}"] = tensor
    return renamed


@pytest.mark.parametrize("form", ["transformers", "OpenCLIP"])
def test_vectors_are_those_of_transformers(original, form, tmp_path):
    tensors = {name: tensor for name, tensor in original.state_dict().items() if not name.endswith("position_ids")}
    save_file(tensors if form == "transformers" else open_clip(tensors), tmp_path / "v.safetensors")
    vision = load_clip_vision(tmp_path / "v.safetensors", CPU)
    picture = torch.rand(2, 40, 56, 3)
    output = vision.encode_image(picture)
    with torch.no_grad():
        wanted = original(clip_preprocess(picture, 28), output_hidden_states=True)
    found = (
        error(output.image_embeds, wanted.image_embeds),
        error(output["last_hidden_state"], wanted.last_hidden_state),
        error(output.penultimate_hidden_states, wanted.hidden_states[-2]),
    )
    assert max(found) < BOUND


def test_pictures_are_cut_to_a_square_or_squeezed():
    picture = torch.zeros(1, 20, 60, 3)
    picture[:, :, 20:40] = 1
    cut, squeezed = clip_preprocess(picture, 20), clip_preprocess(picture, 20, crop=False)
    assert cut.shape == squeezed.shape == (1, 3, 20, 20)
    assert cut[0, 0].min() > 1.5
    assert squeezed[0, 0, :, 0].max() < -1.5


def test_another_file_is_no_vision_model(tmp_path):
    save_file({"decoder.up.0.block.0.conv1.weight": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelFileError, match=r"looks like a VAE without a diffusion model; a CLIP vision model"):
        load_clip_vision(tmp_path / "x.safetensors", CPU)
