"""Ways to mix both sides of the guidance, and to lead by worse answers. Know no sampler; hooks as packs write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from executor.inference.conditions import completed, resolve
from executor.inference.crossing import number_of
from executor.inference.denoiser import broadcast
from executor.inference.extras import Situation
from executor.inference.guidance import calc_cond_batch
from executor.inference.hooks import Options
from executor.inference.values import Conditioning

Hook: TypeAlias = Callable[[Mapping[str, Any]], Tensor]
"""A function of a step's dictionary; see executor.inference.guidance."""


def rescaled(multiplier: float) -> Hook:
    """Guided v-prediction brought to the deviation of the positive one (Lin et al. 2023, arXiv:2305.08891)."""

    def mix(given: Mapping[str, Any]) -> Tensor:
        x, sigma = given["input"], broadcast(given["sigma"], given["input"])
        total = sigma**2 + 1.0
        cond, uncond = ((x / total - given[side]) * total**0.5 / sigma for side in ("cond_denoised", "uncond_denoised"))
        guided = uncond + given["cond_scale"] * (cond - uncond)
        deviations = (part.std(dim=(1, 2, 3), keepdim=True) for part in (cond, guided))
        ratio = next(deviations) / next(deviations)
        v = multiplier * guided * ratio + (1.0 - multiplier) * guided
        return cast(Tensor, x - (x / total - v * sigma / total**0.5))

    return mix


Share: TypeAlias = Callable[[Tensor], Tensor]
"""How far each frame is from the smallest scale (0) to the sampler's (1), of places 0..1 in the video."""


def rising(places: Tensor) -> Tensor:
    """From the first frame to the last in equal steps (Blattmann et al. 2023, arXiv:2311.15127, section 4.3)."""
    return places


def triangle(places: Tensor) -> Tensor:
    """Up to the middle frame and down again."""
    return 1.0 - (2.0 * places - 1.0).abs()


def by_frame(share: Share, smallest: float) -> Hook:
    """Guidance with a scale for each frame, a row of the batch."""

    def mix(given: Mapping[str, Any]) -> Tensor:
        cond, uncond = given["cond"], given["uncond"]
        places = torch.linspace(0.0, 1.0, len(cond), device=cond.device)
        scales = smallest + share(places) * (given["cond_scale"] - smallest)
        return cast(Tensor, uncond + scales.reshape(-1, *([1] * (cond.ndim - 1))) * (cond - uncond))

    return mix


def zero_star(given: Mapping[str, Any]) -> Tensor:
    """The negative side scaled to where it is nearest to the positive one (Fan et al. 2025, arXiv:2503.18886)."""
    x, scale = given["input"], given["cond_scale"]
    cond, uncond = given["cond_denoised"], given["uncond_denoised"]
    positive, negative = (x - cond).flatten(1), (x - uncond).flatten(1)
    share = (positive * negative).sum(dim=1) / (negative.square().sum(dim=1) + 1e-8)
    share = share.reshape(-1, *([1] * (x.ndim - 1)))
    return cast(Tensor, given["denoised"] + uncond * (share - 1.0) + scale * uncond * (1.0 - share))


def by_likeness(given: Mapping[str, Any]) -> Tensor:
    """The negative side held back where the positive one's pull points another way: `Mahiro`.

    Between the guided answer and the scaled positive one, by how alike (cosine over the channels, of roots that keep
    their sign, averaged over the cells) the negative answer and the middle of the two are. Found by fitting the
    recording `guiders` `mahiro`: docs/parity.md tells how.
    """
    guided, positive = given["denoised"], given["cond_denoised"] * given["cond_scale"]
    negative, middle = (part.sign() * part.abs().sqrt() for part in (given["uncond_denoised"], (positive + guided) / 2))
    likeness = torch.nn.functional.cosine_similarity(negative, middle, dim=1).flatten(1).mean(dim=1)
    share = (0.5 + likeness / 2).reshape(-1, *([1] * (guided.ndim - 1)))
    return cast(Tensor, positive + share * (guided - positive))


