"""Nodes that load ControlNets and attach them to conditioning. Know no network."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from executor.inference.values import Conditioning, Image, Mask
from nodes.builtin.conditioning import entries, packed
from nodes.builtin.inputs import InputTypes, choice, decimal, files, socket
from nodes.builtin.services import model_path, services

if TYPE_CHECKING:
    from executor.inference.control import Control
    from executor.inference.handle import ModelHandle
    from executor.inference.vae import Vae

PACK = "comfy_extras.nodes_controlnet"
UNION_TYPES = (
    "openpose",
    "depth",
    "hed/pidi/scribble/ted",
    "canny/lineart/anime_lineart/mlsd",
    "normal",
    "segment",
    "tile",
    "repaint",
)
"""What a union ControlNet is told to read, in the order of its own list of tasks."""


class ControlNetLoader:
    """Loads a ControlNet or T2I-Adapter."""

    DISPLAY_NAME = "Load ControlNet Model"
    CATEGORY = "loaders"
    RETURN_TYPES = ("CONTROL_NET",)
    FUNCTION = "load_controlnet"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"control_net_name": files("controlnet")}}

    def load_controlnet(self, control_net_name: str) -> tuple[Control]:
        """Load it; ModelFileError when the file is missing or no ControlNet that can be loaded."""
        from executor.inference.controlnet import load_controlnet

        return (load_controlnet(model_path("controlnet", control_net_name, "control_net_name"), services().memory),)


class DiffControlNetLoader:
    """Loads a ControlNet that is stored as its difference from a diffusion model."""

    DISPLAY_NAME = "Load ControlNet Model (diff)"
    CATEGORY = "loaders"
    RETURN_TYPES = ("CONTROL_NET",)
    FUNCTION = "load_controlnet"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"model": socket("MODEL"), "control_net_name": files("controlnet")}}

    def load_controlnet(self, model: ModelHandle, control_net_name: str) -> tuple[Control]:
        """Load it, with the model's weights added; ModelFileError when the file is missing or does not fit."""
        from executor.inference.controlnet import load_controlnet

        path = model_path("controlnet", control_net_name, "control_net_name")
        return (load_controlnet(path, services().memory, base=model),)


class ControlNetApply:
    """Attaches a ControlNet to conditioning for the whole sampling."""

    DISPLAY_NAME = "Apply ControlNet (OLD)"
    DEPRECATED = True
    CATEGORY = "conditioning/controlnet"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "apply_controlnet"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "conditioning": socket("CONDITIONING"),
                "control_net": socket("CONTROL_NET"),
                "image": socket("IMAGE"),
                "strength": decimal(1.0, 0.0, 10.0),
            }
        }

    def apply_controlnet(
        self, conditioning: Conditioning, control_net: Control, image: Image, strength: float
    ) -> tuple[Conditioning]:
        """The conditioning with the ControlNet, which then acts on the other side of the guidance too."""
        if strength == 0:
            return (conditioning,)
        control = control_net.copy().set_cond_hint(image.movedim(-1, 1), strength)
        return (with_control(conditioning, control, both_sides=True),)


