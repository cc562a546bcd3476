"""Names that packs import beside the usual ones: node classes under the names of their classes, and odd spellings."""

from __future__ import annotations

import logging

import pytest

from nodes.builtin.post_processing import ImageBlend, ImageBlur, ImageQuantize
from tests.unit.nodes.compat.conftest import Host


def test_post_processing_classes_have_their_short_names(host: Host):
    module = host("comfy_extras.nodes_post_processing")
    assert (module.Blend, module.Blur, module.Quantize) == (ImageBlend, ImageBlur, ImageQuantize)


def test_both_spellings_of_the_initial_device_answer(host: Host):
    management = host("comfy.model_management")
    assert management.unet_initial_load_device is management.unet_inital_load_device


class Copied:
    """A model whose copies can be told from it."""

    def clone(self) -> Copied:
        return Copied()


def test_a_lora_without_known_keys_changes_nothing_and_warns(host: Host, caplog: pytest.LogCaptureFixture):
    model, clip = Copied(), Copied()
    with caplog.at_level(logging.WARNING, "weft.packs"):
        changed = host("comfy.sd").load_lora_for_models(model, clip, {}, 1.0, 1.0)
    assert [type(one) for one in changed] == [Copied, Copied]
    assert changed[0] is not model
    assert caplog.messages
