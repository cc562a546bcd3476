"""What a network's output means, where a file tells it, and where only the network itself can. Knows no family."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from executor.inference.casting import cast_leaves, plain_leaves
from executor.inference.denoiser import Edm, ModelSampling, VPrediction, continuous_edm, discrete_eps, discrete_v
from executor.inference.memory import Part
from executor.inference.noise_levels import DiscreteLevels
from executor.inference.unet import UNet
from executor.inference.weights import WeightFile

V_MARK, ZERO_SNR_MARK = "v_pred", "ztsnr"
"""Tensors by which fine-tuners mark networks that predict v, and that were trained from pure noise."""
ZERO_SNR_FROM = 1000.0  # the largest sigma of a model trained from (nearly) pure noise is above it
EDM_V_MARK = "edm_vpred.sigma_max"
PREDICTION_KEY = "modelspec.prediction_type"  # of the header's text metadata (Stability AI's ModelSpec)
LAST_TIMESTEP = 999.0
PROBE_CELLS = 16
SEED = 0
# a network that predicts noise answers pure noise with (nearly) itself: correlation 1; one that predicts v does not
ALIKE = 0.5


def told_sampling(file: WeightFile) -> ModelSampling | None:
    """What the file says of its network's output, by marking tensors or its header; None when it says nothing."""
    marks = {name.rpartition("diffusion_model.")[2] for name in file.tensors}
    if EDM_V_MARK in marks:
        sigmas = (edge(file, f"edm_vpred.sigma_{end}", default) for end, default in (("min", 0.002), ("max", 120.0)))
        return continuous_edm(VPrediction(), *sigmas)
    if V_MARK in marks:
        return discrete_v(zero_snr=ZERO_SNR_MARK in marks)
    told = file.metadata.get(PREDICTION_KEY, "")
    if told in ("v", "v_prediction"):
        return discrete_v(zero_snr=ZERO_SNR_MARK in marks)
    return discrete_eps(zero_snr=ZERO_SNR_MARK in marks) if told in ("epsilon", "eps") else None


def marks_of(sampling: ModelSampling) -> dict[str, Tensor]:
    """The tensors by which a file tells `told_sampling` of discrete v prediction; none for what it need not tell."""
    if type(sampling.prediction) is not VPrediction or not isinstance(sampling.levels, DiscreteLevels):
        return {}
    mark = torch.zeros(0)
    return {V_MARK: mark, ZERO_SNR_MARK: mark} if sampling.sigma_max > ZERO_SNR_FROM else {V_MARK: mark}


def edge(file: WeightFile, name: str, default: float) -> float:
    """A number that the file holds as a tensor."""
    tensor = file.tensors.get(name)
    return default if tensor is None else float(tensor.item())


def edm() -> ModelSampling:
    """Playground 2.5 (Li et al. 2024, arXiv:2402.17245)."""
    return continuous_edm(Edm(0.5), 0.002, 80.0)


def probed_sampling(network: Part[nn.Module]) -> ModelSampling:
    """Noise or v, by what the network makes of pure noise at the last timestep (Salimans & Ho 2022, arXiv:2202.00512).

    Nothing in an SD2.x file tells the 512 pixel models, which predict noise, from those of 768, which predict v.
    """
    return discrete_eps() if alike(network) > ALIKE else discrete_v()


@torch.no_grad()
def alike(network: Part[nn.Module]) -> float:
    """The correlation of pure noise and what the network answers, -1..1."""
    unet = network.module
    assert isinstance(unet, UNet)
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.randn(1, unet.out_channels, PROBE_CELLS, PROBE_CELLS, generator=generator)
    given = noise
    if unet.in_channels > unet.out_channels:  # inpainting models: all is masked
        beside = torch.zeros(1, unet.in_channels - unet.out_channels, PROBE_CELLS, PROBE_CELLS)
        beside[:, :1] = 1.0
        given = torch.cat([noise, beside], dim=1)
    context = torch.zeros(1, 77, unet.shape.context or 1)
    cast_leaves(unet)
    try:
        answer = unet(given, torch.tensor([LAST_TIMESTEP]), context)
    finally:
        plain_leaves(unet)
    return float(torch.corrcoef(torch.stack([noise.flatten(), answer.float().flatten()]))[0, 1])