def normed(strength: float) -> Hook:
    """The guided answer no longer than the positive one in any cell."""

    def shorten(given: Mapping[str, Any]) -> Tensor:
        guided, cond = given["denoised"], given["cond_denoised"]
        lengths = (part.norm(dim=1, keepdim=True) for part in (cond, guided))
        ratio = next(lengths) / (next(lengths) + 1e-8)
        return cast(Tensor, guided * ratio.clamp(min=0.0, max=1.0) * strength)

    return shorten


def perpendicular(cond: Tensor, uncond: Tensor, empty: Tensor, scale: float, negative_scale: float) -> Tensor:
    """Guidance by that part of the negative side that the positive one has not (Armandpour et al. 2023)."""
    positive, negative = cond - empty, uncond - empty
    share = (negative * positive).sum() / positive.square().sum()
    return empty + scale * (positive - negative_scale * (negative - share * positive))


def against_empty(empty: Conditioning, negative_scale: float) -> Hook:
    """`perpendicular` to an empty text's answer."""

    def mix(given: Mapping[str, Any]) -> Tensor:
        model, x = given["model"], given["input"]
        here = Situation(shape=x.shape, negative=True)
        conditions = completed(resolve(empty, x.shape, model.sampling), model, here)
        [nothing] = calc_cond_batch(model, [conditions], x, given["sigma"], given["model_options"])
        sides = given["cond_denoised"], given["uncond_denoised"]
        return cast(Tensor, x - perpendicular(*sides, nothing, given["cond_scale"], negative_scale))

    return mix


def replaced(options: Mapping[str, Any], name: str, block: tuple[str, int], function: Callable[..., Tensor]) -> Options:
    """A MODEL's options with a function in the place of one block's attention."""
    transformer_options = dict(options.get("transformer_options") or {})
    everywhere = dict(transformer_options.get("patches_replace") or {})
    everywhere[name] = {**everywhere.get(name, {}), block: function}
    return {**options, "transformer_options": {**transformer_options, "patches_replace": everywhere}}


def perturbed(scale: float, block: tuple[str, int] = ("middle", 0)) -> Hook:
    """Away from what the model answers when cells attend to themselves only (Ahn et al. 2024, arXiv:2403.17377)."""

    def push(given: Mapping[str, Any]) -> Tensor:
        guided = given["denoised"]
        if scale == 0.0:
            return cast(Tensor, guided)
        options = replaced(given["model_options"], "attn1", block, lambda q, k, v, options: v)
        [worse] = calc_cond_batch(given["model"], [given["cond"]], given["input"], given["sigma"], options)
        return cast(Tensor, guided + (given["cond_denoised"] - worse) * scale)

    return push


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedLayers:
    """Away from what a diffusion transformer answers without some of its blocks (as in Stable Diffusion 3.5)."""

    double: tuple[int, ...]
    single: tuple[int, ...]
    start_sigma: float
    end_sigma: float

    def acts(self, sigma: Tensor) -> bool:
        """Whether it acts at noise levels [B]."""
        return self.end_sigma <= number_of(sigma) <= self.start_sigma

    def options(self, options: Mapping[str, Any]) -> Options:
        """A MODEL's options under which these blocks hand on what they are given."""
        for name, numbers in (("double_block", self.double), ("single_block", self.single)):
            for number in numbers:
                options = replaced(options, "dit", (name, number), lambda given, extra: given)
        return dict(options)

    def push(self, scale: float, rescaling: float) -> Hook:
        """The guided answer pushed, and brought to the positive one's deviation by a share."""

        def push(given: Mapping[str, Any]) -> Tensor:
            guided, cond = given["denoised"], given["cond_denoised"]
            if scale <= 0.0 or not self.acts(given["sigma"]):
                return cast(Tensor, guided)
            options = self.options(given["model_options"])
            [worse] = calc_cond_batch(given["model"], [given["cond"]], given["input"], given["sigma"], options)
            pushed = guided + (cond - worse) * scale
            if rescaling == 0.0:
                return cast(Tensor, pushed)
            factor = cond.std() / pushed.std()
            return cast(Tensor, pushed * (rescaling * factor + (1.0 - rescaling)))

        return push

    def answers(self, given: Mapping[str, Any]) -> list[Tensor]:
        """Both sides, the negative one without the blocks."""
        model, x, sigma = given["model"], given["input"], given["sigma"]
        positive, negative = [*given["conds"], None][:2]
        if negative is None or not self.acts(sigma):
            sides = [side for side in given["conds"] if side is not None]
            return calc_cond_batch(model, sides, x, sigma, given["model_options"])
        [cond] = calc_cond_batch(model, [positive], x, sigma, given["model_options"])
        [worse] = calc_cond_batch(model, [negative], x, sigma, self.options(given["model_options"]))
        return [cond, worse]


