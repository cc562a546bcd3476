"""`comfy_api.v0_0_2`: an earlier version by name; it answers with the latest."""

from comfy_api.latest import IO, UI, ComfyAPI, ComfyAPISync, ComfyExtension, Input, InputImpl, Types, comfy_io, io, ui

ComfyAPIAdapter_v0_0_2 = ComfyAPI
ComfyAPISyncAdapter_v0_0_2 = ComfyAPISync

__all__ = [
    "IO",
    "UI",
    "ComfyAPI",
    "ComfyAPISync",
    "ComfyExtension",
    "Input",
    "InputImpl",
    "Types",
    "comfy_io",
    "io",
    "ui",
]
