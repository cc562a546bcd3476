"""SA-Solver: stochastic Adams predictor and corrector on the denoised latent (Xue et al. 2023, arXiv:2309.05019)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from executor.inference.noise import NoiseSource
from executor.inference.samplers.base import Callback, Model, Sigmas, finite_snr, silent
from executor.inference.samplers.integrals import exponential_weights

Stochasticity = Callable[[float], float]
"""tau of the paper by sigma: 0 follows the ODE, 1 the reverse SDE."""

# Recorded behaviour: the share of the sampling in which the default tau is one (samplers_trace, */sa_solver).
NOISY_SHARE = (0.2, 0.8)


def interval_stochasticity(start_sigma: float, end_sigma: float, eta: float = 1.0) -> Stochasticity:
    """eta between two sigmas, zero outside (the paper's piecewise constant tau)."""

    def tau(sigma: float) -> float:
        return eta if start_sigma >= sigma >= end_sigma else 0.0

    return tau


def stochastic_weights(
    times: Sequence[float], start: float, end: float, tau: float, *, simple: bool = False
) -> list[float]:
    """Weights of answers at `times` (half log SNR) in the step from `start` to `end`, without the factor alpha.

    The paper's Adams coefficients for a tau that is constant in the step. `simple` replaces the slope's exact integral
    in a second-order step, counted from `start`, by its leading term (1 + tau^2) h^2 / 2 (recorded behaviour:
    numeric/guiders, case SamplerSASolver/15).
    """
    rate, width = 1 + tau**2, end - start
    if not simple or len(times) != 2:
        return exponential_weights(times, start, end, rate)
    whole, slope = -math.expm1(-rate * width), 0.5 * rate * width**2 / (times[0] - times[1])
    return [whole + slope, -slope] if times[0] == start else [slope, whole - slope]


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """How many answers a step may use: no more than there are, fewer again towards an end at zero.

    At an end at zero the log SNR is infinite. The orders fall to one on the way there, as UniPC's do (Zhao et al.
    2023, arXiv:2302.04867); recorded behaviour: numeric/samplers_variants, */sa_solver/steps3 and steps20
    for the fall, adv_0_4_leftover for runs that end above zero and keep their order.
    """

    predictor: int
    corrector: int
    steps: int
    ends_at_zero: bool

    def predicting(self, step: int) -> int:
        """Answers for the prediction of level step + 1 from level `step`."""
        return self._limited(self.predictor, have=step + 1, left=self.steps - 1 - step)

    def correcting(self, step: int) -> int:
        """Answers, its own among them, for the correction of level `step`."""
        return self._limited(self.corrector, have=step + 1, left=self.steps - step)

    def _limited(self, order: int, *, have: int, left: int) -> int:
        return min(order, have, left) if self.ends_at_zero else min(order, have)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Path:
    """The noise levels of a run in the terms of the method."""

    sigmas: Sequence[float]
    alphas: Sequence[float]
    times: Sequence[float]  # half log SNR
    taus: Sequence[float]
    simple: bool

    def advanced(self, x: Tensor, step: int, answers: Sequence[Tensor], newest: int) -> Tensor:
        """x at level `step` taken to the next one without noise; answers[0] belongs to level `newest`."""
        start, end, tau = self.times[step], self.times[step + 1], self.taus[step + 1]
        times = [self.times[newest - back] for back in range(len(answers))]
        weights = stochastic_weights(times, start, end, tau, simple=self.simple)
        aim = torch.stack([answer * weight for answer, weight in zip(answers, weights, strict=True)]).sum(dim=0)
        kept = self.sigmas[step + 1] / self.sigmas[step] * math.exp(-(tau**2) * (end - start))
        return x * kept + aim * self.alphas[step + 1]

    def spread(self, step: int) -> float:
        """Deviation of the noise that a step adds: sigma sqrt(1 - exp(-2 tau^2 h)) for a constant tau."""
        width = self.times[step + 1] - self.times[step]
        return self.sigmas[step + 1] * math.sqrt(-math.expm1(-2 * self.taus[step + 1] ** 2 * width))


def sa_solver(
    model: Model,
    x: Tensor,
    sigmas: Sigmas,
    *,
    noise: NoiseSource,
    callback: Callback = silent,
    tau: Stochasticity | None = None,
    s_noise: float = 1.0,
    predictor_order: int = 3,
    corrector_order: int = 4,
    use_pece: bool = False,
    simple_order_2: bool = False,
) -> Tensor:
    """Predict, evaluate, correct (the paper's algorithm); with `use_pece` evaluate again after the correction.

    Only corrected latents are handed out: a run that ends above zero returns that of its last but one level
    (recorded behaviour: numeric/samplers_variants, */sa_solver/adv_0_4_leftover).
    """
    sampling = model.sampling
    tau = tau or interval_stochasticity(*(sampling.percent_to_sigma(share) for share in NOISY_SHARE))
    levels = finite_snr(sampling, sigmas)
    steps = len(levels) - 1
    path = _Path(
        sigmas=levels,
        alphas=[sampling.alpha(sigma) for sigma in levels],
        times=[sampling.half_log_snr(sigma) if sigma > 0 else math.inf for sigma in levels],
        taus=[tau(sigma) for sigma in levels],
        simple=simple_order_2,
    )
    orders = Orders(predictor=predictor_order, corrector=corrector_order, steps=steps, ends_at_zero=levels[-1] == 0)
    answers: list[Tensor] = []  # newest first
    predicted, drawn = x, torch.zeros_like(x)
    for step in range(steps):
        denoised = model(predicted, levels[step])
        callback(step, predicted, denoised)
        answers = [denoised, *answers[: max(predictor_order, corrector_order) - 1]]
        to_zero = levels[step + 1] == 0
        if step == 0:
            x = predicted
        elif use_pece or not to_zero:
            x = path.advanced(x, step - 1, answers[: orders.correcting(step)], step) + drawn
            if use_pece:
                denoised = answers[0] = model(x, levels[step])
        if to_zero:
            return denoised
        drawn = torch.zeros_like(x)
        if path.taus[step + 1] > 0 and s_noise > 0:
            drawn = noise(levels[step], levels[step + 1]) * (path.spread(step) * s_noise)
        predicted = path.advanced(x, step, answers[: orders.predicting(step)], step) + drawn
    return x


def sa_solver_pece(
    model: Model, x: Tensor, sigmas: Sigmas, *, noise: NoiseSource, callback: Callback = silent
) -> Tensor:
    """`sa_solver` that evaluates again after each correction."""
    return sa_solver(model, x, sigmas, noise=noise, callback=callback, use_pece=True)
