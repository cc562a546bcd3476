"""ControlNets' own modules: stand-ins, but for those beside this file."""

from nodes import placeholders

__getattr__ = placeholders.submodules(__name__)
