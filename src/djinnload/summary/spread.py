"""Values → how they are spread: percentiles with intervals, and curves; pure.

Percentiles are printed where n × (1 − q) ≥ 10; what is not known is None, never 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from djinnload import deciding
from djinnload.stats import populations as stats
from djinnload.stats.populations import Array
from djinnload.units import MS

__all__ = ("CURVE_POINTS", "PERCENTILES", "curve", "enough", "spread_of", "times")

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
_ENOUGH_BEYOND = 10
_ROUNDING = 1e-6
#: Points of a curve at most; drawn as a staircase, each has a corner more.
CURVE_POINTS = 240
#: Of these, spaced ever more finely towards the largest: the tail is what matters.
_TAIL_POINTS = 100


def enough(n: int, q: float) -> bool:
    """Return whether *n* values are enough to print their q-quantile."""
    return n * (1 - q) >= _ENOUGH_BEYOND - _ROUNDING


def spread_of(values: Array) -> dict[str, Any]:
    """Return n, mean, percentiles and max of finite *values*, in their unit."""
    return _spread(np.sort(values), float(values.mean()) if len(values) else None)


def _spread(order: Array, mean: float | None) -> dict[str, Any]:
    made: dict[str, Any] = {"n": len(order), "mean": mean}
    for name, q in PERCENTILES.items():
        shown = enough(len(order), q)
        made[name] = stats.nearest_rank(order, q) if shown else None
    return made | {"max": float(order[-1]) if len(order) else None}


def times(repeats: Sequence[Array]) -> dict[str, Any]:
    """Return what `spread_of` says of times (ns, finite, due order) in ms, and ci95.

    Percentiles are of all repeats pooled. Their intervals are over repeats from five
    on; else over blocks in due order. No interval: not in ``ci95``.
    """
    whole = _joined(repeats) / MS
    order = np.sort(whole)
    made = _spread(order, float(whole.mean()) if len(whole) else None)
    apart = [values for values in repeats if len(values)]
    made["ci95"] = (
        _over_repeats(apart)
        if len(apart) >= deciding.ENOUGH_REPEATS
        else _over_blocks(made, whole, order)
    )
    return made


def _joined(every: Sequence[Array]) -> Array:
    if len(every) == 1:
        return every[0]
    return np.concatenate(every) if every else np.empty(0)


def _over_repeats(apart: Sequence[Array]) -> dict[str, list[float]]:
    spreads = [spread_of(values / MS) for values in apart]
    made = {}
    for name in ("mean", *PERCENTILES):
        seen = [each[name] for each in spreads]
        limits = None if None in seen else stats.repeat_interval(seen)
        if limits:
            made[name] = list(limits)
    return made


def _over_blocks(
    made: Mapping[str, Any], whole: Array, order: Array
) -> dict[str, list[float]]:
    if not len(whole):
        return {}
    grown = stats.grow(whole)
    found = {"mean": stats.mean_interval(whole, grown=grown)} | {
        name: stats.percentile_interval(whole, q, order=order, grown=grown)
        for name, q in PERCENTILES.items()
        if made[name] is not None
    }
    return {name: list(limits) for name, limits in found.items() if limits}


def curve(repeats: Sequence[Array]) -> dict[str, Any] | None:
    """Return points of the cumulative share of times (ns, all repeats together).

    Args:
        repeats: +inf counts, and is never reached.

    Returns:
        ``n``, ``lost`` (how many are +inf), ``ms`` (ascending) and ``share`` (of values
        up to it), at most `CURVE_POINTS` of them, the tail kept; None of no values.
    """
    whole = _joined(repeats)
    if not (n := len(whole)):
        return None
    order = np.sort(whole)
    count = int(np.searchsorted(order, np.inf))
    rank = np.arange(count)
    if count > CURVE_POINTS:
        even = np.linspace(0, count - 1, CURVE_POINTS - _TAIL_POINTS)
        tail = count - np.geomspace(1, count, _TAIL_POINTS)
        rank = np.unique(np.concatenate((even, tail)).astype(np.int64))
    return {
        "n": n,
        "lost": n - count,
        "ms": (order[rank] / MS).tolist(),
        "share": ((rank + 1) / n).tolist(),
    }
