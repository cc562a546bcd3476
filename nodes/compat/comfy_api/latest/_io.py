"""`comfy_api.latest._io`: the same as `io`, which some packs import by this name."""

from comfy_api.latest import io
from comfy_api.latest.io import *  # noqa: F403  # as there

__getattr__ = io.__getattr__
