"""What lies behind a MODEL, as far as packs test its kind. Its classes for single families are stand-ins."""

from __future__ import annotations

import enum

from comfy.handles import Alias
from executor.inference.diffusion import DiffusionModel
from nodes.placeholders import fallback, missing

__getattr__ = fallback(__name__)


class ModelType(enum.Enum):
    """What a network's output means."""

    EPS = 1
    V_PREDICTION = 2
    V_PREDICTION_EDM = 3
    STABLE_CASCADE = 4
    EDM = 5
    FLOW = 6
    V_PREDICTION_CONTINUOUS = 7
    FLUX = 8
    IMG_TO_IMG = 9
    FLOW_COSMOS = 10


class BaseModel(metaclass=Alias):
    """A network and its sampling; Weft's own count as instances."""

    core = DiffusionModel

    def __init__(self, *given: object, **options: object) -> None:
        raise missing("comfy.model_base.BaseModel")
