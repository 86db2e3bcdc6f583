"""How long users pause: pure draws of the random numbers they are given."""

import math
from collections.abc import Callable
from random import Random

from djinnload.scenarios.population import Constant, Exponential, Lognormal, Uniform

__all__ = ("pause",)


def pause(
    think: Constant | Exponential | Uniform | Lognormal,
) -> Callable[[Random], int]:
    """Return what draws a pause in ns, ≥ 0; equal random numbers give equal pauses."""
    if isinstance(think, Constant):
        return _constant(think.mean)
    if isinstance(think, Exponential):
        return _exponential(think.mean)
    if isinstance(think, Uniform):
        return _uniform(think.low, think.high)
    return _lognormal(think.mean, think.sigma)


def _constant(mean_ns: int) -> Callable[[Random], int]:
    return lambda _: mean_ns


def _exponential(mean_ns: int) -> Callable[[Random], int]:
    return lambda rng: round(rng.expovariate(1 / mean_ns))


def _uniform(low_ns: int, high_ns: int) -> Callable[[Random], int]:
    return lambda rng: round(rng.uniform(low_ns, high_ns))


def _lognormal(mean_ns: int, sigma: float) -> Callable[[Random], int]:
    # exp(µ + σ²/2) is the mean of a lognormal.
    mu = math.log(mean_ns) - sigma**2 / 2
    return lambda rng: round(rng.lognormvariate(mu, sigma))
