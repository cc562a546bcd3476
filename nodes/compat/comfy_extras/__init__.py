"""Modules of extra nodes: each answers the built-in classes that packs look for in it."""

from weft_extra_nodes import install

install()
