"""Texts, latents and pictures of different kinds: joined where that means something, else refused in words."""

import pytest
import torch

from executor.errors import NodeInputError
from nodes.builtin.compositing import LatentCompositeMasked
from nodes.builtin.conditioning import ConditioningAverage, ConditioningConcat
from nodes.builtin.latent import LatentBlend, LatentComposite, LatentCrop
from nodes.builtin.latent_batch import LatentAdd, LatentBatch, LatentConcat, LatentInterpolate, LatentSubtract
from nodes.builtin.post_processing import ImageBlend

WIDE, NARROW = [[torch.zeros(1, 4, 80), {}]], [[torch.zeros(1, 4, 32), {}]]
FOUR, SIXTEEN = {"samples": torch.zeros(1, 4, 8, 8)}, {"samples": torch.zeros(1, 16, 8, 8)}
VIDEO = {"samples": torch.zeros(1, 4, 3, 8, 8)}
SOUND = {"samples": torch.zeros(1, 64, 8)}
OF_TWO = {
    LatentAdd: (),
    LatentSubtract: (),
    LatentInterpolate: (0.5,),
    LatentBatch: (),
    LatentConcat: ("x",),
    LatentBlend: (0.5,),
    LatentComposite: (0, 0),
    LatentCompositeMasked: (0, 0, False),
}


def mix(node, first, second):
    given = (0.5,) if node is ConditioningAverage else ()
    return getattr(node(), node.FUNCTION)(first, second, *given)


@pytest.mark.parametrize("node", [ConditioningAverage, ConditioningConcat])
def test_texts_of_different_models_are_refused(node):
    with pytest.raises(NodeInputError, match=r"has width 80 and 'conditioning_from' 32.*Encode both with the same"):
        mix(node, WIDE, NARROW)


@pytest.mark.parametrize("node", [ConditioningAverage, ConditioningConcat])
def test_no_text_to_mix_in_is_refused(node):
    with pytest.raises(NodeInputError, match="'conditioning_from' is empty"):
        mix(node, WIDE, [])


@pytest.mark.parametrize("other", [SIXTEEN, VIDEO], ids=["channels", "frames"])
@pytest.mark.parametrize("node", OF_TWO)
def test_latents_of_different_kinds_are_refused(node, other):
    with pytest.raises(NodeInputError, match=r"come from models of different kinds and cannot be joined"):
        getattr(node(), node.FUNCTION)(FOUR, other, *OF_TWO[node])


def test_places_in_a_sound_are_refused():
    with pytest.raises(NodeInputError, match=r"works on pictures' latents"):
        LatentCrop().crop(SOUND, 64, 64, 0, 0)
    with pytest.raises(NodeInputError, match=r"works on pictures' latents"):
        LatentComposite().composite(SOUND, SOUND, 0, 0)


def test_a_picture_without_alpha_blends_into_one_with_it_as_opaque():
    below, above = torch.full((1, 4, 4, 4), 0.2), torch.full((1, 4, 4, 3), 0.6)
    [found] = ImageBlend().blend_images(below, above, 0.5, "normal")
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([0.4, 0.4, 0.4, 0.6]))
