"""``intervals.hlog``: HdrHistogram's log format, 1 s intervals by done time, ns.

The hdrhistogram package encodes and decodes the histograms; the lines are ours, as its
interval writer drops tags, its `record_value` loses out-of-range values silently, and
its percentiles round the rank (59 × 1,000 and one 1,000,000 give p99 = 1,000).
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram

from djinnload.units import MS, SECOND

__all__ = ("HIGHEST_NS", "hlog_lines", "new", "percentile", "read_hlog", "record")

Array = np.ndarray[Any, np.dtype[Any]]

HIGHEST_NS = 24 * 3600 * SECOND
DIGITS = 3
_LEGEND = (
    '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'
)
#: Bits that 3 digits keep: 2^11 ≥ 2 × 10^3.
_KEPT_BITS = 11
#: More than a histogram has counts.
_BUCKET_BITS = 16
#: Values that are bucketed at once, to fit the caches.
_AT_ONCE = 2**16


def new() -> HdrHistogram:
    """Return an empty histogram from 1 ns to 24 h with 3 digits."""
    return HdrHistogram(1, HIGHEST_NS, DIGITS)


def record(histogram: HdrHistogram, values_ns: Array) -> None:
    """Count *values_ns* (shape ``(n,)``, 0 to `HIGHEST_NS`), bucketed in bulk.

    Raises:
        ValueError: A value is out of range: nothing vanishes.
    """
    buckets, counts = np.unique(_buckets(values_ns), return_counts=True)
    _add(histogram, buckets, counts)


def _buckets(values_ns: Array) -> Array:
    """Return, int64, in which of a histogram's counts each value is counted."""
    whole = np.asarray(values_ns, np.float64)
    # NaN compares false.
    if not ((whole >= 0) & (whole <= HIGHEST_NS)).all():
        raise ValueError("a value is out of the histogram's range of 0 to 24 h")
    numbers = whole.astype(np.int64)
    # frexp's exponent is the bit length, exact below 2^53.
    _, bits = np.frexp(numbers)
    shift = np.maximum(bits.astype(np.int64) - _KEPT_BITS, 0)
    return (shift << _KEPT_BITS - 1) + (numbers >> shift)


def _add(histogram: HdrHistogram, buckets: Array, counts: Array) -> None:
    """Add *counts* to *buckets* (different, ascending) of *histogram*."""
    if not len(buckets):
        return
    view = np.frombuffer(histogram.counts, np.int64)
    view[buckets] += counts
    histogram.total_count += int(counts.sum())
    lowest, highest = (
        histogram.get_value_from_index(int(end)) for end in (buckets[0], buckets[-1])
    )
    histogram.min_value = min(histogram.min_value, lowest)
    histogram.max_value = max(histogram.max_value, highest)


def percentile(histogram: HdrHistogram, q: float) -> int:
    """Return the highest value of the bucket in which the ⌈q n⌉-th smallest lies.

    Args:
        histogram: Not empty.
        q: 0 < q ≤ 1.
    """
    below = np.cumsum(np.asarray(histogram.counts, np.int64))
    rank = max(1, math.ceil(q * int(below[-1]) - 1e-6))
    index = int(np.searchsorted(below, rank))
    value = histogram.get_value_from_index(index)
    return int(histogram.get_highest_equivalent_value(value))


def hlog_lines(
    series: Iterable[tuple[str, Array, Array]], *, begin_ns: int, start_s: float = 0.0
) -> Iterator[str]:
    """Yield the lines of a log, in order of time.

    Args:
        series: (tag, done_ns, values_ns), the tag such as ``chat.latency``; no NaN.
        begin_ns: Begin of measure, from which intervals count.
        start_s: Of measure, in seconds since the epoch; 0: not known.

    Raises:
        ValueError: A value is out of range.
    """
    yield "#[Histogram log format version 1.3]"
    yield f"#[StartTime: {start_s:.3f} (seconds since epoch)]"
    yield _LEGEND
    lines = [
        (second, f"Tag={tag},{second:.3f},1.000,{encoded}")
        for tag, done_ns, values_ns in series
        for second, encoded in _intervals(done_ns, values_ns, begin_ns)
    ]
    yield from (line for _, line in sorted(lines, key=lambda two: two[0]))


def _intervals(
    done_ns: Array, values_ns: Array, begin_ns: int
) -> Iterator[tuple[int, str]]:
    if not len(done_ns):
        return
    first, last = (
        (int(at) - begin_ns) // SECOND for at in (done_ns.min(), done_ns.max())
    )
    largest = np.zeros(last - first + 1)
    key = np.empty(len(done_ns), np.int64)
    for begin in range(0, len(key), _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        second = (np.asarray(done_ns[part], np.int64) - begin_ns) // SECOND - first
        # Samples are in the order of their ends, nearly: few runs of equal seconds.
        runs = np.flatnonzero(np.diff(second, prepend=second[0] - 1))
        most = np.maximum.reduceat(np.asarray(values_ns[part], np.float64), runs)
        np.maximum.at(largest, second[runs], most)
        key[part] = (second << _BUCKET_BITS) + _buckets(values_ns[part])
    key.sort()
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    counts = np.diff(np.append(starts, len(key)))
    seconds, buckets = np.divmod(key[starts], 2**_BUCKET_BITS)
    ends = np.searchsorted(seconds, np.arange(len(largest) + 1))
    histogram = new()
    view = np.frombuffer(histogram.counts, np.int64)
    for at, (begin, end) in enumerate(itertools.pairwise(ends.tolist())):
        if begin == end:
            continue
        # Emptied, not made again: 38,912 counts are slow to allocate.
        view[:] = 0
        histogram.total_count = histogram.max_value = 0
        _add(histogram, buckets[begin:end], counts[begin:end])
        encoded = histogram.encode().decode("ascii")
        # The format's Interval_Max is in ms wherever values are ns.
        yield first + at, f"{largest[at] / MS:.3f},{encoded}"


def read_hlog(path: Path) -> dict[str, HdrHistogram]:
    """Return all intervals of a log added up, by tag; lines without one have tag ""."""
    found: dict[str, HdrHistogram] = {}
    for line in Path(path).read_text("ascii").splitlines():
        if not line or line[0] in '#"':
            continue
        tag, rest = "", line
        if line.startswith("Tag="):
            tag, _, rest = line[len("Tag=") :].partition(",")
        decoded = HdrHistogram.decode(rest.rsplit(",", 1)[1].encode("ascii"))
        found.setdefault(tag, new()).add(decoded)
    return found
