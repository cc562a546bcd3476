"""UniPC: a multistep predictor with a corrector of one order more at no extra call.

Source: Zhao et al. 2023, arXiv:2302.04867, in its form for predicted data and for data + sigma noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate

from torch import Tensor

from executor.inference.samplers.base import Callback, Model, Sigmas, rounded_variance, silent, slope
from executor.inference.samplers.integrals import exponential_weights

# The method works in log sigma and ends here instead of at zero (recorded: sigma_of_calls of samplers_trace).
LAST_SIGMA = 0.001
HIGHEST_ORDER = 3


def uni_pc(model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent) -> Tensor:
    """UniPC of order 3 with B(h) = h."""
    return _uni_pc(model, x, sigmas, callback, exponential_b=False)


def uni_pc_bh2(model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent) -> Tensor:
    """UniPC of order 3 with B(h) = exp(h) - 1, which is 1 - exp(-h) for predicted data."""
    return _uni_pc(model, x, sigmas, callback, exponential_b=True)


class _Level:
    """A noise level of x / sqrt(1 + sigma^2), which is alpha data + noise, and its half log SNR, the method's time.

    Recorded callbacks get the latent in this form (samplers_trace, */uni_pc).
    """

    def __init__(self, sigma: float) -> None:
        variance = rounded_variance(sigma)
        self.sigma, self.size = sigma, math.sqrt(variance)
        self.alpha, self.noise = 1.0 / self.size, math.sqrt(1.0 - 1.0 / variance)
        self.time = math.log(self.alpha / self.noise)

    def answer(self, model: Model, x: Tensor) -> Tensor:
        """The denoised latent: x without the predicted noise."""
        noisy = x * self.size
        return (x - slope(noisy, self.sigma, model(noisy, self.sigma)) * self.noise) / self.alpha


def _uni_pc(model: Model, x: Tensor, sigmas: Sigmas, callback: Callback, *, exponential_b: bool) -> Tensor:
    levels = [_Level(sigma) for sigma in [*sigmas[:-1], sigmas[-1] or LAST_SIGMA]]
    steps = len(levels) - 1
    x = x / levels[0].size
    answers = [levels[0].answer(model, x)]  # newest first
    for step in range(1, steps):
        predicted, corrected = _step(levels, step, x, answers, exponential_b=exponential_b)
        callback(step - 1, x, answers[0])
        latest = levels[step].answer(model, predicted)
        x = corrected(latest)
        answers = [latest, *answers[: HIGHEST_ORDER - 1]]
    if steps > 1:  # recorded behaviour: a single step leaves the noise as it is (samplers_variants, */uni_pc/steps1)
        x, _ = _step(levels, steps, x, answers, exponential_b=exponential_b)
    callback(steps - 1, x, answers[0])
    x = x / levels[-1].alpha
    return model.sampling.inverse_noise_scaling(LAST_SIGMA, x) if sigmas[-1] == 0 else x


def _step(
    levels: Sequence[_Level], step: int, x: Tensor, answers: Sequence[Tensor], *, exponential_b: bool
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """x at level step - 1 predicted at level `step`, and what corrects it given the answer there."""
    start, end = levels[step - 1], levels[step]
    past = answers[: _order(step, len(levels) - 1)]
    times = [levels[step - 1 - back].time for back in range(len(past))]

    def towards(known: Sequence[Tensor], at: Sequence[float]) -> Tensor:
        weights = _weights(at, start.time, end.time, exponential_b=exponential_b)
        parts = (answer * (end.alpha * weight) for answer, weight in zip(known, weights, strict=True))
        *_, total = accumulate(parts, initial=x * (end.noise / start.noise))
        return total

    return towards(past, times), lambda latest: towards([*past, latest], [*times, end.time])


def _order(step: int, steps: int) -> int:
    """Answers used by a step: as many as there are, falling to one at the end.

    The warm-up is the paper's; the fall is recorded behaviour: numeric/samplers_variants, */uni_pc/steps3 and steps20.
    """
    return min(HIGHEST_ORDER, step, steps + 1 - step)


def _weights(times: Sequence[float], start: float, end: float, *, exponential_b: bool) -> list[float]:
    """Weights of the answers at `times`, of which the first belongs to `start`, in the step to `end`.

    The order conditions of the paper (R a = b / B) are those of the polynomial through all answers
    against exp(-(end - t)), whatever B is. Only where there is a single change B counts: it then has the weight
    B / 2, over its share of the step, instead of the solution.
    """
    if len(times) != 2:
        return exponential_weights(times, start, end)
    width = end - start
    whole = -math.expm1(-width)
    change = 0.5 * (whole if exponential_b else width) * width / (times[1] - start)
    return [whole - change, change]
