"""Texts, latents and pictures of different kinds: joined where that means something, else refused in words."""

import pytest
import torch

from executor.errors import NodeInputError
from nodes.builtin.compositing import LatentCompositeMasked, PorterDuffImageComposite
from nodes.builtin.conditioning import ConditioningAverage, ConditioningConcat
from nodes.builtin.latent import LatentBlend, LatentComposite, LatentCrop, LatentFlip, LatentRotate
from nodes.builtin.latent_batch import (
    LatentAdd,
    LatentBatch,
    LatentConcat,
    LatentInterpolate,
    LatentSubtract,
    RebatchImages,
)
from nodes.builtin.mask_edit import MaskComposite
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


CLIP = {"samples": torch.rand(1, 4, 3, 8, 10, generator=torch.Generator().manual_seed(1))}
TO_SIZE = {LatentAdd: (), LatentSubtract: (), LatentInterpolate: (0.5,), LatentBatch: (), LatentBlend: (0.5,),
           LatentCompositeMasked: (0, 0, True)}  # fmt: skip


@pytest.mark.parametrize("node", TO_SIZE)
def test_a_video_of_another_size_is_brought_to_the_first_ones(node):
    smaller = {"samples": CLIP["samples"][..., :6, :]}
    (made,) = getattr(node(), node.FUNCTION)(CLIP, smaller, *TO_SIZE[node])
    assert made["samples"].shape[1:] == CLIP["samples"].shape[1:]


@pytest.mark.parametrize("node", TO_SIZE)
def test_videos_of_unlike_lengths_are_refused(node):
    longer = {"samples": torch.zeros(1, 4, 5, 8, 10)}
    with pytest.raises(NodeInputError, match="of videos of 3 and 5 latent frames, which cannot be joined"):
        getattr(node(), node.FUNCTION)(CLIP, longer, *TO_SIZE[node])


def test_latents_of_unlike_sizes_are_not_put_side_by_side():
    lower = {"samples": torch.zeros(1, 4, 6, 8)}
    with pytest.raises(NodeInputError, match=r"\[1, 4, 8, 8\] and \[1, 4, 6, 8\]: cut or scale one"):
        LatentConcat().concat(FOUR, lower, "x")
    assert LatentConcat().concat(FOUR, lower, "y")[0]["samples"].shape == (1, 4, 14, 8)


def test_a_video_is_turned_and_mirrored_frame_by_frame():
    flat = [{"samples": CLIP["samples"][:, :, frame]} for frame in range(3)]
    for node, how in ((LatentRotate, "90 degrees"), (LatentFlip, "x-axis: vertically"), (LatentFlip, "y-axis: h")):
        change = getattr(node(), node.FUNCTION)
        expected = torch.stack([change(frame, how)[0]["samples"] for frame in flat], dim=2)
        assert torch.equal(change(CLIP, how)[0]["samples"], expected)


@pytest.mark.parametrize(("node", "how"), [(LatentRotate, "90 degrees"), (LatentFlip, "x-axis: vertically")])
def test_sounds_are_not_turned(node, how):
    with pytest.raises(NodeInputError, match="works on pictures' latents"):
        getattr(node(), node.FUNCTION)(SOUND, how)


def test_masks_of_pasted_videos_belong_to_the_batch():
    below, above = {"samples": torch.zeros(2, 4, 3, 8, 8)}, {"samples": torch.ones(1, 4, 3, 8, 8)}
    masks = torch.stack([torch.ones(8, 8), torch.zeros(8, 8)])
    (pasted,) = LatentCompositeMasked().composite(below, above, 0, 0, False, masks)
    assert [float(video.mean()) for video in pasted["samples"]] == [1.0, 0.0]


def test_places_in_a_sound_are_refused():
    with pytest.raises(NodeInputError, match=r"works on pictures' latents"):
        LatentCrop().crop(SOUND, 64, 64, 0, 0)
    with pytest.raises(NodeInputError, match=r"works on pictures' latents"):
        LatentComposite().composite(SOUND, SOUND, 0, 0)


def test_a_picture_without_alpha_blends_into_one_with_it_as_opaque():
    below, above = torch.full((1, 4, 4, 4), 0.2), torch.full((1, 4, 4, 3), 0.6)
    [found] = ImageBlend().blend_images(below, above, 0.5, "normal")
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([0.4, 0.4, 0.4, 0.6]))


def test_texts_for_one_and_for_several_latents_are_joined():
    (((joined, _),),) = ConditioningConcat().concat(WIDE, [[torch.ones(2, 3, 80), {}]])
    assert (tuple(joined.shape), float(joined[1, 4:].mean())) == ((2, 7, 80), 1.0)


@pytest.mark.parametrize("node", [ConditioningAverage, ConditioningConcat])
def test_texts_for_unlike_numbers_of_latents_are_refused(node):
    two, three = ([[torch.zeros(count, 4, 80), {}]] for count in (2, 3))
    with pytest.raises(NodeInputError, match="'conditioning_to' is for 2 latents and 'conditioning_from' for 3"):
        mix(node, two, three)


def test_masks_of_unlike_numbers_are_refused():
    with pytest.raises(NodeInputError, match="2 masks cannot be worked into 3"):
        MaskComposite().combine(torch.zeros(3, 4, 4), torch.zeros(2, 4, 4), 0, 0, "add")


def test_pictures_of_unlike_numbers_are_not_blended():
    with pytest.raises(NodeInputError, match="2 pictures cannot be blended with 3"):
        ImageBlend().blend_images(torch.zeros(2, 4, 4, 3), torch.zeros(3, 4, 4, 3), 0.5, "normal")


def test_pictures_of_unlike_sizes_are_not_put_in_one_batch():
    small, large = torch.zeros(1, 4, 4, 3), torch.zeros(1, 8, 4, 3)
    with pytest.raises(NodeInputError, match=r"pictures of \(4, 4, 3\) and \(8, 4, 3\)"):
        RebatchImages().rebatch([small, large], [2])
    assert len(RebatchImages().rebatch([small, large], [1])[0]) == 2


def test_a_picture_with_alpha_is_laid_over_one_without():
    above, below = torch.full((1, 4, 4, 4), 0.5), torch.zeros(1, 4, 4, 3)
    solid = torch.zeros(4, 4)  # a mask of two dimensions, as some packs give
    (colours, mask) = PorterDuffImageComposite().lay(above, solid, below, solid, "SRC_OVER")
    assert (float(colours.mean()), float(mask.max())) == (0.5, 0.0)
