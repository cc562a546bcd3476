"""Pictures joined of brightness and differences of colour."""

from __future__ import annotations

import torch

from nodes.builtin.picture_shapes import ImageRGBToYUV, ImageYUVToRGB


def joined(*parts):
    [picture] = ImageYUVToRGB().execute(*(torch.full((1, 1, 1, 3), float(part)) for part in parts))
    return picture.flatten()


def test_parts_are_joined_by_the_broadcast_matrix():
    # ITU-R BT.601: R = Y + 1.402 Cr, G = Y - 0.344 Cb - 0.714 Cr, B = Y + 1.772 Cb
    y, cb, cr = 0.5, 0.1, -0.2
    wanted = torch.tensor([y + 1.402 * cr, y - 0.344 * cb - 0.714 * cr, y + 1.772 * cb])
    torch.testing.assert_close(joined(y, cb + 0.5, cr + 0.5), wanted, rtol=0, atol=1e-3)


def test_grey_has_no_difference():
    torch.testing.assert_close(joined(0.25, 0.5, 0.5), torch.full((3,), 0.25))


def test_colours_stay_within_their_range():
    red, green, blue = joined(1.0, 1.0, 0.0).tolist()  # G and B would be 1.19 and 1.89
    assert (green, blue) == (1.0, 1.0)
    assert 0.29 < red < 0.31


def test_what_was_split_is_joined_again():
    picture = torch.rand(2, 5, 7, 3)
    [again] = ImageYUVToRGB().execute(*ImageRGBToYUV().execute(picture))
    torch.testing.assert_close(again, picture, rtol=0, atol=1e-5)


def test_a_part_of_several_channels_counts_as_their_mean():
    y = torch.tensor([0.2, 0.4, 0.6]).reshape(1, 1, 1, 3)
    [picture] = ImageYUVToRGB().execute(y, torch.full_like(y, 0.5), torch.full_like(y, 0.5))
    torch.testing.assert_close(picture.flatten(), torch.full((3,), 0.4))
