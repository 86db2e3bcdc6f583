"""How far a number can be trusted when its values depend on each other; pure.

Latencies under queueing are autocorrelated: the textbook interval of p99 covers 39 % of
the time at a load of 0.7. Here values are cut into blocks in due order, which grow
until their means are nearly independent (Conway 1963, batch means); what those show
gives the number of independent values that n are worth.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special

__all__ = (
    "Grown",
    "blocks",
    "clopper_pearson_lower",
    "clopper_pearson_upper",
    "grow",
    "mean_interval",
    "n_eff",
    "nearest_rank",
    "percentile_interval",
    "repeat_interval",
    "share_interval",
    "share_of",
)

Array = np.ndarray[Any, np.dtype[Any]]
Interval = tuple[float, float]

CONFIDENCE = 0.95
#: Fewer blocks than this give no interval.
ENOUGH_BLOCKS = 20
ENOUGH_REPEATS = 5
#: Blocks whose means correlate less than this are taken for independent.
LAG_1 = 0.1
#: Blocks grow by this factor; doubling often steps over the size that would do.
_GROWTH = 1.4
_MOST_LAG = 0.95
#: Independent values beyond a quantile, on either side, below which an interval misses.
_BEYOND = 5.0
#: Rounding of q × n: 0.95 × 20 has to be 19, whatever binary fractions say.
_ROUNDING = 1e-6


class Grown(NamedTuple):
    """Values cut into blocks.

    Attributes:
        size: Of each block.
        means: Of the blocks, in order; a rest at the front is left out.
        lag: Their lag-1 autocorrelation.
    """

    size: int
    means: Array
    lag: float

    @property
    def apart(self) -> bool:
        """Whether there are enough blocks, and nearly independent ones."""
        return len(self.means) >= ENOUGH_BLOCKS and self.lag < LAG_1


def nearest_rank(sorted_values: Array, q: float) -> float:
    """Return the ⌈q n⌉-th smallest value: one that was measured, never interpolated.

    Args:
        sorted_values: Shape ``(n,)``, n ≥ 1, ascending; may end in +inf.
        q: From 0 (the smallest) to 1 (the largest).
    """
    n = len(sorted_values)
    rank = math.ceil(q * n - _ROUNDING)
    return float(sorted_values[min(max(rank, 1), n) - 1])


def blocks(values: Array) -> list[Array] | None:
    """Cut *values* into blocks whose means correlate less than 0.1 with the next one's.

    Args:
        values: Shape ``(n,)`` in due order; +inf counts as the largest finite value.

    Returns:
        At least 20 blocks of equal size, in order; a rest shorter than a block is left
        out at the front. None: even 20 blocks depend on each other, or n < 20.
    """
    grown = grow(values)
    if not grown.apart:
        return None
    count, size = len(grown.means), grown.size
    return list(values[len(values) - count * size :].reshape(count, size))


def n_eff(values: Array) -> float:
    """Return how many independent values *values* (in due order) are worth.

    That is n × variance ÷ (block size × variance of block means), at least 1 and at
    most n. What dependence blocks may have left is taken for that of an AR(1) process,
    which lowers it further.
    """
    n = len(values)
    if n < 3:  # noqa: PLR2004 - no correlation of two
        return float(n)
    size, means, lag = grow(values)
    # Blocks of one value are the values.
    noise = size * _variance(means) if size > 1 else 1.0
    spread = _variance(_finite(values)) if size > 1 else 1.0
    if not noise or not spread:
        # Constant values, or blocks that cancel exactly, show no dependence.
        return float(n)
    worth = n * spread / noise * _left_over(size, len(means), lag)
    return float(min(max(worth, 1.0), n))


def percentile_interval(
    values: Array,
    q: float,
    confidence: float = CONFIDENCE,
    *,
    order: Array | None = None,
    grown: Grown | None = None,
) -> Interval | None:
    """Return a two-sided interval of the q-quantile, or None if there is none.

    Woodruff's (1952): the interval of the share of values up to the quantile, from
    Clopper-Pearson on the n_eff of that indicator, mapped back through the ranks.

    Args:
        values: Shape ``(n,)`` in due order; may hold +inf.
        q: 0 < q < 1.
        confidence: Coverage aimed at.
        order: *values*, sorted, if that is known.
        grown: `grow` of *values*, if that is known.
    """
    if len(values) < ENOUGH_BLOCKS:
        return None
    order = np.sort(values) if order is None else order
    # Both the quantile's crossings and the values themselves have to be independent:
    # a rare indicator looks white long before the queue that makes it has emptied.
    grown = grow(values) if grown is None else grown
    crossed = values <= nearest_rank(order, q) if grown.size > 1 else None
    if (n := _worth(grown, q, crossed, confidence)) is None:
        return None
    share = share_of(q, n, confidence)
    return nearest_rank(order, share[0]), nearest_rank(order, share[1])


def share_of(q: float, n: float, confidence: float = CONFIDENCE) -> Interval:
    """Return the two-sided Clopper-Pearson interval of a share *q* of *n* values."""
    each = (1 + confidence) / 2
    return (
        clopper_pearson_lower(q * n, n, each),
        clopper_pearson_upper(q * n, n, each),
    )


def share_interval(
    hits: Array, values: Array | None = None, confidence: float = CONFIDENCE
) -> Interval | None:
    """Return a two-sided interval of the share of *hits*, or None of none.

    Args:
        hits: Shape ``(n,)``, 0 or 1, in due order.
        values: What the hits come from, such as latencies: their dependence counts too,
            as hits that are all alike hide it.
        confidence: Coverage aimed at.
    """
    if not len(hits):
        return None
    n = n_eff(hits) if values is None else min(n_eff(hits), n_eff(values))
    return share_of(float(np.mean(hits)), n, confidence)


def mean_interval(
    values: Array, confidence: float = CONFIDENCE, *, grown: Grown | None = None
) -> Interval | None:
    """Return the t interval of the mean over blocks; None: +inf, or too few blocks."""
    if not np.isfinite(values).all():
        return None
    grown = grow(values) if grown is None else grown
    return _t_interval(grown.means, confidence) if grown.apart else None


def repeat_interval(
    values: Sequence[float],
    confidence: float = CONFIDENCE,
    *,
    least: int = ENOUGH_REPEATS,
) -> Interval | None:
    """Return the t interval of the mean over repeats; None: too few, or one is +inf.

    Args:
        values: One a repeat.
        confidence: Of the interval.
        least: Repeats that are enough, 2 at least.
    """
    if len(values) < least or not all(map(math.isfinite, values)):
        return None
    return _t_interval(values, confidence)


def clopper_pearson_upper(x: float, n: float, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided upper bound of a share of which x of n were seen.

    Args:
        x: 0 ≤ x ≤ n; need not be whole, as what is scaled to n_eff is not.
        n: ≥ 0; of 0 nothing is known and the bound is 1.
        confidence: One-sided.
    """
    if x >= n:
        return 1.0
    return float(special.betaincinv(x + 1, n - x, confidence))


