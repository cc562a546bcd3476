"""Values that go with a conditioning into a network call: Weft's own, under the names that packs know."""

from executor.inference.condition_values import (
    CONDConstant,
    CONDCrossAttn,
    CONDList,
    CONDNoiseShape,
    CONDRegular,
)
from nodes.placeholders import fallback

__all__ = ["CONDConstant", "CONDCrossAttn", "CONDList", "CONDNoiseShape", "CONDRegular"]

__getattr__ = fallback(__name__)
