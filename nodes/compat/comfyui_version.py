"""The version of the interface that this server answers like; says nothing of Weft's own version."""

__version__ = "0.3.64"
