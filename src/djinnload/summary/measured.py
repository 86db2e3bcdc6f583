"""One measure of one arm, all repeats together: value, 95 % interval, n; pure.

What figures draw and claims are held against. As everywhere, a turn that is not ok
ranks as +inf, and a percentile of too few values is None.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
from msgspec import Struct, structs

from djinnload import cell_objectives, deciding
from djinnload.health.cell import CellEvidence
from djinnload.objective import Measure
from djinnload.stats import populations as stats
from djinnload.stats.populations import Array, PopulationSamples
from djinnload.summary import spread

__all__ = ("Measured", "measured", "of_repeats", "over_bins", "start", "utilised")

Interval = tuple[float, float]

NO_INTERVAL = "no interval"
#: Repeats under which even a t interval says nothing.
_LEAST = 3
_BY_REPEATS = "t over {n} repeats"
_BY_BLOCKS = "blocks in due order"
_EXACT = "Clopper-Pearson on n_eff"
#: What the values of a metric are of, if not of turns.
_BINNED = ("goodput", "throughput", "in_system")
_OF: Mapping[str, str] = {
    "request_latency": "requests",
    "session": "sessions",
    **dict.fromkeys(_BINNED, "bins"),
}
#: Where each metric's time begins; of what is no time there is none.
_STARTS: Mapping[str, str] = dict.fromkeys(
    ("latency", "ttft", "request_latency", "session", "blocked"), "due"
) | {
    "service": "sent",
    "lateness": "ready",
    "tpot": "first token",
    "queue": "arrival at the server",
    "exec": "start of execution",
}


class Measured(Struct, frozen=True):
    """What a measure came to.

    Attributes:
        value: In the measure's unit; +inf where turns were not ok; None: nothing was
            measured, or too little for this percentile.
        ci95: None: there is none.
        n: How many it is made of.
        interval: How ``ci95`` was found, or ``no interval``.
        of: What *n* counts: turns, requests, sessions, repeats, pairs of repeats, bins
            of the window, looks of a probe.
    """

    value: float | None
    ci95: Interval | None
    n: int
    interval: str
    of: str = "turns"


def start(measure: Measure) -> str:
    """Return the event from which *measure* counts, such as ``due``; empty: none."""
    return _STARTS.get(measure.metric, "")


def measured(measure: Measure, repeats: Sequence[PopulationSamples]) -> Measured:
    """Return what *measure* is over *repeats* of one arm, point and population.

    From five repeats on a mean or rate is the mean of theirs, with its t interval; of
    fewer it is of all values, with the interval over blocks, or where these are too few
    that over three or four repeats. Percentiles are of all values.

    Raises:
        ValueError: ``gpu_util``, which no turn has: see `utilised`.
    """
    every = [deciding.series(measure, each) for each in repeats]
    known = [values for values in every if len(values)]
    if not known:
        return Measured(None, None, 0, NO_INTERVAL)
    made = _of(measure, known, repeats)
    if measure.metric in _BINNED and made.interval != _BY_BLOCKS:
        # Bins of the window are no evidence of their own.
        return structs.replace(made, n=len(known), of="repeats")
    return structs.replace(made, of=_OF.get(measure.metric, "turns"))


def utilised(cells: Sequence[CellEvidence]) -> Measured:
    """Return the share of time that the GPUs were busy; None: nobody looked."""
    known = [v for each in cells if len(v := cell_objectives.utilisation(each))]
    if len(known) < len(cells) or not known:
        return Measured(None, None, 0, NO_INTERVAL)
    made = of_repeats([float(values.mean()) for values in known])
    looks = sum(map(len, known))
    return Measured(made.value, made.ci95, looks, made.interval, "looks")


def of_repeats(values: Sequence[float]) -> Measured:
    """Return the mean of one number a repeat, and its t interval from three on."""
    if not values:
        return Measured(None, None, 0, NO_INTERVAL)
    ends = stats.repeat_interval(values, least=_LEAST)
    how = _BY_REPEATS.format(n=len(values)) if ends else NO_INTERVAL
    return Measured(float(np.mean(values)), ends, len(values), how, "repeats")


def over_bins(
    looks: Sequence[tuple[Array, Array]], bins: int
) -> Iterator[tuple[float, Measured]]:
    """Yield the course of what was looked at in repeats, in even parts of their time.

    Args:
        looks: Of each repeat, times ≥ 0 and values, of the same shape ``(n,)``.
        bins: Parts; one in which nobody looked is left out.

    Yields:
        The middle of a part, and `of_repeats` of each repeat's mean in it.
    """
    last = max((float(t[-1]) for t, _ in looks if len(t)), default=0.0)
    for low, high in pairwise(np.linspace(0, last + 1e-9, bins + 1)):
        inside = [values[(t >= low) & (t < high)] for t, values in looks]
        if means := [float(each.mean()) for each in inside if len(each)]:
            yield float(low + high) / 2, of_repeats(means)


def _of(
    measure: Measure, known: Sequence[Array], repeats: Sequence[PopulationSamples]
) -> Measured:
    n = sum(map(len, known))
    if measure.stat == "percentile":
        return _percentile(1 - measure.tail, known)
    if measure.stat == "max":
        return Measured(max(float(v.max()) for v in known), None, n, NO_INTERVAL)
    if measure.metric in {"miss_rate", "error_rate"}:
        return _share(known, [stats.values(each, "latency") for each in repeats], n)
    whole = np.concatenate(known)
    ends = stats.mean_interval(whole)
    if len(known) < deciding.ENOUGH_REPEATS and ends:
        return Measured(float(whole.mean()), ends, n, _BY_BLOCKS)
    made = of_repeats([float(values.mean()) for values in known])
    return structs.replace(made, n=n)


def _percentile(q: float, known: Sequence[Array]) -> Measured:
    whole = np.concatenate(known)
    if not spread.enough(len(whole), q):
        return Measured(None, None, len(whole), "n too small")
    value = stats.nearest_rank(np.sort(whole), q)
    if len(known) >= deciding.ENOUGH_REPEATS and all(
        spread.enough(len(values), q) for values in known
    ):
        each = of_repeats([stats.nearest_rank(np.sort(v), q) for v in known])
        return Measured(value, each.ci95, len(whole), each.interval)
    ends = stats.percentile_interval(whole, q)
    return Measured(value, ends, len(whole), _BY_BLOCKS if ends else NO_INTERVAL)


def _share(hits: Sequence[Array], latencies: Sequence[Array], n: int) -> Measured:
    value = float(np.concatenate(hits).mean())
    worth = sum(
        min(stats.n_eff(each), stats.n_eff(values))
        for each, values in zip(hits, latencies, strict=False)
    )
    return Measured(value, stats.share_of(value, worth), n, _EXACT)