class SelfAttention:
    """Self-attention guidance: away from a picture blurred where the model looks most (Hong et al. 2022, 2210.00939).

    `watch` stands in for an attention and keeps what the negative side looks at; `push` uses it.
    """

    def __init__(self, scale: float, blur_sigma: float, threshold: float = 1.0) -> None:
        self.scale, self.blur_sigma, self.threshold = scale, blur_sigma, threshold
        self.seen: Tensor | None = None  # [B * heads, N, N]

    def watch(self, query: Tensor, key: Tensor, value: Tensor, options: Mapping[str, Any]) -> Tensor:
        """Attention written out, its scores kept."""
        heads, sides = int(options["n_heads"]), list(options["cond_or_uncond"])
        split = (part.reshape(*part.shape[:2], heads, -1).transpose(1, 2) for part in (query, key, value))
        query, key, value = split
        scores = (query.float() @ key.float().transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(dim=-1)
        if 1 in sides:
            each = len(scores) // len(sides)
            place = sides.index(1) * each
            self.seen = scores[place : place + each]
        mixed: Tensor = scores.to(value) @ value
        return mixed.transpose(1, 2).flatten(2)

    def push(self, given: Mapping[str, Any]) -> Tensor:
        """The guided answer moved away from the blurred picture's."""
        guided, uncond, x = given["denoised"], given["uncond_denoised"], given["input"]
        if self.seen is None or min(guided.shape[2:]) <= 4:  # the blur needs a few cells
            return cast(Tensor, guided)
        blurred = self.degraded(uncond)
        noised = blurred + x - uncond
        options = given["model_options"]
        [answer] = calc_cond_batch(given["model"], [given["uncond"]], noised, given["sigma"], options)
        return cast(Tensor, guided + (blurred - answer) * self.scale)

    def degraded(self, latent: Tensor) -> Tensor:
        """Latents [B, C, H, W] blurred where cells are looked at more than their share."""
        assert self.seen is not None  # push() asks
        looked = self.seen.mean(dim=1).sum(dim=1) > self.threshold  # [B, N]
        height, width = latent.shape[-2:]
        grid = looked.reshape(-1, 1, *sides_of(looked.shape[-1], height, width)).to(latent)
        mask = torch.nn.functional.interpolate(grid, size=(height, width), mode="nearest")
        return blur(latent, self.blur_sigma) * mask + latent * (1 - mask)


def sides_of(cells: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of so many cells of latents of these sides, halved some times and rounded up each time.

    Of cells that no halving gives, the sides that are nearest to the latents' proportions.
    """
    rows, columns = height, width
    while rows * columns > cells:
        rows, columns = -(-rows // 2), -(-columns // 2)
    if rows * columns == cells:
        return rows, columns
    wanted = (cells * height / width) ** 0.5
    rows = min((side for side in range(1, cells + 1) if cells % side == 0), key=lambda side: abs(side - wanted))
    return rows, cells // rows


def blur(latent: Tensor, sigma: float, cells: int = 9) -> Tensor:
    """Latents [B, C, H, W] under a Gaussian of so many cells, mirrored at the edges."""
    channels, reach = latent.shape[1], cells // 2
    places = torch.arange(-reach, reach + 1, device=latent.device, dtype=torch.float32)
    line = torch.exp(-0.5 * (places / sigma) ** 2) if sigma > 0 else (places == 0).float()
    line = line / line.sum()
    kernel = (line[:, None] * line[None, :]).to(latent).expand(channels, 1, cells, cells)
    sides = [min(reach, latent.shape[-1] - 1)] * 2 + [min(reach, latent.shape[-2] - 1)] * 2
    padded = torch.nn.functional.pad(latent, sides, mode="reflect")
    padded = torch.nn.functional.pad(padded, [reach - sides[0]] * 2 + [reach - sides[2]] * 2, mode="replicate")
    return torch.nn.functional.conv2d(padded, kernel, groups=channels)
