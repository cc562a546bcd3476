"""Layer classes that packs build networks of: as they come, and ones that cast their weights to their input's type."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nodes.placeholders import fallback

__getattr__ = fallback(__name__)


def cast_to(
    weight: Tensor, dtype: torch.dtype | None = None, device: object = None, non_blocking: bool = False,
    copy: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor in a type and on a device."""
    return weight.to(device=device, dtype=dtype, copy=copy, non_blocking=non_blocking)


def cast_to_input(weight: Tensor, input: Tensor, non_blocking: bool = False, copy: bool = True) -> Tensor:
    """A tensor in the type and on the device of another."""
    return cast_to(weight, input.dtype, input.device, non_blocking=non_blocking, copy=copy)


def cast_bias_weight(
    s: nn.Module, input: Tensor | None = None, dtype: torch.dtype | None = None, device: object = None,
    bias_dtype: torch.dtype | None = None, **options: object,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """A layer's weight and bias like its input, after the functions that were put on the layer."""
    dtype = dtype or (input.dtype if input is not None else None)
    device = device or (input.device if input is not None else None)
    bias = getattr(s, "bias", None)
    if bias is not None:
        bias = cast_to(bias, bias_dtype or dtype, device)
        for function in getattr(s, "bias_function", ()):
            bias = function(bias)
    weight = getattr(s, "weight", None)
    if weight is not None:
        weight = cast_to(weight, dtype, device)
        for function in getattr(s, "weight_function", ()):
            weight = function(weight)
    return weight, bias


class CastWeightBiasOp:
    """What casting layers keep: whether to cast, and functions on the weight and the bias."""

    comfy_cast_weights = False
    weight_function: list[object] | tuple[object, ...] = ()
    bias_function: list[object] | tuple[object, ...] = ()

    def _casts(self) -> bool:
        return bool(self.comfy_cast_weights or len(self.weight_function) or len(self.bias_function))

    def forward(self, input: Tensor, *args: object, **kwargs: object) -> Tensor:
        """The layer's answer, with weights cast where that is wanted."""
        if self._casts():
            return self.forward_comfy_cast_weights(input, *args, **kwargs)
        return super().forward(input, *args, **kwargs)


class disable_weight_init:  # noqa: N801  (the ecosystem's name)
    """Layers that start with the memory as it is: their weights come from a file."""

    class Linear(CastWeightBiasOp, nn.Linear):
        def reset_parameters(self) -> None:
            return None

        def forward_comfy_cast_weights(self, input: Tensor) -> Tensor:
            weight, bias = cast_bias_weight(self, input)
            return functional.linear(input, weight, bias)

    class Conv1d(CastWeightBiasOp, nn.Conv1d):
        def reset_parameters(self) -> None:
            return None

        def forward_comfy_cast_weights(self, input: Tensor) -> Tensor:
            weight, bias = cast_bias_weight(self, input)
            return self._conv_forward(input, weight, bias)

    class Conv2d(CastWeightBiasOp, nn.Conv2d):
        def reset_parameters(self) -> None:
            return None

        def forward_comfy_cast_weights(self, input: Tensor) -> Tensor:
            weight, bias = cast_bias_weight(self, input)
            return self._conv_forward(input, weight, bias)

    class Conv3d(CastWeightBiasOp, nn.Conv3d):
        def reset_parameters(self) -> None:
            return None

        def forward_comfy_cast_weights(self, input: Tensor) -> Tensor:
            weight, bias = cast_bias_weight(self, input)
            return self._conv_forward(input, weight, bias)

    class GroupNorm(CastWeightBiasOp, nn.GroupNorm):
        def reset_parameters(self) -> None:
            return None

        def forward_comfy_cast_weights(self, input: Tensor) -> Tensor:
            weight, bias = cast_bias_weight(self, input)
            return functional.group_norm(input, self.num_groups, weight, bias, self.eps)

    class LayerNorm(CastWeightBiasOp, nn.LayerNorm):
        def reset_parameters(self) -> None:
            return None

        def forward_comfy_cast_weights(self, input: Tensor) -> Tensor:
            weight, bias = cast_bias_weight(self, input)
            return functional.layer_norm(input, self.normalized_shape, weight, bias, self.eps)

    class RMSNorm(CastWeightBiasOp, nn.RMSNorm):
        def reset_parameters(self) -> None:
            self.bias = None

        def forward_comfy_cast_weights(self, input: Tensor) -> Tensor:
            weight, _ = cast_bias_weight(self, input)
            return functional.rms_norm(input, self.normalized_shape, weight, self.eps)

    class ConvTranspose1d(CastWeightBiasOp, nn.ConvTranspose1d):
        def reset_parameters(self) -> None:
            return None

        def forward_comfy_cast_weights(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
            padding = self._output_padding(
                input, output_size, self.stride, self.padding, self.kernel_size, 1, self.dilation
            )
            weight, bias = cast_bias_weight(self, input)
            return functional.conv_transpose1d(
                input, weight, bias, self.stride, self.padding, padding, self.groups, self.dilation
            )

    class ConvTranspose2d(CastWeightBiasOp, nn.ConvTranspose2d):
        def reset_parameters(self) -> None:
            return None

        def forward_comfy_cast_weights(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
            padding = self._output_padding(
                input, output_size, self.stride, self.padding, self.kernel_size, 2, self.dilation
            )
            weight, bias = cast_bias_weight(self, input)
            return functional.conv_transpose2d(
                input, weight, bias, self.stride, self.padding, padding, self.groups, self.dilation
            )

    class Embedding(CastWeightBiasOp, nn.Embedding):
        def reset_parameters(self) -> None:
            self.bias = None

        def forward(self, input: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
            if self._casts():
                return self.forward_comfy_cast_weights(input, out_dtype=out_dtype)
            rows = nn.Embedding.forward(self, input)
            return rows if out_dtype is None else rows.to(out_dtype)

        def forward_comfy_cast_weights(self, input: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
            kept = out_dtype if self.weight.dtype not in (torch.float16, torch.bfloat16) else None
            weight, _ = cast_bias_weight(self, device=input.device, dtype=kept or self.weight.dtype)
            rows = functional.embedding(
                input, weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
            )
            return rows if out_dtype is None else rows.to(out_dtype)

    @classmethod
    def conv_nd(cls, dims: int, *args: object, **kwargs: object) -> nn.Module:
        """A convolution over 2 or 3 dimensions."""
        if dims not in (2, 3):
            raise ValueError(f"a convolution over {dims} dimensions is not among 2 and 3")
        return (cls.Conv2d if dims == 2 else cls.Conv3d)(*args, **kwargs)


def _casting(layer: type) -> type:
    return type(layer.__name__, (layer,), {"comfy_cast_weights": True, "__module__": __name__})


class manual_cast(disable_weight_init):  # noqa: N801  (the ecosystem's name)
    """The same layers, casting their weights to the type and device of their input."""

    Linear = _casting(disable_weight_init.Linear)
    Conv1d = _casting(disable_weight_init.Conv1d)
    Conv2d = _casting(disable_weight_init.Conv2d)
    Conv3d = _casting(disable_weight_init.Conv3d)
    GroupNorm = _casting(disable_weight_init.GroupNorm)
    LayerNorm = _casting(disable_weight_init.LayerNorm)
    RMSNorm = _casting(disable_weight_init.RMSNorm)
    ConvTranspose1d = _casting(disable_weight_init.ConvTranspose1d)
    ConvTranspose2d = _casting(disable_weight_init.ConvTranspose2d)
    Embedding = _casting(disable_weight_init.Embedding)


def pick_operations(
    weight_dtype: torch.dtype | None, compute_dtype: torch.dtype | None, load_device: object = None,
    disable_fast_fp8: bool = False, fp8_optimizations: bool = False, scaled_fp8: object = None, **options: object,
) -> type[disable_weight_init]:  # fmt: skip
    """The layers for weights of a type: casting ones where that is not the type to compute in."""
    same = compute_dtype is None or weight_dtype == compute_dtype
    return disable_weight_init if same else manual_cast
