"""The arithmetic of `objective.decide`, and one number a cell for a measure.

Percentiles and shares are decided by counting (x of n_eff, one-sided 95 %
Clopper-Pearson), so that one slow turn is one turn however slow. Means are decided by
the one-sided 95 % t bound over repeats, or over blocks within the run: single turns
are autocorrelated under queueing, so their textbook interval is far too narrow.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from djinnload.objective import Decision, Measure, Objective
from djinnload.stats import populations as stats
from djinnload.stats.populations import Array, PopulationSamples
from djinnload.units import SECOND

__all__ = ("block_values", "decide", "point", "series")

CONFIDENCE = 0.95
#: From this many repeats on, they are the units of evidence; below it, blocks are.
ENOUGH_REPEATS = 5
#: Equal parts of the window for what is measured per time (goodput, in_system …).
BINS = 200
#: More than this many times the evidence is "too near the bound", not a plan.
_MOST = 2.0**20
_SHARES = {"miss_rate": "miss", "error_rate": "error"}


class _Tally(NamedTuple):
    over: int
    n: int
    n_eff: float

    @property
    def effective(self) -> float:
        """Over, scaled as n was to n_eff."""
        return self.over * self.n_eff / self.n if self.n else 0.0


def decide(
    objective: Objective,
    repeats: Sequence[PopulationSamples],
    *,
    probe: Sequence[Array] | None = None,
    confidence: float = CONFIDENCE,
) -> Decision:
    """Decide as `objective.decide` documents."""
    if objective.measure.counted:
        return _by_counting(objective, repeats, confidence)
    every = list(_every(objective.measure, repeats, probe))
    if not sum(map(len, every)):
        return _decision(objective, None, None, 0, 0.0, reason="nothing was measured")
    if objective.measure.stat == "max":
        return _by_value(objective, float(np.concatenate(every).max()), every)
    turns = sum(len(samples.turns.due_ns) for samples in repeats)
    return _by_mean(objective, every, turns, confidence)


def series(measure: Measure, samples: PopulationSamples) -> Array:
    """Return what *measure* is made of: one value a turn in due order, or a time bin.

    Returns:
        float64 in the measure's unit; +inf where a turn is not ok; shares as 0 or 1.

    Raises:
        ValueError: ``gpu_util``, which is no property of turns.
    """
    if measure.metric == "gpu_util":
        raise ValueError("gpu_util comes from a probe, pass its samples")
    if measure.metric == "goodput":
        return _goodput(samples)
    if measure.metric == "throughput":
        return _throughput(samples)
    if measure.metric == "in_system":
        return _in_system(samples)
    name = _SHARES.get(measure.metric, measure.metric)
    return stats.values(samples, name, measure.step)


def point(measure: Measure, values: Array) -> float:
    """Return the measure's value of *values* from `series`; NaN of none."""
    if not len(values):
        return math.nan
    if measure.stat == "percentile":
        return float(stats.nearest_rank(np.sort(values), 1 - measure.tail))
    return float(values.max() if measure.stat == "max" else values.mean())


def _every(
    measure: Measure,
    repeats: Sequence[PopulationSamples],
    probe: Sequence[Array] | None,
) -> Iterator[Array]:
    if measure.metric == "gpu_util":
        yield from probe or ()
    else:
        yield from (series(measure, samples) for samples in repeats)


def _edges(samples: PopulationSamples) -> Array:
    begin, end = samples.window_ns
    return np.linspace(begin, end, BINS + 1)


def _goodput(samples: PopulationSamples) -> Array:
    """Return turns ok and within the deadline per second, by bin of their due."""
    edges, turns = _edges(samples), samples.turns
    deadline = math.inf if samples.deadline_ns is None else samples.deadline_ns
    good = turns.ok & (turns.latency_ns <= deadline)
    if edges[-1] <= edges[0]:
        return np.empty(0)
    counts, _ = np.histogram(turns.due_ns[good], edges)
    rates: Array = counts * (SECOND * BINS / (edges[-1] - edges[0]))
    return rates


def _throughput(samples: PopulationSamples) -> Array:
    """Return units of ok requests per second, by bin of when they were done."""
    edges, requests = _edges(samples), samples.requests
    if edges[-1] <= edges[0]:
        return np.empty(0)
    ok = np.asarray(requests.outcome == "ok", bool)
    units = np.nan_to_num(requests.units[ok])
    counts, _ = np.histogram(requests.done_ns[ok], edges, weights=units)
    rates: Array = counts * (SECOND * BINS / (edges[-1] - edges[0]))
    return rates


def _in_system(samples: PopulationSamples) -> Array:
    """Return the mean number of turns with due ≤ t < done, in each bin."""
    edges = _edges(samples)
    if edges[-1] <= edges[0]:
        return np.empty(0)
    turns = samples.turns
    area = _elapsed(turns.due_ns, edges) - _elapsed(turns.done_ns, edges)
    return np.diff(area) / np.diff(edges)


def _elapsed(times: Array, at: Array) -> Array:
    """Return Σ max(0, t − time) for each t in *at*."""
    # Relative to the window: squares of absolute ns would lose their last digits.
    order = np.sort(times.astype(np.float64) - at[0])
    sums = np.concatenate(([0.0], np.cumsum(order)))
    t = at - at[0]
    before = np.searchsorted(order, t)
    elapsed: Array = before * t - sums[before]
    return elapsed


