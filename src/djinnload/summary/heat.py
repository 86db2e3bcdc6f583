"""Latency over time as counts: when a turn was due × how long it took; pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from djinnload.stats.populations import Array, PopulationSamples
from djinnload.units import MS, SECOND

__all__ = ("heat",)

#: Turns in a column on average, at least, and how many columns there may be.
_TURNS, _COLUMNS, _ROWS = 25, (8, 40), 24
#: Latencies closer together than this factor are one row, and nothing to see.
_NARROW = 1.01


def heat(repeats: Sequence[PopulationSamples]) -> dict[str, Any] | None:
    """Return how many turns took how long, by when they were due; None of no turns.

    Args:
        repeats: One population in each; times count from the start of each measure.

    Returns:
        ``at_s`` and ``ms``, the edges of columns (even) and rows (even in the
        logarithm; a turn on the last edge is in the last row), ``counts``, a list a
        row, and ``lost``, turns of each column that were not ok.
    """
    n = sum(len(each.turns.due_ns) for each in repeats)
    windows = [each.window_ns for each in repeats]
    length = max((end - begin for begin, end in windows), default=0)
    if not n or not length:
        return None
    columns = int(np.clip(n // _TURNS, *_COLUMNS))
    latencies = [_latencies(each) for each in repeats]
    known = [ends for each in latencies if (ends := _ends(each))]
    low = min((each[0] for each in known), default=1.0)
    high = max((each[1] for each in known), default=1.0)
    rows = _ROWS if high > low * _NARROW else 1
    edges = np.geomspace(low, max(high, low * _NARROW), rows + 1)
    counts, lost = np.zeros((rows, columns), np.int64), np.zeros(columns, np.int64)
    for each, latency in zip(repeats, latencies, strict=True):
        column = _column(each, length, columns)
        fine = np.isfinite(latency)
        row = np.searchsorted(edges, latency[fine], "right") - 1
        place = np.clip(row, 0, rows - 1) * columns + column[fine]
        counts += np.bincount(place, minlength=rows * columns).reshape(rows, columns)
        lost += np.bincount(column[~fine], minlength=columns)
    return {
        "at_s": np.linspace(0, length / SECOND, columns + 1).tolist(),
        "ms": (edges / MS).tolist(),
        "counts": counts.tolist(),
        "lost": lost.tolist(),
    }


def _latencies(samples: PopulationSamples) -> Array:
    """Return latencies (ns, at least 1), +inf of turns that are not ok."""
    turns = samples.turns
    latency: Array = np.where(turns.ok, np.maximum(turns.latency_ns, 1.0), np.inf)
    return latency


def _ends(latency: Array) -> tuple[float, float] | None:
    known = latency[np.isfinite(latency)]
    return (float(known.min()), float(known.max())) if len(known) else None


def _column(samples: PopulationSamples, length: int, columns: int) -> Array:
    since = samples.turns.due_ns - samples.window_ns[0]
    column: Array = np.clip(since * columns // length, 0, columns - 1).astype(np.int64)
    return column
