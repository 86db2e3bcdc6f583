"""Whether the load was what was planned: arrivals, steadiness, Little's law.

A p-value alone never voids: with enough requests any difference is significant. Each
rule asks for a difference that matters, and some for one that is no chance too.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats as tests

from djinnload import deciding, objective
from djinnload.findings import Found, note, void
from djinnload.stats import populations as stats
from djinnload.stats.populations import Array, PopulationSamples, Requests
from djinnload.units import SECOND, US

if TYPE_CHECKING:
    from djinnload.health.cell import CellEvidence

__all__ = (
    "arrivals",
    "first_requests",
    "if_arrivals",
    "if_in_flight",
    "if_overloaded",
    "if_steady",
    "in_flight",
    "little",
    "not_steady",
    "saturated",
)

ARRIVALS_DISTANCE = 0.10
ARRIVALS_LEAST = 200
#: Gaps are alike within the smaller of these: sends of one instant take turns.
ARRIVALS_ALIKE_NS = 250 * US
ARRIVALS_ALIKE_SHARE = 0.10
TREND_P = 0.01
TREND_SHARE = 0.20
TREND_BATCHES = 10
#: Stricter than a finding's: waiting times depend on each other, and one void cell
#: voids the run (docs/calibration-of-rules.md has the figures).
STEADY_P = 0.001
STEADY_LEAST = 100
#: A queue that ends shorter than this is no overload, whatever its trend.
QUEUE_TURNS = 5.0
#: Nor one that ends with fewer turns than arrive in this time.
QUEUE_S = 0.2
LITTLE_SHARE = 0.10
LITTLE_ERRORS = 3.0
LITTLE_LEAST = 1000
#: A difference of less than this, of requests in flight, is not looked at.
LITTLE_FLIGHTS = 0.05
#: Gaps that are looked up to see whether all of them have to be.
_LOOKED_UP = 1000
#: Fewer samples have no standard error to speak of.
LITTLE_SAMPLES = 100


def first_requests(requests: Requests) -> Array | slice:
    """Return which rows are the first request of a session; a slice if all are."""
    session = requests.session
    if (session[1:] > session[:-1]).all():
        return slice(None)
    order, starts = stats.by_session(requests)
    return order[starts]


# Arrivals


def arrivals(evidence: "CellEvidence") -> Found:
    """ARRIVALS: sessions were not sent with the spacing that they were due with."""
    for samples in _random(evidence):
        due, sent = _spacing(samples)
        if len(sent) + 1 < ARRIVALS_LEAST:
            continue
        alike = min(ARRIVALS_ALIKE_NS, ARRIVALS_ALIKE_SHARE * float(due.mean()))
        distance = _distance(due, sent, alike)
        if distance > ARRIVALS_DISTANCE:
            yield void(
                "ARRIVALS",
                f"{samples.name}: the gaps of {len(sent) + 1:,} sent sessions are "
                f"{distance:.2f} from those that were due (Kolmogorov-Smirnov "
                f"distance), {ARRIVALS_DISTANCE:.1f} may be; "
                f"CV {_cv(sent):.2f}, due {_cv(due):.2f}; "
                f"A²* {_anderson_darling(sent):.1f}, due {_anderson_darling(due):.1f} "
                "(exponential gaps: 1.3 at most in 95%)",
                distance,
                samples.name,
            )
        # Before the next population's, which are as large.
        del due, sent


def if_arrivals(evidence: "CellEvidence") -> str:
    """Return why ARRIVALS does not apply; empty: it does."""
    if not evidence.open:
        return "no population is open"
    if not _random(evidence):
        return "no open population has a random arrival process"
    if max(map(_sent, _random(evidence))) < ARRIVALS_LEAST:
        return f"fewer than {ARRIVALS_LEAST} sessions were sent"
    return ""


def _random(evidence: "CellEvidence") -> list[PopulationSamples]:
    return [each for each in evidence.open if evidence.plan(each.name).get("random")]


def _sent(samples: PopulationSamples) -> int:
    """Return how many sessions were sent."""
    r = samples.requests
    return int(np.isfinite(r.sent_ns[first_requests(r)]).sum())


def _spacing(samples: PopulationSamples) -> tuple[Array, Array]:
    """Return the gaps between due times, and between sends, of sessions; ascending."""
    r = samples.requests
    first = first_requests(r)
    sent = r.sent_ns[first]
    # What was never sent is UNDELIVERED's: its due time is left out too.
    was = np.isfinite(sent)
    return _gaps(r.due_ns[first][was]), _gaps(sent[was])


def _gaps(times: Array) -> Array:
    times.sort()
    gaps = np.diff(times).astype(np.float64, copy=False)
    gaps.sort()
    return gaps


def _distance(a: Array, b: Array, alike: float) -> float:
    """Return the two-sample Kolmogorov-Smirnov distance of ascending gaps.

    Those within *alike* of each other are alike. Without that, arrivals of one instant
    (gaps of 0) are always far from their sends. Where it is up to `ARRIVALS_DISTANCE`,
    this is a bound of it: millions of gaps take seconds to look up.
    """
    bound = max(_bound(a, b, alike), _bound(b, a, alike), 0.0)
    if bound <= ARRIVALS_DISTANCE:
        return bound
    return max(_above(a, b, alike, a), _above(b, a, alike, b), 0.0)


def _bound(a: Array, b: Array, alike: float) -> float:
    """Return what `_above` is at most, from some of *a*."""
    some = a[np.linspace(0, len(a) - 1, _LOOKED_UP).astype(np.int64)]
    # Between two of them, as many of a as up to the larger, of b as up to the smaller.
    ours = np.searchsorted(a, some, side="right")[1:] / len(a)
    theirs = np.searchsorted(b, some + alike, side="right")[:-1] / len(b)
    return max(float((ours - theirs).max()), _above(a, b, alike, some[:1]))


def _above(a: Array, b: Array, alike: float, at: Array) -> float:
    """Return by how much more of *a* is up to x than of *b* up to x + *alike*.

    The most of all x *at*.
    """
    ours = np.searchsorted(a, at, side="right") / len(a)
    ours -= np.searchsorted(b, at + alike, side="right") / len(b)
    return float(ours.max())


def _cv(gaps: Array) -> float:
    mean = float(gaps.mean())
    return float(gaps.std(ddof=1)) / mean if mean else math.nan


def _anderson_darling(gaps: Array) -> float:
    """Return A²* of ascending gaps, exponential of an unknown mean (Stephens 1974)."""
    n, mean = len(gaps), float(gaps.mean())
    if not mean:
        return math.inf
    z = np.clip(-np.expm1(-gaps / mean), 1e-15, 1 - 1e-15)
    weight = 2 * np.arange(1, n + 1) - 1
    squared = -n - float((weight * (np.log(z) + np.log1p(-z[::-1]))).mean())
    return squared * (1 + 0.6 / n)


# Steadiness


def not_steady(evidence: "CellEvidence") -> Found:
    """NOT_STEADY: a population's latency has a trend over the window, up or down."""
    for samples in _long(evidence):
        batches = _batches(samples.turns.latency_ns)
        p, change = _trend(batches)
        median = float(np.median(batches))
        if p < STEADY_P and 0 < TREND_SHARE * median < abs(change):
            yield void(
                "NOT_STEADY",
                f"{samples.name}: latency {'rose' if change > 0 else 'fell'} by "
                f"{100 * abs(change) / median:.0f}% of its median over the window, "
                f"{100 * TREND_SHARE:.0f}% may be chance (Kendall's test on "
                f"{TREND_BATCHES} batch means: p = {p:.2g})",
                change / median,
                samples.name,
            )


