"""Whether an arrival process is what it says it is: one test serves every process."""

from itertools import islice, pairwise, takewhile
from random import Random

from djinnload.spi import Arrival

__all__ = ("check_arrival",)

#: Of each statistical test; with fixed seeds a process either passes or does not.
ALPHA = 1e-6
_NS = 1e9
_STREAMS = 60
#: Sessions of a stream in which `expected` is held against counts, about.
_COUNTED = 500
_ROUNDED = 1e-6


def check_arrival(arrival: Arrival, *, sessions: int = 20_000, seed: int = 5) -> None:
    """Check all that `djinnload.spi.Arrival` promises.

    Offsets are ints from 0 on that never fall and follow from the seed. ``expected`` is
    the mean of counts (t test over 60 streams; nothing drawn: within 1). With
    ``residuals``: these are exponential of mean 1 (Kolmogorov-Smirnov) and not
    correlated with the one before; nothing drawn: 1.

    Args:
        arrival: Made with its options.
        sessions: Of the stream whose residuals are tested; a process may end before.
        seed: Of that stream.

    Raises:
        AssertionError: Says which promise does not hold.
    """
    offsets = _offsets(arrival, seed, sessions)
    _require(len(offsets) > 1, "offsets() yielded fewer than 2 sessions")
    _require(
        all(type(each) is int and each >= 0 for each in offsets)
        and all(a <= b for a, b in pairwise(offsets)),
        "offsets() must yield ints from 0 on that never fall",
    )
    some = _offsets(arrival, seed, len(offsets) // 2)
    _require(
        some == offsets[: len(some)], "offsets() must follow from the random numbers"
    )
    random = bool(getattr(arrival, "random", True))
    _require(
        random == (_offsets(arrival, seed + 1, sessions) != offsets),
        f"random is {random}, but other random numbers say otherwise",
    )
    _check_expected(arrival, offsets, random=random)
    if hasattr(arrival, "residuals"):
        _check_residuals(arrival.residuals(offsets, Random(seed)), random=random)


def _check_expected(arrival: Arrival, offsets: list[int], *, random: bool) -> None:
    from scipy import stats

    until = offsets[min(len(offsets) - 1, _COUNTED)] or 1
    expected = arrival.expected(until / _NS)
    halves = arrival.expected(until / 2 / _NS)
    _require(0 <= halves <= expected, "expected() must not fall with the time")
    counts = [
        sum(1 for _ in takewhile(lambda o: o[0] < until, arrival.offsets(Random(k))))
        for k in range(_STREAMS if random else 1)
    ]
    mean = sum(counts) / len(counts)
    told = f"expected({until / _NS:g}) is {expected:g}, counted were {mean:g}"
    if len(set(counts)) == 1:
        _require(abs(mean - expected) <= 1, told)
    else:
        p = float(stats.ttest_1samp(counts, expected).pvalue)
        _require(p > ALPHA, told)


def _check_residuals(found: object, *, random: bool) -> None:
    from scipy import stats

    values = [float(each) for each in found]  # type: ignore[attr-defined]
    if not random:
        off = max((abs(each - 1) for each in values[1:]), default=0.0)
        _require(off <= _ROUNDED, f"a residual is {off:g} from 1, though not random")
        return
    p = float(stats.kstest(values, "expon").pvalue)
    _require(p > ALPHA, f"residuals are not exponential of mean 1: p = {p:.2g}")
    p = float(stats.pearsonr(values[1:], values[:-1]).pvalue)
    _require(p > ALPHA, f"a residual depends on the one before: p = {p:.2g}")


def _offsets(arrival: Arrival, seed: int, n: int) -> list[int]:
    return [offset for offset, _ in islice(arrival.offsets(Random(seed)), n)]


def _require(holds: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise AssertionError(what)