def clopper_pearson_lower(x: float, n: float, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided lower bound; see `clopper_pearson_upper`."""
    if x <= 0 or n <= 0:
        return 0.0
    return float(special.betaincinv(x, max(n - x, 0.0) + 1, 1 - confidence))


def _worth(
    grown: Grown, q: float, below: Array | None, confidence: float
) -> float | None:
    """Return the n_eff of *below* at the block size at which values are independent.

    It is lowered by (z ÷ t)², as the variance of block means is only estimated.

    Args:
        grown: `grow` of the values.
        q: Of the quantile.
        below: Whether each value is up to it; None: blocks of one, nothing to count.
        confidence: Of the interval.
    """
    if not grown.apart:
        return None
    size, k = grown.size, len(grown.means)
    worth = float(k - 1) if below is None else _crossings(below, size, k)
    worth *= _left_over(size, k, grown.lag)
    if worth * min(q, 1 - q) < _BEYOND:
        return None
    if size == 1:
        return worth
    tail = (1 + confidence) / 2
    return worth * float(special.ndtri(tail) / special.stdtrit(k - 1, tail)) ** 2


def _crossings(below: Array, size: int, k: int) -> float:
    """Return the n_eff of *below* by the spread of its *k* last blocks of *size*."""
    n, share = len(below), float(below.mean())
    # A sum of bools counts in 8 bytes; of any size, faster than mean(axis=1).
    starts = np.arange(n - k * size, n, size)
    counts = np.add.reduceat(below, starts, dtype=np.int64)
    noise, spread = float((counts / size).var(ddof=1)) * size, share * (1 - share)
    return n * min(1.0, spread / noise) if noise and spread else float(n)


def grow(values: Array) -> Grown:
    """Return *values* (in due order) in blocks whose means are nearly independent.

    +inf counts as the largest finite value. There may be fewer than 20 blocks, or none
    that are independent: see `Grown.apart`.
    """
    finite = _finite(values)
    n, size, means = len(finite), 1, finite
    sums = None
    while (lag := _lag_1(means)) >= LAG_1:
        larger = max(size + 1, int(_GROWTH * size))
        if (count := n // larger) < ENOUGH_BLOCKS:
            break
        if sums is None:
            sums = np.zeros(n + 1)
            np.cumsum(finite, out=sums[1:])
        size = larger
        # Differences of running sums: what a size costs is its number of blocks.
        means = np.diff(sums[n - count * size :: size]) / size
    return Grown(size, means, lag)


def _left_over(size: int, count: int, lag: float) -> float:
    """Return what share of n_eff is left for dependence that blocks still have.

    Blocks that had to grow were picked for a low estimate of what they depend on each
    other; without this n_eff is a third too large on M/G/1 at loads of 0.7 and 0.9. An
    AR(1) process of one standard error more is assumed.
    """
    if size == 1 and lag < LAG_1:
        return 1.0
    most = min(max(lag + 1 / math.sqrt(count), 0.0), _MOST_LAG)
    return (1 - most) / (1 + most)


def _lag_1(values: Array) -> float:
    centred = values - values.mean() if len(values) else values
    # Not @: its threads wait for each other wherever cores are busy.
    power = float(np.einsum("i,i", centred, centred))
    shifted = float(np.einsum("i,i", centred[:-1], centred[1:]))
    return shifted / power if power else 0.0


def _variance(values: Array) -> float:
    centred = values - values.mean()
    return float(np.einsum("i,i", centred, centred)) / len(values)


def _finite(values: Array) -> Array:
    """Return float64 values with +inf as the largest finite one."""
    numbers = np.asarray(values, np.float64)
    finite = np.isfinite(numbers)
    if finite.all():
        return numbers
    # If nothing is finite, all values are alike.
    return np.where(finite, numbers, numbers[finite].max(initial=0.0))


def _t_interval(values: Sequence[float] | Array, confidence: float) -> Interval:
    n, mean = len(values), float(np.mean(values))
    t = float(special.stdtrit(n - 1, (1 + confidence) / 2))
    half = t * float(np.std(values, ddof=1)) / math.sqrt(n)
    return mean - half, mean + half
