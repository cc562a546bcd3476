"""`comfy_api.latest._ui`: the same as `ui`, which some packs import by this name."""

from comfy_api.latest.ui import *  # noqa: F403  # as there
