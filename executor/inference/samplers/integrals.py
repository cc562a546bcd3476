"""Integrals over one step that methods share: of polynomials through past answers, and of exponentials.

Plain numbers in, plain numbers out: knows no latent, no model and no sampler.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

# Nodes and weights of Gauss-Legendre quadrature on -1..1, exact for polynomials up to degree 7.
GAUSS = (
    (-0.8611363115940526, 0.34785484513745385),
    (-0.3399810435848563, 0.6521451548625461),
    (0.3399810435848563, 0.6521451548625461),
    (0.8611363115940526, 0.34785484513745385),
)
# Below this the recursion for phi loses more digits than its power series, cut here, leaves out.
SMALL_EXPONENT, SERIES_TERMS = 0.05, 8

# Pieces in which an exponential over a step is integrated; steps are at most a few units of log SNR wide.
EXPONENTIAL_PIECES = 16

Function = Callable[[float], float]


def integral(function: Function, start: float, end: float, pieces: int = 1) -> float:
    """The integral of a smooth function, by Gauss's rule on `pieces` equal parts."""
    width = (end - start) / pieces
    centres = (start + width * (piece + 0.5) for piece in range(pieces))
    return 0.5 * width * sum(weight * function(at + 0.5 * width * node) for at in centres for node, weight in GAUSS)


def lagrange_basis(nodes: Sequence[float], place: int, at: float) -> float:
    """The polynomial that is 1 at nodes[place] and 0 at the other nodes."""
    others = (other for index, other in enumerate(nodes) if index != place)
    return math.prod((at - other) / (nodes[place] - other) for other in others)


def interpolation_weights(
    nodes: Sequence[float],
    start: float,
    end: float,
    *,
    clock: Function | None = None,
    density: Function | None = None,
    pieces: int = 1,
) -> list[float]:
    """Weight of the value at each node in the integral of the polynomial through all of them.

    The polynomial is one in clock(t), where the nodes lie, and is integrated over t with `density`; without them in t
    and with 1. Adams-Bashforth (Hairer et al., Solving ODEs I, III.5) for slopes, exact up to four of them.
    """

    def weight(place: int) -> float:
        def share(now: float) -> float:
            basis = lagrange_basis(nodes, place, clock(now) if clock else now)
            return basis * density(now) if density else basis

        return integral(share, start, end, pieces)

    return [weight(place) for place in range(len(nodes))]


def exponential_weights(times: Sequence[float], start: float, end: float, rate: float = 1.0) -> list[float]:
    """Weights of the answers at `times` in an exponential multistep from `start` to `end`, in half log SNR.

    The solution of dD/dt = rate (D - x) keeps exp(-rate h) of x and adds the integral of D against the density
    rate exp(-rate (end - t)): for D the polynomial through all answers. Rate 1 is the probability-flow ODE
    (Lu et al. 2022, arXiv:2211.01095), 1 + tau^2 the SDE of Xue et al. 2023, arXiv:2309.05019.
    """

    def density(now: float) -> float:
        return rate * math.exp(-rate * (end - now))

    return interpolation_weights(times, start, end, density=density, pieces=EXPONENTIAL_PIECES)


def difference_weights(nodes: Sequence[float]) -> list[float]:
    """Weights of the values at the nodes in their divided difference: 1 / product of (node - other nodes)."""
    return [1.0 / math.prod(node - other for other in nodes if other != node) for node in nodes]


def phi(order: int, exponent: float) -> float:
    """phi_k of exponential integrators: e^z, (e^z - 1) / z, ... (Hochbruck & Ostermann 2010, Acta Numerica).

    phi_{k+1}(z) = (phi_k(z) - 1 / k!) / z, that is the sum of z^n / (n + k)!.
    """
    if abs(exponent) < SMALL_EXPONENT:
        return sum(exponent**power / math.factorial(power + order) for power in range(SERIES_TERMS))
    if order == 0:
        return math.exp(exponent)
    if order == 1:
        return math.expm1(exponent) / exponent
    return (phi(order - 1, exponent) - 1.0 / math.factorial(order - 1)) / exponent
