"""Whether a metric differs between an arm and its baseline; never by single requests.

With five repeats a side the repeats are the units of evidence, paired by number as they
share a schedule: a paired t test on the log ratio, or on the difference where a value
is 0 or infinite. With fewer, the blocks of one run are, paired by their place in the
window, and the result says "within one run". A Mann-Whitney on requests cries wolf in
half of all A/A pairs at a load of 0.7, because waiting times depend on each other.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from scipy import special

from djinnload import deciding
from djinnload.objective import Measure, parse_measure
from djinnload.stats.populations import Array, PopulationSamples

__all__ = ("Difference", "compare", "holm")

CONFIDENCE = 0.95
WITHIN = "within one run"
ENOUGH_REPEATS = deciding.ENOUGH_REPEATS
#: Blocks a run, most first; under the last there is no interval.
_BLOCKS = (100, 80, 60, 50, 40, 30, 25, 20)
_LAG_1 = 0.1
OK, VOID, UNDECIDED = "ok", "void", "undecided"
_SHARES = ("miss_rate", "error_rate")


class Difference(Struct, frozen=True):
    """How an arm differs from the baseline in one metric of one population.

    Attributes:
        a, b: The arm's and the baseline's value in the metric's unit (ns, share, per
            second): means over repeats, geometric where there is a ratio; +inf if any
            is; None: nothing was measured.
        ratio: a ÷ b; None where a value is 0 or infinite.
        ci95: 95 % interval of the ratio if there is one, else of a − b; None: unknown.
        p: Two-sided, uncorrected; see `holm`. None: not known.
        effect: Cohen's d of the pairs: mean ÷ standard deviation; None: not known.
        n: Pairs of repeats, or of blocks.
        status: ``ok`` (there is an interval), ``undecided`` (too little to have one),
            ``void`` (nothing to compare).
        reasons: Why, and what limits it, such as "within one run".
    """

    metric: str
    population: str
    point: str
    a: float | None
    b: float | None
    ratio: float | None
    ci95: tuple[float, float] | None
    p: float | None
    effect: float | None
    n: int
    status: str
    reasons: tuple[str, ...] = ()


class _Test(NamedTuple):
    ratio: float | None = None
    ci95: tuple[float, float] | None = None
    p: float | None = None
    effect: float | None = None


def compare(
    metric_text: str,
    a: Sequence[PopulationSamples],
    b: Sequence[PopulationSamples],
    *,
    population: str,
    point: str = "all",
    void: Sequence[str] = (),
) -> Difference:
    """Compare *a* (an arm) with *b* (the baseline), repeat i with repeat i.

    Args:
        metric_text: A measure such as ``p95(latency)`` or ``goodput``.
        a: The arm's repeats in order; what is left over on a side is not used.
        b: The baseline's.
        population: Named in the result.
        point: The sweep point, named in the result.
        void: Why a side cannot be trusted; the numbers are shown all the same.

    Raises:
        ValueError: *metric_text* is no measure, or one that turns do not have.
    """
    measure = parse_measure(metric_text)
    pairs = [
        (x, y)
        for x, y in zip(_every(measure, a), _every(measure, b), strict=False)
        if len(x) and len(y)
    ]
    left, right = _points(measure, pairs)
    reasons = list(void)
    if len(a) != len(b):
        reasons.append(f"{len(a)} repeats against {len(b)}: {len(pairs)} pairs used")
    test, n, why = _test(measure, pairs, left, right)
    reasons += why
    status = OK if test.p is not None else UNDECIDED
    if void or not pairs:
        status = VOID
    return Difference(
        metric=measure.text,
        population=population,
        point=point,
        a=_middle(left),
        b=_middle(right),
        ratio=test.ratio,
        ci95=_possible(measure, test),
        p=test.p,
        effect=test.effect,
        n=n,
        status=status,
        reasons=tuple(reasons),
    )


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected for how many there are (Holm 1979), in the same order.

    None stays None and does not count. The family-wise error rate is kept whatever
    the tests have to do with each other.
    """
    known = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    most = 0.0
    for rank, (p, i) in enumerate(known):
        most = max(most, min(1.0, p * (len(known) - rank)))
        corrected[i] = most
    return corrected


def _possible(measure: Measure, test: _Test) -> tuple[float, float] | None:
    """Return the interval; a difference of shares, cut to what one can be."""
    if test.ci95 is None or test.ratio is not None or measure.text not in _SHARES:
        return test.ci95
    low, high = test.ci95
    return max(low, -1.0), min(high, 1.0)


