"""Nodes that encode text with sizes, and the one that gives an editing model its picture."""

from __future__ import annotations

import pytest
import torch

from executor.errors import NodeInputError
from nodes.builtin.edit_model import InstructPixToPixConditioning
from nodes.builtin.sdxl import CLIPTextEncodeSDXL, CLIPTextEncodeSDXLRefiner

SIZES = {"width": 1, "height": 2, "crop_w": 3, "crop_h": 4, "target_width": 5, "target_height": 6}


class ToldClip:
    """A text model that tells which text each encoder was given."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def tokenize(self, text: str) -> dict[str, str]:
        return {name: f"{name}:{text}" for name in self.names}

    def encode_from_tokens_scheduled(self, tokens, add_dict):
        return [[tokens, dict(add_dict)]]


def test_each_encoder_of_sdxl_reads_its_own_text():
    ([[tokens, options]],) = CLIPTextEncodeSDXL().encode(ToldClip("l", "g"), **SIZES, text_g="wide", text_l="narrow")
    assert tokens == {"g": "g:wide", "l": "l:narrow"}
    assert options == SIZES


def test_a_text_model_without_clip_l_is_refused():
    with pytest.raises(NodeInputError, match="no CLIP-L"):
        CLIPTextEncodeSDXL().encode(ToldClip("g"), **SIZES, text_g="", text_l="")


def test_the_refiner_is_told_how_pretty_the_picture_is():
    ([[tokens, options]],) = CLIPTextEncodeSDXLRefiner().encode(ToldClip("g"), 2.5, 640, 480, "a hill")
    assert tokens == {"g": "g:a hill"}
    assert options == {"aesthetic_score": 2.5, "width": 640, "height": 480}


class ToyVae:
    """8x8 average pool of the colours, and their mean as the fourth channel."""

    def encode(self, pixels):
        pooled = torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8)
        return torch.cat((pooled, pooled.mean(dim=1, keepdim=True)), dim=1)


def test_a_picture_to_edit_goes_with_both_sides():
    plain = [[torch.zeros(1, 2, 4), {"kept": 1}]]
    pixels = torch.zeros(1, 20, 34, 3)
    pixels[:, 2:18, 1:33] = 1.0  # what is left of it in whole cells
    positive, negative, latent = InstructPixToPixConditioning().encode(plain, plain, pixels, ToyVae())
    for [[_, options]] in (positive, negative):
        assert options["kept"] == 1
        assert torch.equal(options["concat_latent_image"], torch.ones(1, 4, 2, 4))
    assert torch.equal(latent["samples"], torch.zeros(1, 4, 2, 4))
    assert plain[0][1] == {"kept": 1}
