"""`comfy_api`: the programming interface of nodes by version. All versions are one implementation here."""

from nodes import placeholders

__getattr__ = placeholders.submodules(__name__)
