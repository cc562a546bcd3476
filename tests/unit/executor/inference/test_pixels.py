"""Pictures as 8-bit values: the same whether they are converted whole or in parts."""

import pytest
import torch

from executor.inference import pixels


@pytest.mark.parametrize("shape", [(40, 30, 3), (2, 41, 30, 4), (1, 1, 1, 1)])
def test_a_large_picture_gets_the_values_of_a_small_one(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch):
    image = torch.rand(shape) * 1.2 - 0.1
    whole = pixels.to_bytes(image)
    monkeypatch.setattr(pixels, "LARGE", 1)
    monkeypatch.setattr(pixels, "PART", 500)
    assert (pixels.to_bytes(image) == whole).all()
    assert whole.shape == shape