def if_steady(evidence: "CellEvidence") -> str:
    """Return why NOT_STEADY does not apply; empty: it does."""
    if evidence.manifest.get("overload") == "expected":
        return 'overload = "expected": see the finding saturated'
    if not _long(evidence):
        return f"no population has {STEADY_LEAST} turns"
    ramps = [each.name for each in evidence.open if _ramps(each)]
    if ramps:
        return f"sessions of {', '.join(ramps)} were due at a changing rate"
    every = evidence.populations
    varying = [name for name in every if evidence.plan(name).get("varies")]
    return f"the scenario changes the users of {', '.join(varying)}" if varying else ""


def saturated(evidence: "CellEvidence") -> Found:
    """Note each open population whose queue grew for as long as it was measured."""
    for samples in evidence.open:
        bins = deciding.series(objective.parse_measure("in_system"), samples)
        if not len(bins):
            continue
        batches = bins.reshape(TREND_BATCHES, -1).mean(axis=1)
        p, change = _trend(batches)
        begin, end = samples.window_ns
        seconds = (end - begin) / SECOND
        if p >= TREND_P or change <= TREND_SHARE * float(np.median(batches)):
            continue
        if batches[-1] <= max(QUEUE_TURNS, QUEUE_S * len(samples.turns.ok) / seconds):
            continue
        rate = change / seconds
        yield note(
            "saturated",
            f"{samples.name}: its queue grew by {rate:.3g} turns a second to about "
            f"{batches[-1]:.0f}; throughput, growth and miss_rate stand, quantiles "
            "grow with duration",
            rate,
            samples.name,
        )


def if_overloaded(evidence: "CellEvidence") -> str:
    """Return why `saturated` does not apply; empty: it does."""
    if evidence.manifest.get("overload") != "expected":
        return 'only where overload = "expected"'
    return "" if evidence.open else "no population is open"


