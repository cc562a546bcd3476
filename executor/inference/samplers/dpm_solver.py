"""DPM-Solver on the predicted noise (Lu et al. 2022, arXiv:2206.00927): a fixed budget of calls, or adaptive steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from executor.inference.noise import NoiseSource
from executor.inference.samplers.base import Callback, Model, Sigmas, Split, silent, slope, variance_split
from executor.inference.samplers.integrals import phi

# Order assumed of a step with noise, whatever the solver.
NOISY_ORDER = 1.5
# An error below this widens the next step no further.
LEAST_ERROR = 1e-6


class _Start:
    """A latent at time t = -ln(sigma), from which steps of order 1 to 3 share their evaluations.

    In this time dx/dt = -sigma eps: the step of width h is x - sigma' h (phi_1(h) eps + ...), DPM-Solver-2
    and -3 of the paper for alpha 1.
    """

    def __init__(self, model: Model, x: Tensor, time: float) -> None:
        self._model, self._x, self._time = model, x, time
        self.denoised = model(x, math.exp(-time))
        self._eps = slope(x, math.exp(-time), self.denoised)
        self._known: dict[float, Tensor] = {}

    def order_1(self, target: float) -> Tensor:
        """No further evaluation."""
        width = target - self._time
        return self._x - self._eps * (math.exp(-target) * width * phi(1, width))

    def order_2(self, target: float, share: float = 0.5) -> Tensor:
        """One more evaluation at `share` of the step."""
        width = target - self._time
        change = (self._eps_at(self._time + share * width) - self._eps) / (2 * share)
        return self.order_1(target) - change * (math.exp(-target) * width * phi(1, width))

    def order_3(self, target: float, share: float = 1 / 3) -> Tensor:
        """Two more evaluations, at `share` and twice `share` of the step."""
        width, twice = target - self._time, 2 * share
        change = (self._eps_at(self._time + share * width) - self._eps) / share
        later = self._time + twice * width
        reached = self._with_bend(later, change * twice)
        change = (self._eps_of(reached, later) - self._eps) / twice
        return self._with_bend(target, change)

    def _with_bend(self, target: float, change: Tensor) -> Tensor:
        """A step whose predicted noise changes by `change` on its way, evenly."""
        width = target - self._time
        return self.order_1(target) - change * (math.exp(-target) * width * phi(2, width))

    def _eps_at(self, time: float) -> Tensor:
        if time not in self._known:
            self._known[time] = self._eps_of(self.order_1(time), time)
        return self._known[time]

    def _eps_of(self, x: Tensor, time: float) -> Tensor:
        return slope(x, math.exp(-time), self._model(x, math.exp(-time)))


def _time_range(sigmas: Sigmas) -> tuple[float, float]:
    last = sigmas[-1] if sigmas[-1] > 0 else sigmas[-2]
    return -math.log(sigmas[0]), -math.log(last)


def dpm_fast(model: Model, x: Tensor, sigmas: Sigmas, *, callback: Callback = silent) -> Tensor:
    """DPM-Solver-fast: len(sigmas) - 1 evaluations in steps of mostly third order (the paper's appendix)."""
    calls = len(sigmas) - 1
    start, end = _time_range(sigmas)
    orders = [3] * (calls // 3 - 1) + [2, 1] if calls % 3 == 0 else [3] * (calls // 3) + [calls % 3]
    width = (end - start) / len(orders)
    for step, order in enumerate(orders):
        here = _Start(model, x, start + width * step)
        callback(step, x, here.denoised)
        x = (here.order_1, here.order_2, here.order_3)[order - 1](start + width * (step + 1))
    return x


@dataclass(slots=True, kw_only=True)
class StepControl:
    """The width of the next step from the errors of the last three, by a digital filter.

    Source: PID control as h' = h e_1^-(I + P + D)/k e_2^(P + 2 D)/k e_3^-D/k, with the change smoothly limited to
    1 + arctan(change - 1) (Soderlind 2003, Digital filters in adaptive time-stepping; Soderlind & Wang 2006). With
    I 1, P 0 and D 0 this is the paper's h e^(-1/k) (its appendix on adaptive steps). A step stands when the change is
    at least `accept_safety`. Recorded behaviour: sigma_of_calls of numeric/samplers_trace, */dpm_adaptive, and
    guiders, SamplerDPMAdaptative/10.
    """

    width: float
    order: float
    proportional: float
    integral: float
    derivative: float
    accept_safety: float
    past_errors: tuple[float, ...] = ()

    def accepts(self, error: float) -> bool:
        """Tell whether a step with this error stands, and set the width of the next one."""
        newest = max(error, LEAST_ERROR)
        errors = (newest, *(self.past_errors or (newest, newest)))
        gains = (
            self.integral + self.proportional + self.derivative,
            -self.proportional - 2 * self.derivative,
            self.derivative,
        )
        wanted = math.prod(error ** (-gain / self.order) for error, gain in zip(errors, gains, strict=True))
        change = 1 + math.atan(wanted - 1)
        self.width *= change
        self.past_errors = errors[1:]
        if change < self.accept_safety:
            return False
        self.past_errors = errors[:2]
        return True


def dpm_adaptive(
    model: Model,
    x: Tensor,
    sigmas: Sigmas,
    *,
    noise: NoiseSource,
    callback: Callback = silent,
    order: int = 3,
    rtol: float = 0.05,
    atol: float = 0.0078,
    h_init: float = 0.05,
    pcoeff: float = 0.0,
    icoeff: float = 1.0,
    dcoeff: float = 0.0,
    accept_safety: float = 0.81,
    eta: float = 0.0,
    s_noise: float = 1.0,
) -> Tensor:
    """DPM-Solver-12 or -23 between the largest and smallest sigma; steps as wide as the tolerances allow.

    The error is the root mean square of (low - high) / max(atol, rtol max(|low|, |low before|)), as in the paper.
    """
    time, end = _time_range(sigmas)
    control = StepControl(
        width=h_init,
        order=order if eta == 0 else NOISY_ORDER,
        proportional=pcoeff,
        integral=icoeff,
        derivative=dcoeff,
        accept_safety=accept_safety,
    )
    low_before, step = x, 0
    while time < end:
        reached = min(end, time + control.width)
        target, split = _with_noise(time, reached, end, eta)
        here = _Start(model, x, time)
        if order == 2:
            low, high = here.order_1(target), here.order_2(target)
        else:
            low, high = here.order_2(target, 1 / 3), here.order_3(target)
        bound = (rtol * torch.maximum(low.abs(), low_before.abs())).clamp(min=atol)
        if control.accepts(((low - high) / bound).square().mean().sqrt().item()):
            low_before = low
            x = split.renewed(high, noise, math.exp(-time), math.exp(-reached), s_noise)
            time = reached
        callback(step, x, here.denoised)
        step += 1
    return x


def _with_noise(time: float, reached: float, end: float, eta: float) -> tuple[float, Split]:
    """The time to solve to, no later than `end`, and the noise that leads back to `reached`."""
    if eta == 0:
        return reached, Split(math.exp(-reached), 0.0, 1.0)
    down = variance_split(math.exp(-time), math.exp(-reached), eta).down
    target = min(end, -math.log(down))
    up = math.sqrt(max(math.exp(-2 * reached) - math.exp(-2 * target), 0.0))
    return target, Split(math.exp(-target), up, 1.0)