class ControlNetApplyAdvanced:
    """Attaches a ControlNet to both sides of the guidance for a part of the sampling."""

    DISPLAY_NAME = "Apply ControlNet"
    CATEGORY = "conditioning/controlnet"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES = ("positive", "negative")
    FUNCTION = "apply_controlnet"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "positive": socket("CONDITIONING"),
                "negative": socket("CONDITIONING"),
                "control_net": socket("CONTROL_NET"),
                "image": socket("IMAGE"),
                "strength": decimal(1.0, 0.0, 10.0),
                "start_percent": decimal(0.0, 0.0, 1.0, 0.001),
                "end_percent": decimal(1.0, 0.0, 1.0, 0.001),
            },
            "optional": {"vae": socket("VAE")},
        }

    def apply_controlnet(
        self,
        positive: Conditioning,
        negative: Conditioning,
        control_net: Control,
        image: Image,
        strength: float,
        start_percent: float,
        end_percent: float,
        vae: Vae | None = None,
        extra_concat: list[Image] | tuple[()] = (),
    ) -> tuple[Conditioning, Conditioning]:
        """Both conditionings with one ControlNet; those that were there stay and act before it."""
        if strength == 0:
            return positive, negative
        control = control_net.copy().set_cond_hint(
            image.movedim(-1, 1), strength, (start_percent, end_percent), vae, extra_concat=list(extra_concat)
        )
        chained: dict[object, Control] = {}  # one copy per ControlNet that was there, shared by both sides
        sides = [with_control(side, control, both_sides=False, chained=chained) for side in (positive, negative)]
        return sides[0], sides[1]


class SetUnionControlNetType:
    """Tells a union ControlNet what its picture shows."""

    PACK = PACK
    CATEGORY = "conditioning/controlnet"
    RETURN_TYPES = ("CONTROL_NET",)
    FUNCTION = "set_controlnet_type"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"control_net": socket("CONTROL_NET"), "type": choice(["auto", *UNION_TYPES])}}

    def set_controlnet_type(self, control_net: Control, type: str) -> tuple[Control]:
        """A copy set to that kind; `auto` leaves the kind open."""
        copy = control_net.copy()
        copy.set_extra_arg("control_type", [UNION_TYPES.index(type)] if type in UNION_TYPES else [])
        return (copy,)


class ControlNetInpaintingAliMamaApply:
    """Attaches an inpainting ControlNet: it sees the picture without its masked part, and the mask."""

    PACK = PACK
    CATEGORY = "conditioning/controlnet"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES = ("positive", "negative")
    FUNCTION = "apply_inpaint_controlnet"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "positive": socket("CONDITIONING"),
                "negative": socket("CONDITIONING"),
                "control_net": socket("CONTROL_NET"),
                "vae": socket("VAE"),
                "image": socket("IMAGE"),
                "mask": socket("MASK"),
                "strength": decimal(1.0, 0.0, 10.0),
                "start_percent": decimal(0.0, 0.0, 1.0, 0.001),
                "end_percent": decimal(1.0, 0.0, 1.0, 0.001),
            }
        }

    def apply_inpaint_controlnet(
        self,
        positive: Conditioning,
        negative: Conditioning,
        control_net: Control,
        vae: Vae,
        image: Image,
        mask: Mask,
        strength: float,
        start_percent: float,
        end_percent: float,
    ) -> tuple[Conditioning, Conditioning]:
        """Both conditionings with the ControlNet."""
        from executor.inference.controlnet import without_masked

        extra: list[Image] = []
        if control_net.concat_mask:
            image, kept = without_masked(image, mask)
            extra = [kept]
        return ControlNetApplyAdvanced().apply_controlnet(
            positive, negative, control_net, image, strength, start_percent, end_percent, vae=vae, extra_concat=extra
        )


def with_control(
    conditioning: Conditioning,
    control: Control,
    *,
    both_sides: bool,
    chained: dict[object, Control] | None = None,
) -> Conditioning:
    """Conditioning with a control on every entry, each in front of the one that the entry had."""
    chained = {} if chained is None else chained
    changed = []
    for tensor, options in entries(conditioning):
        previous = options.get("control")
        if previous not in chained:
            own = control.copy()
            own.set_previous_controlnet(cast("Control | None", previous))
            chained[previous] = own
        values = {"control": chained[previous], "control_apply_to_uncond": both_sides}
        changed.append((tensor, {**options, **values}))
    return packed(changed)


NODES = (
    ControlNetLoader,
    DiffControlNetLoader,
    ControlNetApply,
    ControlNetApplyAdvanced,
    SetUnionControlNetType,
    ControlNetInpaintingAliMamaApply,
)