def _ramps(samples: PopulationSamples) -> bool:
    """Return whether the plan itself asked for ever more, or less; nobody else can."""
    due = np.sort(samples.requests.due_ns[first_requests(samples.requests)])
    at = np.linspace(*samples.window_ns, TREND_BATCHES + 1)
    bounds = np.append(
        np.searchsorted(due, at[:-1]), np.searchsorted(due, at[-1:], "right")
    )
    counts = np.diff(bounds)
    p, change = _trend(counts.astype(np.float64))
    return p < STEADY_P and abs(change) > TREND_SHARE * float(np.median(counts))


def _long(evidence: "CellEvidence") -> list[PopulationSamples]:
    every = evidence.populations.values()
    return [each for each in every if len(each.turns.latency_ns) >= STEADY_LEAST]


def _batches(values: Array) -> Array:
    """Return the means of 10 batches of equal size in due order."""
    size = len(values) // TREND_BATCHES
    kept = np.asarray(values, np.float64)[len(values) - size * TREND_BATCHES :]
    return np.asarray(kept.reshape(TREND_BATCHES, size).mean(axis=1))


def _trend(batches: Array) -> tuple[float, float]:
    """Return Kendall's p of a trend and the fitted change over all of *batches*."""
    if np.ptp(batches) == 0:
        return 1.0, 0.0
    x = np.arange(len(batches))
    p = float(tests.kendalltau(x, batches).pvalue)
    return p, float(np.polyfit(x, batches, 1)[0]) * len(batches)


# Little's law


def little(evidence: "CellEvidence") -> Found:
    """LITTLE: requests in flight, counted at random instants, are not what rows say.

    Rows say λW: the sum of done − sent within the window ÷ the window. The engine's
    counter says L, at instants of its own. On a busy host these come late, and more so
    while a server computes beside it; so the mean of L is corrected by what the rows
    say of the same instants (a control variate), which leaves no error where both
    agree. Rows lost, twice or stamped wrong, or a lost count, break the law.
    """
    found, error, n, expected = in_flight(evidence)
    apart = abs(found - expected)
    least = max(LITTLE_SHARE * expected, LITTLE_ERRORS * error, LITTLE_FLIGHTS)
    if apart > least:
        yield void(
            "LITTLE",
            f"{found:.3g} ± {error:.2g} requests were in flight at {n:,} random "
            f"instants, but λW of the rows is {expected:.3g}: {apart:.2g} apart, "
            f"{least:.2g} may be",
            found - expected,
        )


def in_flight(evidence: "CellEvidence") -> tuple[float, float, int, float]:
    """Return L as counted, its standard error, of how many instants; and λW.

    L is NaN where fewer than two instants were recorded.
    """
    begin, end = _measured_ns(evidence)
    n, area = 0, 0.0
    beyond: list[Array] = []
    for worker in evidence.workers:
        times, seen = _counted(evidence, worker, begin, end)
        there = np.zeros(len(times))
        for sent, done in evidence.flights(worker):
            area += float(np.clip(done, begin, end).sum())
            area -= float(np.clip(sent, begin, end).sum())
            there += _up_to(sent, times) - _up_to(done, times)
        # A stall delays the instants of its own worker alone, past a burst of its own.
        beyond.append(seen - there)
        n += len(seen)
    expected = area / max(1, end - begin)
    if min(map(len, beyond)) < 2:  # noqa: PLR2004 - no spread of one
        return math.nan, math.nan, n, expected
    error = math.hypot(*(each.std(ddof=1) / math.sqrt(len(each)) for each in beyond))
    found = expected + sum(float(each.mean()) for each in beyond)
    return found, error, n, expected


def _measured_ns(evidence: "CellEvidence") -> tuple[int, int]:
    """Return the window, up to where an interrupt ended it."""
    begin, end = evidence.window_ns
    finished = evidence.manifest.get("window", {}).get("finished_ns")
    if evidence.manifest.get("interrupted") and finished:
        end = max(begin, min(end, int(finished)))
    return begin, end


def _counted(
    evidence: "CellEvidence", worker: str, begin: int, end: int
) -> tuple[Array, Array]:
    times, seen = evidence.probe("in_flight", source="engine", device=worker)
    inside = (times >= begin) & (times < end)
    return times[inside], seen[inside]


def _up_to(values: Array, at: Array) -> Array:
    return np.searchsorted(np.sort(values), at, side="right")


def if_in_flight(evidence: "CellEvidence") -> str:
    """Return why LITTLE does not apply; empty: it does."""
    if evidence.manifest.get("overload") == "expected":
        return 'overload = "expected"'
    begin, end = _measured_ns(evidence)
    counted = (_counted(evidence, worker, begin, end) for worker in evidence.workers)
    if sum(len(times) for times, _ in counted) < LITTLE_SAMPLES:
        return f"fewer than {LITTLE_SAMPLES} samples of in_flight were recorded"
    n = 0
    for sent, done in evidence.flights():
        n += int(((sent < end) & (done > begin) & (done > sent)).sum())
        if n >= LITTLE_LEAST:
            return ""
    return f"fewer than {LITTLE_LEAST:,} requests were sent"
