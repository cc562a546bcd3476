"""Qwen2.5-VL against transformers' own (Apache-2.0), with all weights random, and the files that it comes in."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import Qwen2_5_VLModel

from executor import context
from executor.context import InterruptFlag
from executor.errors import Interrupted, ModelFileError, NodeInputError
from executor.inference.memory import Memory
from executor.inference.text.kinds import QWEN_IMAGE
from executor.inference.text.qwen_encoder import QwenTextEncoder
from executor.inference.text.qwen_file import build_qwen, qwen_prefix
from executor.inference.weights import WeightFile
from tests.tiny_checkpoint import random_tensors
from tests.tiny_qwen import text_shapes, vision_shapes
from tests.transformers_qwen import patches, their_qwen

ROWS, WIDTH, PICTURE = 60, 384, 55


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """Random weights: three heads of queries for one of keys, and norms away from 1."""
    shapes = text_shapes(WIDTH, layers=3, heads=3, key_heads=1, rows=ROWS) | vision_shapes(out=WIDTH)
    return random_tensors({"": shapes}, torch.float32)


@pytest.fixture(scope="module")
def theirs(tensors) -> Qwen2_5_VLModel:
    """transformers' model with the same weights."""
    return their_qwen(tensors, layers=3, heads=3, picture=PICTURE)


def built(tensors: dict[str, Tensor], prefix: str = ""):
    file = WeightFile(path=Path("qwen.safetensors"), tensors={prefix + name: t for name, t in tensors.items()})
    return build_qwen(file, prefix)


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.fixture(scope="module")
def ids() -> Tensor:
    """Two texts."""
    return torch.randint(0, PICTURE, (2, 90), generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def test_it_computes_as_transformers_does(tensors, theirs, ids):
    module = built(tensors, "text_encoders.qwen25_7b.transformer.").module
    found = module(module.model.embed_tokens(ids)).hidden
    assert relative(found, theirs(input_ids=ids).last_hidden_state) < 1e-5


@torch.no_grad()
def test_earlier_layers_go_through_the_final_norm(tensors, theirs, ids):
    module = built(tensors).module
    vectors = module.model.embed_tokens(ids)
    hidden = theirs(input_ids=ids, output_hidden_states=True).hidden_states
    assert relative(module(vectors, layer=-2).hidden, theirs.language_model.norm(hidden[-2])) < 1e-5
    assert torch.equal(module(vectors, layer=-1).hidden, module(vectors).hidden)


@torch.no_grad()
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (4, 8), (5, 7), (9, 3)])
def test_it_sees_pictures_as_transformers_does(tensors, theirs, rows, columns):
    pixels = torch.rand(1, 3, 28 * rows, 28 * columns, generator=torch.Generator().manual_seed(rows))
    grid = torch.tensor([[1, 2 * rows, 2 * columns]])
    wanted = theirs.visual(patches(pixels), grid_thw=grid).pooler_output
    assert relative(built(tensors).module.visual(pixels), wanted) < 1e-5


@torch.no_grad()
def test_pictures_stand_among_the_words_as_in_transformers(tensors, theirs):
    generator = torch.Generator().manual_seed(5)
    pictures = [torch.rand(1, 84, 140, 3, generator=generator), torch.rand(1, 56, 84, 3, generator=generator)]
    row = [3, 4, 5, pictures[0], 6, pictures[1], 7, 8]
    encoder = QwenTextEncoder(kind=QWEN_IMAGE, part=built(tensors))
    ids, kinds = [3, 4, 5, *[PICTURE] * 15, 6, *[PICTURE] * 6, 7, 8], [0] * 3 + [1] * 15 + [0] + [1] * 6 + [0] * 2
    wanted = theirs(
        input_ids=torch.tensor([ids]),
        mm_token_type_ids=torch.tensor([kinds]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        pixel_values=torch.cat([patches(each.movedim(-1, 1)) for each in pictures]),
        image_grid_thw=torch.tensor([[1, 6, 10], [1, 4, 6]]),
    ).last_hidden_state
    assert relative(encoder.encode_chunks([row]).hidden, wanted) < 1e-5


@torch.no_grad()
def test_it_stops_between_layers_when_asked(tensors, ids):
    module, flag = built(tensors).module, InterruptFlag()
    module.model.layers[0].register_forward_hook(lambda *given: flag.set())
    module.model.layers[1].register_forward_hook(lambda *given: pytest.fail("it went on"))
    with context.entered(context.RunContext(interrupt=flag)), pytest.raises(Interrupted):
        module(module.model.embed_tokens(ids))


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        ("model.embed_tokens.weight", r"lacks model\.embed_tokens\.weight"),
        ("model.layers.1.mlp.up_proj.weight", r"lacks 1 tensors, such as model\.layers\.1\.mlp\.up_proj\.weight"),
        ("visual.merger.mlp.2.weight", r"lacks visual\.merger\.mlp\.2\.weight"),
    ],
)
def test_what_a_file_lacks_is_named(tensors, lacking, said):
    with pytest.raises(ModelFileError, match=said):
        built({name: tensor for name, tensor in tensors.items() if name != lacking})


def test_heads_that_cannot_be_shared_out_are_refused(tensors):
    odd = {**tensors, "model.layers.0.self_attn.k_proj.weight": torch.zeros(256, WIDTH)}
    with pytest.raises(ModelFileError, match="2 heads of keys for 3 heads"):
        built(odd)


def test_it_is_found_by_the_biases_of_its_keys(tensors):
    assert qwen_prefix({f"a.{name}": tensor for name, tensor in tensors.items()}) == "a."
    assert qwen_prefix({name: tensor for name, tensor in tensors.items() if not name.endswith("bias")}) is None


def test_a_file_without_what_sees_is_the_language_part_alone(tensors):
    part = built({name: tensor for name, tensor in tensors.items() if not name.startswith("visual.")})
    encoder = QwenTextEncoder(kind=QWEN_IMAGE, part=part)
    with pytest.raises(NodeInputError, match="sees no pictures"):
        encoder.encode_chunks([[1, torch.zeros(1, 28, 28, 3)]])


@torch.no_grad()
@pytest.mark.parametrize("scaled", [False, True])
def test_weights_of_8_bits_compute_what_rounded_ones_do(tensors, ids, scaled):
    eight, stored, meant = torch.float8_e4m3fn, dict(tensors), dict(tensors)
    for name, tensor in tensors.items():
        if tensor.ndim == 2 or not scaled:
            scale = tensor.abs().max() / 448 if scaled and "embed" not in name else torch.tensor(1.0)
            stored[name] = (tensor / scale).to(eight)
            meant[name] = stored[name].float() * scale
            if scaled:
                stored[name.replace(".weight", ".scale_weight")] = scale
    picture = torch.rand(1, 56, 84, 3, generator=torch.Generator().manual_seed(4))
    row = [*ids[0, :9].tolist(), picture, 3]
    found, wanted = [], []
    for kept, answers in ((stored, found), (meant, wanted)):
        part = built(kept)
        Memory(mode="cpu").load(part)
        answers.append(QwenTextEncoder(kind=QWEN_IMAGE, part=part).encode_chunks([row]).hidden)
    assert relative(found[0], wanted[0]) < 1e-4
