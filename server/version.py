"""The versions that the front tells. Knows nothing else."""

from __future__ import annotations

from functools import cache
from importlib import metadata

COMFYUI_VERSION = "0.3.64"
"""The release whose interface is served; clients switch features on by it."""

FRONTEND_VERSION = "1.27.10"
"""The oldest web front end that this interface was made for."""


def weft_version() -> str:
    """The version of this package; `dev` in a source tree that was never installed."""
    return installed_version("weft") or "dev"


@cache
def installed_version(package: str) -> str | None:
    """The version of an installed package, without importing it; None if it is not installed. Looked up once."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
