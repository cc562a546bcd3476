"""T5's encoder against transformers' own (Apache-2.0), with all weights random, and the files that it comes in."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import T5Config, T5EncoderModel

from executor import context
from executor.context import InterruptFlag
from executor.errors import Interrupted, ModelFileError
from executor.inference.memory import Memory
from executor.inference.text import t5_model
from executor.inference.text.t5_file import build_t5
from executor.inference.text.t5_model import Raised, distance_buckets
from executor.inference.weights import WeightFile
from tests.tiny_checkpoint import random_tensors
from tests.tiny_texts import t5_shapes

ROWS, WIDTH, LAYERS = 40, 24, 3
BIAS = "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight"


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """Random weights."""
    shapes = t5_shapes(WIDTH, layers=LAYERS, heads=3, inner=18, rows=ROWS)
    found = random_tensors({"": shapes}, torch.float32)
    return found | {BIAS.format(0): torch.randn(32, 3, generator=torch.Generator().manual_seed(1))}


@pytest.fixture(scope="module")
def theirs(tensors) -> T5EncoderModel:
    """transformers' encoder with the same weights."""
    config = T5Config(
        vocab_size=ROWS,
        d_model=WIDTH,
        d_kv=6,
        d_ff=2 * WIDTH,
        num_layers=LAYERS,
        num_heads=3,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    model = T5EncoderModel(config).eval()
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert (set(missing), unexpected) <= ({"encoder.embed_tokens.weight"}, [])
    model.encoder.embed_tokens.weight = model.shared.weight
    return model


def built(tensors: dict[str, Tensor], prefix: str = ""):
    file = WeightFile(path=Path("t5.safetensors"), tensors={prefix + name: t for name, t in tensors.items()})
    return build_t5(file, prefix)


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.fixture(scope="module")
def ids() -> Tensor:
    """Two texts that are longer than the farthest distance."""
    return torch.randint(2, ROWS, (2, 300), generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def test_it_computes_as_transformers_does(tensors, theirs, ids):
    module = built(tensors, "text_encoders.t5xxl.transformer.").module
    found = module(module.shared(ids)).hidden
    assert relative(found, theirs(ids).last_hidden_state) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("masked", [False, True])
def test_the_scores_of_long_texts_are_made_by_parts(tensors, theirs, ids, monkeypatch, masked):
    monkeypatch.setattr(t5_model, "ROWS", 128)
    seen = torch.ones_like(ids, dtype=torch.bool)
    seen[0, 90:] = not masked
    module = built(tensors).module
    found = module(module.shared(ids), seen=seen if masked else None).hidden
    assert relative(found, theirs(ids, attention_mask=seen.long()).last_hidden_state) < 1e-5


@torch.no_grad()
def test_places_that_are_not_seen_do_not_count(tensors, theirs, ids):
    seen = torch.ones_like(ids, dtype=torch.bool)
    seen[0, 90:] = False
    module = built(tensors).module
    found = module(module.shared(ids), seen=seen).hidden
    assert relative(found, theirs(ids, attention_mask=seen.long()).last_hidden_state) < 1e-5


@torch.no_grad()
def test_a_layer_before_the_last_is_put_through_the_final_norm(tensors, theirs, ids):
    module = built(tensors).module
    states = theirs(ids, output_hidden_states=True).hidden_states
    for layer in (-2, -3):
        found = module(module.shared(ids), layer=layer).hidden
        assert relative(found, theirs.encoder.final_layer_norm(states[layer])) < 1e-5
    whole = module(module.shared(ids)).hidden
    for layer in (-1, -LAYERS - 1):
        assert torch.equal(module(module.shared(ids), layer=layer).hidden, whole)


@torch.no_grad()
def test_activations_beyond_sixteen_bits_stay_numbers(tensors, ids):
    """Weights in float16 compute in float32: what layers add up to does not overflow."""
    large = {name: tensor.half() for name, tensor in tensors.items()}
    large |= {name: tensor * 300 for name, tensor in large.items() if name.endswith(("wo.weight", "wi_1.weight"))}
    part = built(large)
    Memory(mode="cpu").load(part)
    found = part.module(part.module.shared(ids).float()).hidden
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    states = part.module.encoder.block[0](part.module.shared(ids).float(), Raised(torch.zeros(3, 599), None))
    assert states.abs().max() > torch.finfo(torch.float16).max


@torch.no_grad()
def test_it_stops_between_layers_when_asked(tensors, ids):
    module, flag = built(tensors).module, InterruptFlag()
    module.encoder.block[1].register_forward_hook(lambda *given: flag.set())
    module.encoder.block[2].register_forward_hook(lambda *given: pytest.fail("it went on"))
    with context.entered(context.RunContext(interrupt=flag)), pytest.raises(Interrupted):
        module(module.shared(ids))


def test_distances_fall_into_the_published_buckets():
    from transformers.models.t5.modeling_t5 import T5Attention

    way = torch.arange(-400, 400)
    wanted = T5Attention._relative_position_bucket(way, bidirectional=True, num_buckets=32, max_distance=128)
    assert torch.equal(distance_buckets(way, 32), wanted)


def test_the_table_may_have_its_other_name(tensors):
    renamed = {("encoder.embed_tokens.weight" if n == "shared.weight" else n): t for n, t in tensors.items()}
    assert torch.equal(built(renamed).module.shared.weight, tensors["shared.weight"])


OTHERS = {
    "T5 v1.0": (
        lambda given: {n.replace("wi_0", "wi"): t for n, t in given.items() if "wi_1" not in n},
        r"t5\.safetensors: is a T5 v1\.0 encoder, whose layers have no gates; the encoder of T5 v1\.1 fits here",
    ),
    "UMT5": (lambda given: given | {BIAS.format(1): given[BIAS.format(0)]}, r"is a UMT5 encoder, whose layers each"),
    "mT5": (
        lambda given: given | {"shared.weight": torch.empty(250112, WIDTH, device="meta")},
        r"is an mT5 encoder, whose vocabulary has 250112 tokens",
    ),
    "a part": (
        lambda given: {n: t for n, t in given.items() if "relative" not in n},
        r"its T5 text encoder lacks encoder\.block\.0\.layer\.0\.SelfAttention\.relative_attention_bias",
    ),
}


@pytest.mark.parametrize(("change", "reason"), OTHERS.values(), ids=OTHERS)
def test_other_encoders_are_refused_with_the_reason(tensors, change, reason):
    with pytest.raises(ModelFileError, match=reason):
        built(change(tensors))