def _every(measure: Measure, side: Sequence[PopulationSamples]) -> list[Array]:
    return [deciding.series(measure, samples) for samples in side]


def _points(
    measure: Measure, pairs: Sequence[tuple[Array, Array]]
) -> tuple[Array, Array]:
    left = np.array([deciding.point(measure, x) for x, _ in pairs])
    return left, np.array([deciding.point(measure, y) for _, y in pairs])


def _middle(values: Array) -> float | None:
    """Return the geometric mean, or the mean where a value is 0; None of none."""
    if not len(values):
        return None
    if (values > 0).all():
        return float(np.exp(np.log(values).mean()))
    return float(values.mean())


def _test(
    measure: Measure, pairs: Sequence[tuple[Array, Array]], left: Array, right: Array
) -> tuple[_Test, int, list[str]]:
    """Return the test, its number of pairs, and what limits it."""
    if not pairs:
        return _Test(), 0, ["nothing was measured on a side"]
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        why = f"infinite in {np.isinf(left).sum()} and {np.isinf(right).sum()} repeats"
        p = _sign(left, right) if len(pairs) >= ENOUGH_REPEATS else None
        return _Test(p=p), len(pairs), [f"{why}, as turns were not ok: no ratio"]
    if len(pairs) >= ENOUGH_REPEATS:
        return _paired(left, right), len(pairs), []
    return _within(measure, pairs)


def _within(
    measure: Measure, pairs: Sequence[tuple[Array, Array]]
) -> tuple[_Test, int, list[str]]:
    """Test by blocks in due order, as many as are nearly independent of each other."""
    shortest = min(min(len(x), len(y)) for x, y in pairs)
    # A block has to hold a turn beyond the percentile, or it is but a maximum.
    least = math.ceil(1 / measure.tail) if measure.tail else 1
    counts = [k for k in _BLOCKS if shortest // k >= least]
    for k in counts:
        left, right = _block_points(measure, pairs, k)
        if not (np.isfinite(left).all() and np.isfinite(right).all()):
            return _Test(), len(left), [WITHIN, "turns were not ok: no interval"]
        lag = _lag_1(_contrast(left, right)[0])
        if lag < _LAG_1:
            # This count was picked for its low estimate: one standard error above it.
            lag = max(0.0, lag + len(left) ** -0.5)
            return _paired(left, right, lag), len(left), [WITHIN]
    return _Test(), 0, [WITHIN, "fewer than 20 independent blocks: measure longer"]


def _block_points(
    measure: Measure, pairs: Sequence[tuple[Array, Array]], count: int
) -> tuple[Array, Array]:
    blocks = [
        two
        for x, y in pairs
        for two in zip(np.array_split(x, count), np.array_split(y, count), strict=True)
    ]
    return _points(measure, blocks)


def _lag_1(values: Array) -> float:
    centred = values - values.mean()
    power = float(centred @ centred)
    return float(centred[:-1] @ centred[1:]) / power if power else 0.0


def _contrast(left: Array, right: Array) -> tuple[Array, bool]:
    """Return log ratios where there are any, else differences; and which they are."""
    if (left > 0).all() and (right > 0).all():
        return np.log(left / right), True
    return left - right, False


def _paired(left: Array, right: Array, lag: float = 0.0) -> _Test:
    """Return the paired t test; *lag* widens it as an AR(1) process needs."""
    values, logs = _contrast(left, right)
    n, mean, spread = len(values), float(values.mean()), float(values.std(ddof=1))
    error = spread * math.sqrt((1 + lag) / (1 - lag) / n)
    half = float(special.stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * error
    if error:
        p = 2 * float(special.stdtr(n - 1, -abs(mean) / error))
    else:
        p = 0.0 if mean else 1.0
    low, high = mean - half, mean + half
    return _Test(
        ratio=math.exp(mean) if logs else None,
        ci95=(math.exp(low), math.exp(high)) if logs else (low, high),
        p=p,
        effect=mean / spread if spread else None,
    )


def _sign(left: Array, right: Array) -> float:
    """Return the two-sided sign test's p; two infinite values are a tie."""
    more, less = int((left > right).sum()), int((left < right).sum())
    n = more + less
    return min(1.0, 2 * float(special.bdtr(min(more, less), n, 0.5))) if n else 1.0