def _by_counting(
    objective: Objective, repeats: Sequence[PopulationSamples], confidence: float
) -> Decision:
    every = [series(objective.measure, samples) for samples in repeats]
    tallies = [_tally(objective, *two) for two in zip(repeats, every, strict=True)]
    over, n = sum(t.over for t in tallies), sum(t.n for t in tallies)
    n_eff, x = sum(t.n_eff for t in tallies), sum(t.effective for t in tallies)
    limit = _limit(objective)
    value = point(objective.measure, np.concatenate(every)) if n else None
    met = _counted(x, n_eff, limit, confidence)
    needed = _more(x, n_eff, n, limit, confidence) if met is None else None
    which = "late or failed" if objective.measure.stat == "rate" else "not ok or over"
    side = which if objective.op == "<=" else "not beyond"
    reason = (
        f"{over:,} of {n:,} turns (worth {n_eff:,.0f} independent ones) were {side} "
        f"the bound, {100 * limit:.3g}% may be"
        if n
        else "no turn was due"
    )
    return _decision(
        objective, value, met, n, n_eff, over=over, needed=needed, reason=reason
    )


def _limit(objective: Objective) -> float:
    """Return the share of turns that may be on the wrong side."""
    share = objective.measure.tail or objective.bound
    return share if objective.op == "<=" else 1 - share


def _tally(objective: Objective, samples: PopulationSamples, values: Array) -> _Tally:
    measure = objective.measure
    if not len(values):
        return _Tally(0, 0, 0.0)
    bound = objective.bound if measure.stat == "percentile" else 0.5
    wrong = values > bound if objective.op == "<=" else values < bound
    # Shares are 0 or 1 and often constant, which would hide that turns depend on
    # each other: their latencies show it.
    shown = values if measure.stat == "percentile" else stats.values(samples, "latency")
    worth = float(stats.n_eff(_finite(shown, bound)))
    return _Tally(int(wrong.sum()), len(values), min(max(worth, 1.0), len(values)))


def _finite(values: Array, bound: float) -> Array:
    """Return *values* with +inf as the largest finite one, or the bound if larger."""
    # A mean of infinities has no autocorrelation; runs of failures must keep theirs.
    finite = np.isfinite(values)
    most = max(float(values[finite].max(initial=0.0)), bound)
    return np.where(finite, values, most)


def _counted(x: float, n_eff: float, limit: float, confidence: float) -> bool | None:
    if n_eff <= 0:
        return None
    if stats.clopper_pearson_upper(x, n_eff, confidence) <= limit:
        return True
    return False if stats.clopper_pearson_lower(x, n_eff, confidence) > limit else None


def _more(
    x: float, n_eff: float, n: int, limit: float, confidence: float
) -> int | None:
    """Return about how many more turns decide, if all goes on as it went."""
    if n_eff <= 0:
        if limit >= 1:
            return 1
        return math.ceil(math.log1p(-confidence) / math.log1p(-limit))
    high = 2.0
    while _counted(high * x, high * n_eff, limit, confidence) is None:
        high *= 2
        if high > _MOST:
            return None
    low = high / 2
    for _ in range(30):
        middle = (low + high) / 2
        at = (middle * x, middle * n_eff)
        decided = _counted(*at, limit, confidence) is not None
        low, high = (low, middle) if decided else (middle, high)
    return max(1, math.ceil((high - 1) * n - 1e-6))


def _by_value(objective: Objective, value: float, every: Sequence[Array]) -> Decision:
    met = value <= objective.bound if objective.op == "<=" else value >= objective.bound
    n = sum(map(len, every))
    show = objective.measure.show
    reason = f"the {objective.measure.stat} of {n:,} turns is {show(value)}"
    return _decision(objective, value, met, n, float(n), reason=reason)


def _by_mean(
    objective: Objective, every: Sequence[Array], n: int, confidence: float
) -> Decision:
    if not all(np.isfinite(values).all() for values in every):
        # One turn that is not ok: no load that is refused can improve a mean.
        return _by_value(objective, math.inf, every)
    units, what = _units(every)
    value, k = float(np.mean(units or np.concatenate(every))), len(units)
    if k < 2:  # noqa: PLR2004 - no spread of one
        reason = "there are fewer than 5 repeats and fewer than 20 blocks"
        return _decision(objective, value, None, n, float(k), reason=reason)
    gap = abs(objective.bound - value)
    t = float(special.stdtrit(k - 1, confidence))
    margin = t * float(np.std(units, ddof=1)) / k**0.5
    right = (
        value <= objective.bound if objective.op == "<=" else value >= objective.bound
    )
    met = right if gap >= margin else None
    share = (margin / gap) ** 2 if gap else math.inf
    needed = math.ceil((share - 1) * n) if met is None and share < _MOST else None
    show = objective.measure.show
    reason = f"the mean is {show(value)} ± {show(margin)} over {k} {what}"
    return _decision(objective, value, met, n, float(k), needed=needed, reason=reason)


def _units(every: Sequence[Array]) -> tuple[list[float], str]:
    """Return independent means: of repeats if there are enough, else of blocks."""
    means = [float(values.mean()) for values in every if len(values)]
    if len(means) >= ENOUGH_REPEATS:
        return means, "repeats"
    return [m for values in every for m in block_values(values)], "blocks"


def block_values(values: Array) -> list[float]:
    """Return means of blocks that are nearly independent; empty: fewer than 20."""
    blocks = stats.blocks(values)
    return [] if blocks is None else [float(block.mean()) for block in blocks]


def _decision(
    objective: Objective,
    value: float | None,
    met: bool | None,  # noqa: FBT001 - three states, named at each call by its variable
    n: int,
    n_eff: float,
    *,
    reason: str,
    over: int | None = None,
    needed: int | None = None,
) -> Decision:
    if met is None and needed is not None:
        reason += f"; about {needed:,} more turns needed"
    elif met is None and n:
        reason += "; too near the bound for any practical duration"
    return Decision(
        text=objective.text,
        value=value,
        bound=objective.bound,
        met=met,
        n=n,
        n_eff=n_eff,
        over=over,
        needed=needed,
        reason=reason,
    )
