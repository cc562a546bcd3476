"""Starts the encoder at the analytic latent: shortcuts carry the cells' statistics, residual blocks add nothing.

The latent is linear in the picture, and a chain of shortcuts and strided convolutions can compute it. The norm and SiLU
before the last convolution are passed in pairs: silu(s) - silu(-s) = s, and beside s and -s each group holds a constant
so large that the group's deviation hardly depends on s. Training then only removes the small rest.
"""

from __future__ import annotations

import torch
from torch import nn

from training.latents import MOMENT_COLOUR, MOMENT_SCALE, MOMENT_SLANT, RGB_MEAN, RGB_WHITENING
from training.vae import Encoder, ResBlock

ANCHOR = 20.0
SIGNALS = 4  # red, green, blue and the slanted moment
LOG_VARIANCE = -8.0


def carry(layer: nn.Conv2d) -> None:
    """Lets a 1 x 1 or 3 x 3 convolution hand on the first four channels unchanged."""
    middle = layer.kernel_size[0] // 2
    layer.weight[:SIGNALS] = 0
    for channel in range(min(SIGNALS, layer.in_channels)):
        layer.weight[channel, channel, middle, middle] = 1
    layer.bias[:SIGNALS] = 0


def halve(layer: nn.Conv2d, level: int) -> None:
    """Lets a strided convolution average 2 x 2 and add this level's share, in pixels, to the moment."""
    layer.weight[:SIGNALS] = 0
    layer.bias[:SIGNALS] = 0
    for channel in range(SIGNALS):
        layer.weight[channel, channel, :2, :2] = 0.25
    reach = 2.0**level / 2
    for channel in range(3):
        for row in range(2):
            for column in range(2):
                along = MOMENT_SLANT[0] * (2 * column - 1) + MOMENT_SLANT[1] * (2 * row - 1)
                layer.weight[3, channel, row, column] = MOMENT_COLOUR[channel] * along * reach / 4


def last_shortcut(layer: nn.Conv2d) -> None:
    """Turns the statistics into latents: for each, a group of the latent, its negative and the anchor."""
    mix = torch.zeros(SIGNALS, SIGNALS)
    mix[:3, :3] = torch.tensor(RGB_WHITENING)
    mix[3, 3] = MOMENT_SCALE / 3.5
    shift = -mix[:, :3] @ torch.tensor(RGB_MEAN)
    for channel in range(SIGNALS):
        for place, sign in ((0, 1.0), (1, -1.0), (2, 0.0)):
            layer.weight[3 * channel + place] = 0
            layer.weight[3 * channel + place, :SIGNALS, 0, 0] = sign * mix[channel]
            layer.bias[3 * channel + place] = sign * shift[channel]
        layer.bias[3 * channel + 2] = ANCHOR


@torch.no_grad()
def start_linear(encoder: Encoder) -> None:
    """Sets the encoder's shortcuts, strided convolutions and output so that it gives the analytic latent."""
    for module in encoder.modules():
        if isinstance(module, ResBlock):
            module.conv2.bias.zero_()
    encoder.mid.attn_1.proj_out.bias.zero_()
    carry(encoder.conv_in)
    for level, stage in enumerate(encoder.down[:-1]):
        if hasattr(stage.block[0], "nin_shortcut"):
            carry(stage.block[0].nin_shortcut)
        halve(stage.downsample.conv, level)
    last_shortcut(encoder.down[-1].block[0].nin_shortcut)
    deviation = (2 / 9 * ANCHOR**2 + 2 / 3) ** 0.5
    encoder.conv_out.weight.zero_()
    encoder.conv_out.bias.zero_()
    encoder.conv_out.bias[SIGNALS:] = LOG_VARIANCE
    for channel in range(SIGNALS):
        for place, sign in ((0, 1.0), (1, -1.0)):
            encoder.norm_out.weight[3 * channel + place] = deviation
            encoder.norm_out.bias[3 * channel + place] = ANCHOR / 3
            encoder.conv_out.weight[channel, 3 * channel + place, 1, 1] = sign
