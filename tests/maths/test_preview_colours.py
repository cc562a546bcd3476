"""Linear latent previews as pictures."""

from executor.inference.preview import LatentPreview
from tests.maths.recordings import ToyFormat, described, tensors


def latent_format(name: str) -> ToyFormat:
    known = described("tables")["latent_formats"][name]
    factors = tuple(tuple(row) for row in known["rgb_factors"])
    bias = tuple(known.get("rgb_bias", (0.0, 0.0, 0.0)))
    return ToyFormat(name=name, channels=known["channels"], rgb_factors=factors, rgb_bias=bias)


def test_a_preview_is_a_picture_of_the_latent_cells() -> None:
    picture = LatentPreview(latent=tensors("preview")["SD15/latent"], latent_format=latent_format("SD15")).image()
    assert (picture.mode, picture.size) == ("RGB", (9, 6))
