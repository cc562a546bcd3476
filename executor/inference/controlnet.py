"""ControlNets and T2I-Adapters: files to controls, and what these add. Knows neither folders nor nodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.nn import functional

from executor.errors import NodeInputError
from executor.inference.control import Cond, Control, Features, SigmaOf, Window
from executor.inference.controlnet_file import Read, read_controlnet
from executor.inference.controlnet_model import ControlNet
from executor.inference.crossing import sent
from executor.inference.flux_control import FluxControl
from executor.inference.flux_controlnet import FluxNetControl
from executor.inference.memory import Memory, Part
from executor.inference.mmdit_control import MMDiTControl
from executor.inference.mmdit_controlnet import MMDiTNetControl
from executor.inference.pixels import common_upscale
from executor.inference.qwen_image_control import QwenImageControl
from executor.inference.qwen_image_controlnet import QwenNetControl
from executor.inference.t2i_adapter import T2IAdapter, grey, spread
from executor.inference.union_controlnet import UnionControlNet
from executor.inference.values import Image, Mask
from executor.inference.weights import WeightFile, read_weights

if TYPE_CHECKING:
    from executor.inference.diffusion import DiffusionModel
    from executor.inference.handle import ModelHandle


class NetControl(Control):
    """A ControlNet with its picture."""

    def __init__(self, part: Part[ControlNet], memory: Memory) -> None:
        super().__init__()
        self.part, self.memory = part, memory

    @property
    def control_model(self) -> ControlNet:
        """The network."""
        return self.part.module

    def features(self, x_noisy: Tensor, t: Tensor, cond: Cond, batched_number: int) -> Features:
        """Features for every skip connection and for the middle; NodeInputError beside a model of another family."""
        assert self.model is not None  # pre_run() comes first
        self.memory.load(self.part)
        dtype, sampling = self.part.dtype, self.model.model_sampling
        hint = self.hint_for(x_noisy, batched_number).to(x_noisy.device, dtype)
        network_input = sampling.calculate_input(t, x_noisy).to(dtype)
        text = "crossattn_controlnet" if "crossattn_controlnet" in cond else "c_crossattn"
        context, y = (cast("Tensor | None", cond.get(name)) for name in (text, "y"))
        kinds = self.kinds()
        self._check_text(context, y)
        self._check_colours(hint)
        skips, middle = self.part.module(
            network_input,
            hint,
            sampling.timestep(t).float(),
            None if context is None else sent(context, x_noisy.device, dtype),
            None if y is None else sent(y, x_noisy.device, dtype),
            kinds,
        )
        return {"output": [skip.to(x_noisy.dtype) for skip in skips], "middle": [middle.to(x_noisy.dtype)]}

    def _check_text(self, context: Tensor | None, y: Tensor | None) -> None:
        unet = self.part.module.shape.unet
        for what, wanted, given in (("text", unet.context, context), ("vectors", unet.vector, y)):
            if wanted is not None and (given is None or given.shape[-1] != wanted):
                found = "has none" if given is None else f"has {given.shape[-1]}"
                reason = f"this ControlNet takes {what} of width {wanted}, and the conditioning {found}"
                raise NodeInputError(f"{reason}: it belongs to a model of another family; load one for this model")

    def _check_colours(self, hint: Tensor) -> None:
        wanted = self.part.module.shape.hint[0][0]
        if hint.shape[1] != wanted:
            reason = f"this ControlNet takes pictures of {wanted} channels, and the one it was given has"
            raise NodeInputError(f"{reason} {hint.shape[1]}: take its alpha off, or make colours of it")

    def kinds(self) -> list[int]:
        """What its picture shows, by the numbers of a union ControlNet's tasks; none for one that knows no kinds.

        Raises NodeInputError for a kind that it was not trained on.
        """
        if not isinstance(self.part.module, UnionControlNet):
            return []
        told, known = cast("list[int]", self.extra_args.get("control_type") or []), self.part.module.union.kinds
        if any(kind >= known for kind in told):
            reason = f"this union ControlNet knows {known} kinds of pictures, and not the one that was set"
            raise NodeInputError(f"{reason} (number {max(told) + 1} of the list); choose one of the first {known}")
        return told

    def get_models(self) -> list[object]:
        """The networks of the chain."""
        return [*super().get_models(), self.part]


class LoraControl(NetControl):
    """A control LoRA: its network is made of the model's own weights when a sampling begins."""

    def __init__(self, file: WeightFile, memory: Memory) -> None:
        Control.__init__(self)
        self.file, self.memory = file, memory
        self._base: object = None  # the weights that its network was made of

    def pre_run(self, model: DiffusionModel, percent_to_timestep_function: SigmaOf) -> None:
        """Make the network for this model; ModelFileError when the model is of another family."""
        super().pre_run(model, percent_to_timestep_function)
        if self._base is not model.part:
            self.part = cast("Part[ControlNet]", read_controlnet(self.file, model.part.weights).part)
            self._base = model.part


