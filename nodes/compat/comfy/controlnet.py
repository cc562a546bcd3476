"""ControlNets under the names that packs use. The networks are Weft's own."""

from __future__ import annotations

from pathlib import Path

from comfy.handles import Alias
from executor.inference.control import Control
from executor.inference.controlnet import AdapterControl, NetControl
from nodes import bridge
from nodes.placeholders import fallback, missing

__getattr__ = fallback(__name__)

ControlBase = Control


def _made_by_files(name: str) -> object:
    def __init__(self: object, *given: object, **options: object) -> None:  # noqa: N807
        raise missing(f"comfy.controlnet.{name}")

    return __init__


class ControlNet(Control, metaclass=Alias):
    """A ControlNet; Weft's own count as instances."""

    core = NetControl
    __init__ = _made_by_files("ControlNet")


class T2IAdapter(Control, metaclass=Alias):
    """A T2I-Adapter; Weft's own count as instances."""

    core = AdapterControl
    __init__ = _made_by_files("T2IAdapter")


class ControlLora(ControlNet, metaclass=Alias):
    """A ControlNet that is stored as a LoRA of its diffusion model."""

    core = None
    __init__ = _made_by_files("ControlLora")


def load_controlnet(ckpt_path: str, model: object = None, model_options: object = None) -> Control:
    """The control of a file; ModelFileError when it is none."""
    from executor.inference.controlnet import load_controlnet as load

    return load(Path(ckpt_path), bridge.services().memory, base=model)
