"""What of the recordings is not compared, with the reason. Knows no comparison."""

from __future__ import annotations

NODES = {
    "LTXVScheduler": "belongs to a family that is not here",
    "EmptySD3LatentImage": "belongs to a family that is not here",
    "EmptyHunyuanLatentVideo": "belongs to a family that is not here",
    "FluxGuidance": "belongs to a family that is not here",
}
"""Nodes that recorded cases call and Weft has not; a node that comes is compared from then on."""

TENSORS = {
    "ops_latent": (r"format/.*", "scales of families that are not here; the others are compared"),
}
"""Tensors, by file and pattern, that no case looks at."""

TEXTS = {"sd3.t5xxl", "flux.t5xxl"}
"""T5's tokens: no family with a T5 encoder is here."""
