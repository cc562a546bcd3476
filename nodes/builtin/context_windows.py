"""Nodes that have a model evaluate long batches and videos in windows. The maths is executor.inference's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.inference.context_windows import HANDLER, ContextWindows, latent_frames
from nodes.builtin.inputs import Entry, InputTypes, combo, flag, integer

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle

PACK = "comfy_extras.nodes_context_windows"
SCHEDULES = ["standard_static", "standard_uniform", "looped_uniform", "batched"]
FUSE_METHODS = ["pyramid", "relative", "flat", "overlap-linear"]
VIDEO_FRAMES = 2  # the dimension of video latents [B, C, T, H, W]


def at_least(default: int, low: int, **options: object) -> Entry:
    """A whole number without an upper end."""
    return ("INT", {"default": default, "min": low, **options})


def windowed(model: ModelHandle, windows: ContextWindows) -> tuple[ModelHandle]:
    """A copy of a MODEL that evaluates in these windows."""
    changed = model.clone()
    changed.model_options[HANDLER] = windows
    return (changed,)


class ContextWindowsManual:
    """Evaluates latents in windows along one dimension, and fuses their answers at every step."""

    PACK = PACK
    LISTING = "v3"
    EXPERIMENTAL = True
    DISPLAY_NAME = "Context Windows (Manual)"
    CATEGORY = "context"
    DESCRIPTION = "Lets a model draw more frames than it can see at once: it sees them in windows that overlap."
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "execute"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The model that is to see windows."}),
                "context_length": at_least(16, 1, tooltip="Latent frames that one window holds."),
                "context_overlap": at_least(4, 0, tooltip="Latent frames that neighbouring windows share."),
                "context_schedule": combo(SCHEDULES, tooltip="Where the windows lie; uniform ones move every step."),
                "context_stride": at_least(1, 1, tooltip="Above 1, some windows skip frames. Uniform schedules only."),
                "closed_loop": flag(default=False, tooltip="Let the end flow into the start. Looped schedules only."),
                "fuse_method": combo(
                    FUSE_METHODS, default="pyramid", tooltip="How a frame's answers of several windows are weighted."
                ),
                "dim": ("INT", {"default": 0, "min": 0, "max": 5, "tooltip": "What is cut: 0 the batch, 2 a video."}),
            }
        }

    def execute(
        self,
        model: ModelHandle,
        context_length: int,
        context_overlap: int,
        context_schedule: str,
        context_stride: int,
        closed_loop: bool,
        fuse_method: str,
        dim: int,
    ) -> tuple[ModelHandle]:
        """A copy that evaluates in these windows."""
        windows = ContextWindows(
            length=context_length,
            overlap=context_overlap,
            schedule=context_schedule,
            stride=context_stride,
            closed_loop=closed_loop,
            fuse_method=fuse_method,
            dim=dim,
        )
        return windowed(model, windows)


class WanContextWindowsManual:
    """Evaluates a Wan video in windows of its frames, and fuses their answers at every step."""

    PACK = PACK
    LISTING = "v3"
    EXPERIMENTAL = True
    DISPLAY_NAME = "WAN Context Windows (Manual)"
    CATEGORY = "context"
    DESCRIPTION = "Lets a Wan model draw longer videos than it can see at once; lengths are in frames of the video."
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "execute"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        required = ContextWindowsManual.INPUT_TYPES()["required"]
        length = integer(81, 1, 16384, step=4, tooltip="Frames that one window holds.")
        overlap = at_least(30, 0, tooltip="Frames that neighbouring windows share.")
        kept = {name: entry for name, entry in required.items() if name != "dim"}
        return {"required": {**kept, "context_length": length, "context_overlap": overlap}}

    def execute(
        self,
        model: ModelHandle,
        context_length: int,
        context_overlap: int,
        context_schedule: str,
        context_stride: int,
        closed_loop: bool,
        fuse_method: str,
    ) -> tuple[ModelHandle]:
        """A copy that evaluates in these windows; four frames are one latent frame, the first is one alone."""
        windows = ContextWindows(
            length=latent_frames(context_length),
            overlap=latent_frames(context_overlap),
            schedule=context_schedule,
            stride=context_stride,
            closed_loop=closed_loop,
            fuse_method=fuse_method,
            dim=VIDEO_FRAMES,
        )
        return windowed(model, windows)


NODES = (ContextWindowsManual, WanContextWindowsManual)
