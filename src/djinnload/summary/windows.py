"""How a population went over time: its measure cut into equal windows; pure."""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from djinnload.stats import populations as stats
from djinnload.stats.populations import Array, PopulationSamples
from djinnload.summary.spread import enough
from djinnload.units import MS, SECOND

__all__ = ("MOST", "Presence", "edges", "presence", "windows")

#: Windows at most; longer runs get wider ones, in whole seconds.
MOST = 120
_QUANTILES = {"p50_ms": 0.5, "p99_ms": 0.99}


class Presence(NamedTuple):
    """How many turns were there in each window, and came back ok in it.

    Attributes:
        in_system: float64; time-weighted mean.
        back: int64.
    """

    in_system: Array
    back: Array


def edges(window_ns: tuple[int, int]) -> Array:
    """Return where windows begin, and the last one ends (int64 ns).

    They are 1 s wide, or as many seconds as make `MOST` of them; the last may be
    shorter. Of a measure without length there is none: one edge.
    """
    begin, end = window_ns
    width = max(1, math.ceil((end - begin) / SECOND / MOST)) * SECOND
    end = max(begin, end)
    return np.array([*range(begin, end, width), end], np.int64)


def windows(samples: PopulationSamples) -> list[dict[str, Any]]:
    """Return the windows of one population of one cell, in order of time.

    Each has ``at_s`` (its begin, from the start of measure), ``seconds``,
    ``offered_per_s`` (turns due in it), ``achieved_per_s`` (ok and done in it),
    ``goodput_per_s`` (due in it, ok and within the deadline), ``errors`` (due in it and
    not ok), ``misses`` (due in it and not ok, or later than the deadline),
    ``in_system`` (time-weighted mean), and, of the latency of turns due in it,
    ``p50_ms`` and ``p99_ms``: a turn that is not ok ranks as +inf, None where there are
    too few.
    """
    at = edges(samples.window_ns)
    if len(at) < 2:  # noqa: PLR2004 - a window has two edges
        return []
    turns = samples.turns
    due, ok = turns.due_ns, turns.ok
    bounds = np.searchsorted(due, at)
    seconds = np.diff(at) / SECOND
    inside, achieved = presence(samples)
    good = _per_window(stats.within_deadline(samples), bounds)
    failed = _per_window(~ok, bounds)
    latency = np.where(ok, turns.latency_ns, np.inf)
    return [
        {
            "at_s": float(at[i] - at[0]) / SECOND,
            "seconds": float(seconds[i]),
            "offered_per_s": float((bounds[i + 1] - bounds[i]) / seconds[i]),
            "achieved_per_s": float(achieved[i] / seconds[i]),
            "goodput_per_s": float(good[i] / seconds[i]),
            "errors": int(failed[i]),
            "misses": int(bounds[i + 1] - bounds[i] - good[i]),
            "in_system": float(inside[i]),
            **_quantiles(latency[bounds[i] : bounds[i + 1]]),
        }
        for i in range(len(seconds))
    ]


def presence(samples: PopulationSamples) -> Presence:
    """Return who was there, window by window, of one population of one cell."""
    at = edges(samples.window_ns)
    if len(at) < 2:  # noqa: PLR2004 - a window has two edges
        return Presence(np.empty(0), np.empty(0, np.int64))
    turns = samples.turns
    done = turns.done_ns
    back, _ = np.histogram(done[turns.ok], at)
    inside = (_elapsed(turns.due_ns, at) - _elapsed(done, at)) / np.diff(at)
    return Presence(inside, back)


def _per_window(hits: Array, bounds: Array) -> Array:
    """Return how many of *hits* (a turn, in due order) are in each window."""
    return np.diff(np.append(0, np.cumsum(hits))[bounds])


def _elapsed(times: Array, at: Array) -> Array:
    """Return Σ max(0, t − time) within each window, over its edges: integers."""
    inside = np.zeros(len(at) - 1, np.int64)
    ordered = np.sort(times)
    bounds = np.searchsorted(ordered, at, side="right")
    for i, (begin, end) in enumerate(itertools.pairwise(at)):
        # Those before the window are there for all of it.
        within = ordered[bounds[i] : bounds[i + 1]]
        inside[i] = bounds[i] * (end - begin) + int((end - within).sum())
    return inside


def _quantiles(latency_ns: Array) -> dict[str, float | None]:
    order = np.sort(latency_ns)
    return {
        name: stats.nearest_rank(order, q) / MS if enough(len(order), q) else None
        for name, q in _QUANTILES.items()
    }