class AdapterControl(Control):
    """A T2I-Adapter with its picture: its features do not depend on the noise and are kept."""

    def __init__(self, part: Part[T2IAdapter], memory: Memory) -> None:
        super().__init__()
        self.part, self.memory = part, memory
        self._kept: tuple[torch.Size, Window | None, list[Tensor]] | None = None  # of a picture's shape and window

    def features(self, x_noisy: Tensor, t: Tensor, cond: Cond, batched_number: int) -> Features:
        """One feature map behind each level of the way down; SDXL's last one behind the middle."""
        hint, shape = self.hint_for(x_noisy, batched_number), self.part.module.shape
        side = shape.placement.side
        if self._kept is None or self._kept[:2] != (hint.shape, self.window):
            self.memory.load(self.part)
            shown = whole_blocks(grey(hint) if shape.channels == side**2 else hint, side)
            given = shown.to(x_noisy.device, self.part.dtype)
            self._kept = hint.shape, self.window, [feature.to(x_noisy.dtype) for feature in self.part.module(given)]
        behind, middle = spread(self._kept[2], shape.placement)
        return {"input": behind, "middle": middle}

    def hint_size(self, height: int, width: int) -> tuple[int, int]:
        """The picture's sides for latents of these sides, in whole blocks."""
        side = self.part.module.shape.placement.side
        high, wide = super().hint_size(height, width)
        return high + -high % side, wide + -wide % side

    def copy(self) -> Control:
        """The same adapter to be set apart."""
        other = cast(AdapterControl, super().copy())
        other._kept = None
        return other

    def cleanup(self) -> None:
        """Forget the features."""
        self._kept = None
        super().cleanup()


def load_controlnet(path: Path, memory: Memory, base: ModelHandle | None = None) -> Control:
    """The control of a file; `base` is the model that differences and control LoRAs are relative to.

    A control LoRA without a base takes the weights of the model that it is used with. Raises ModelFileError when the
    file is broken or none.
    """
    file = read_weights(path)
    if base is None and "lora_controlnet" in file.tensors:
        return LoraControl(file, memory)
    return control_of(read_controlnet(file, None if base is None else base.patched_weights()), memory)


def control_of(read: Read, memory: Memory) -> Control:
    """The control of a network that was read."""
    if isinstance(read.part.module, T2IAdapter):
        return AdapterControl(cast("Part[T2IAdapter]", read.part), memory)
    if isinstance(read.part.module, FluxControl):
        return FluxNetControl(cast("Part[FluxControl]", read.part), memory)
    if isinstance(read.part.module, QwenImageControl):
        return QwenNetControl(cast("Part[QwenImageControl]", read.part), memory)
    if isinstance(read.part.module, MMDiTControl):
        return MMDiTNetControl(cast("Part[MMDiTControl]", read.part), memory, read.name)
    control = NetControl(cast("Part[ControlNet]", read.part), memory)
    control.global_average_pooling = read.pooled
    return control


def whole_blocks(picture: Tensor, side: int) -> Tensor:
    """A picture [B, C, H, W] with its last row and column repeated up to sides that are multiples of `side`."""
    return functional.pad(picture, (0, -picture.shape[-1] % side, 0, -picture.shape[-2] % side), mode="replicate")


def without_masked(image: Image, mask: Mask) -> tuple[Image, Image]:
    """A picture [B, H, W, C] with its masked part black, and the part that is kept [B, 1, h, w]."""
    kept = 1.0 - mask.reshape(-1, 1, mask.shape[-2], mask.shape[-1])
    visible = common_upscale(kept, image.shape[2], image.shape[1], "bilinear", "center").round()
    return image * visible.movedim(1, -1), kept
