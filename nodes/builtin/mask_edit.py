"""Nodes that cut, grow, soften and combine masks. Know no files and no models."""

import torch

from executor.errors import NodeInputError
from executor.inference.morphology import dilate
from executor.inference.pixels import edge_fade
from executor.inference.values import Mask
from nodes.builtin.inputs import MAX_RESOLUTION, InputTypes, choice, flag, integer, pixels, socket

PACK = "comfy_extras.nodes_mask"
OPERATIONS = ["multiply", "add", "subtract", "and", "or", "xor"]


def planes(mask: Mask) -> Mask:
    """The mask as [B, H, W]."""
    return mask.reshape(-1, mask.shape[-2], mask.shape[-1])


class CropMask:
    """Cuts a rectangle out of masks."""

    PACK = PACK
    CATEGORY = "mask"
    RETURN_TYPES = ("MASK",)
    FUNCTION = "crop"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        place = {"x": pixels(0, 0), "y": pixels(0, 0), "width": pixels(), "height": pixels()}
        return {"required": {"mask": socket("MASK"), **place}}

    def crop(self, mask: Mask, x: int, y: int, width: int, height: int) -> tuple[Mask]:
        """The part of the rectangle inside the mask."""
        return (planes(mask)[:, y : y + height, x : x + width],)


class MaskComposite:
    """Combines two masks."""

    PACK = PACK
    CATEGORY = "mask"
    RETURN_TYPES = ("MASK",)
    FUNCTION = "combine"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "destination": socket("MASK"),
                "source": socket("MASK"),
                "x": pixels(0, 0),
                "y": pixels(0, 0),
                "operation": choice(OPERATIONS),
            }
        }

    def combine(self, destination: Mask, source: Mask, x: int, y: int, operation: str) -> tuple[Mask]:
        """`destination` with `source` worked in at (x, y), cut to 0..1; and, or, xor round both to 0 and 1 first.

        NodeInputError unless there is one source for all, or one for each destination.
        """
        result, top = planes(destination).clone(), planes(source)
        if len(top) not in (1, len(result)):
            counts = f"{len(top)} masks cannot be worked into {len(result)}"
            raise NodeInputError(f"input 'source': {counts}; give one, or as many as there are destinations")
        place = result[:, y : y + top.shape[1], x : x + top.shape[2]]
        top = top[:, : place.shape[1], : place.shape[2]]
        place.copy_(_combined(place, top, operation))
        return (result.clamp(0.0, 1.0),)


def _combined(below: Mask, above: Mask, operation: str) -> Mask:
    match operation:
        case "multiply":
            return below * above
        case "add":
            return below + above
        case "subtract":
            return below - above
    first, second = below.round().bool(), above.round().bool()
    logical = {"and": torch.logical_and, "or": torch.logical_or, "xor": torch.logical_xor}[operation]
    return logical(first, second).float()


class FeatherMask:
    """Softens the edges of a mask."""

    PACK = PACK
    CATEGORY = "mask"
    RETURN_TYPES = ("MASK",)
    FUNCTION = "feather"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        sides = {side: pixels(0, 0) for side in ("left", "top", "right", "bottom")}
        return {"required": {"mask": socket("MASK"), **sides}}

    def feather(self, mask: Mask, left: int, top: int, right: int, bottom: int) -> tuple[Mask]:
        """The mask times a ramp over so many pixels from each edge; right and below it begins one step late.

        (So it was recorded: ops_mask, FeatherMask/2.)
        """
        stack = planes(mask)
        return (stack * edge_fade(stack.shape[1], stack.shape[2], left, top, right, bottom, late=1).to(stack),)


class GrowMask:
    """Widens or narrows what a mask marks."""

    DISPLAY_NAME = "GrowMask"
    PACK = PACK
    CATEGORY = "mask"
    RETURN_TYPES = ("MASK",)
    FUNCTION = "expand_mask"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        expand = integer(0, -MAX_RESOLUTION, MAX_RESOLUTION, step=1)
        return {"required": {"mask": socket("MASK"), "expand": expand, "tapered_corners": flag(default=True)}}

    def expand_mask(self, mask: Mask, expand: int, tapered_corners: bool) -> tuple[Mask]:
        """The mask grown by `expand` pixels, shrunk if negative."""
        return (dilate(planes(mask), expand, tapered=tapered_corners),)


NODES = (CropMask, MaskComposite, FeatherMask, GrowMask)
