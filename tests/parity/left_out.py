"""What of the recordings is not compared, with the reason. Knows no comparison."""

from __future__ import annotations

TENSORS = {
    "ops_latent": (r"format/.*", "scales of families that are not here; the others are compared"),
}
"""Tensors, by file and pattern, that no case looks at."""

TEXTS = {"sd3.t5xxl", "flux.t5xxl"}
"""T5's tokens: no family with a T5 encoder is here."""
