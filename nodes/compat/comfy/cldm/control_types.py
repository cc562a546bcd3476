"""What a union ControlNet can be told to read: names and their places in its list of tasks."""

from nodes.builtin.controlnet import UNION_TYPES
from nodes.placeholders import fallback

__getattr__ = fallback(__name__)

UNION_CONTROLNET_TYPES = {name: place for place, name in enumerate(UNION_TYPES)}
