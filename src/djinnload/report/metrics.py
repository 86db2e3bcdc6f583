"""Where a run is → metrics in the words of Prometheus; pure."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from msgspec import Struct
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from djinnload import __version__
from djinnload.recording.live import BOUNDS_NS, Times, Totals, summed
from djinnload.result import Progress

__all__ = ("Counters", "Exposition")

#: Seconds since 1970 (None: now), and what there was then.
Point = tuple[float | None, Totals]

_LABELS = ("population", "qos_class", "arm", "point")
#: Of readings by their name: metric, what it is, and by what a reading is divided.
_READINGS = {
    "loop_lag_ns": ("generator_loop_lag_seconds", "Of the event loop's last look", 1e9),
    "gc_pause_ns": ("generator_gc_pause_seconds", "Of the last collection", 1e9),
    "cpu_share": ("host_cpu_ratio", "Of all cores that are busy", 1),
    "load1": ("host_load1", "Processes that run or wait, over a minute", 1),
}
_GPU = {
    "util": ("gpu_utilization_ratio", "Of the time that a kernel ran", 1),
    "memory_util": ("gpu_memory_utilization_ratio", "Of the time it was accessed", 1),
    "memory_bytes": ("gpu_memory_used_bytes", "Of all processes", 1),
    "power_w": ("gpu_power_watts", "Drawn", 1),
    "sm_clock_mhz": ("gpu_sm_clock_hertz", "Of the multiprocessors", 1e-6),
    "temperature_c": ("gpu_temperature_celsius", "Of the chip", 1),
    "slowed": ("gpu_slowed", "Whether it slows down, by power or heat", 1),
}


class _Done(Struct):
    totals: Totals = Totals()
    sessions: int = 0


class Exposition:
    """What a run's metrics are now, of all its cells together.

    A collector of ``prometheus_client``. Counters only grow: what a cell counts is
    added to what those before it of the same arm and point came to. Calibrations are
    in no counter.
    """

    def __init__(self) -> None:
        self._now = Progress("")
        self._before: dict[tuple[str, ...], _Done] = {}

    def take(self, progress: Progress) -> None:
        """Take in what the run says next, in order."""
        if progress.cell != self._now.cell or not progress.populations:
            self._before = self._done()
        self._now = progress

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, as it is now."""
        done = self._done()
        counters = Counters()
        for key, each in done.items():
            counters.count(key, [(None, each.totals)])
            counters.time(key, [(None, each.totals)])
            counters.sessions.add_metric(key, each.sessions)
        yield from counters.collect()
        yield from _gauges(self._now)
        yield from _readings(self._now.readings)
        counted = CounterMetricFamily(
            "djinnload_generator_cpu_seconds",
            "CPU time of the process that sends",
            labels=("worker",),
        )
        for reading, value in self._now.readings.items():
            device, _, name = reading.rpartition("/")
            if name == "cpu_ns":
                counted.add_metric((device,), value / 1e9)
        yield counted

    def _done(self) -> dict[tuple[str, ...], _Done]:
        """Return totals by the values of `_LABELS`, what runs included."""
        found, now = dict(self._before), self._now
        point, _, rest = now.cell.partition("/")
        arm = rest.rpartition("/")[0]
        if now.phase == "calibrate":
            return found
        for name, live in now.populations.items():
            key = (name, now.qos_classes.get(name, ""), arm, point)
            past = found.get(key, _Done())
            found[key] = _Done(
                summed([past.totals, live.totals]),
                past.sessions + now.sessions.get(name, 0),
            )
        return found


class Counters:
    """The families that count; prometheus_client's, each with samples to add."""

    def __init__(self) -> None:
        def counter(name: str, what: str, *more: str) -> CounterMetricFamily:
            labels = (*_LABELS, *more)
            return CounterMetricFamily(f"djinnload_{name}", what, labels=labels)

        def times(name: str, what: str) -> HistogramMetricFamily:
            return HistogramMetricFamily(f"djinnload_{name}", what, labels=_LABELS)

        self.requests = counter(
            "requests", "Requests of measure that are over", "outcome"
        )
        self.sessions = counter("sessions_started", "Sessions of measure that began")
        self.sent = counter("sent_bytes", "Of requests of measure")
        self.received = counter("received_bytes", "Of their replies")
        self.latency = times(
            "request_latency_seconds",
            "From the due time to the reply, of ok requests",
        )
        self.lateness = times(
            "request_lateness_seconds",
            "How late requests were sent: the generator's own doing",
        )

    def count(self, key: Sequence[str], course: Sequence[Point]) -> None:
        """Add what requests and bytes of a series came to, in order of time."""
        outcomes = dict.fromkeys(name for _, each in course for name in each.outcomes)
        for outcome in outcomes:
            for at_s, totals in course:
                if (n := totals.outcomes.get(outcome)) is not None:
                    self.requests.add_metric((*key, outcome), n, timestamp=at_s)
        for at_s, totals in course:
            self.sent.add_metric(key, totals.bytes_sent, timestamp=at_s)
            self.received.add_metric(key, totals.bytes_received, timestamp=at_s)

    def time(self, key: Sequence[str], course: Sequence[Point]) -> None:
        """Add how long requests of a series took, and how late they were."""
        for at_s, totals in course:
            for family, times in (
                (self.latency, totals.latency),
                (self.lateness, totals.lateness),
            ):
                sum_s = times.sum_ns / 1e9
                family.add_metric(key, _buckets(times), sum_s, timestamp=at_s)

    def collect(self) -> Iterator[Metric]:
        """Yield them all."""
        yield from (self.requests, self.sessions, self.sent, self.received)
        yield from (self.latency, self.lateness)


def _buckets(times: Times) -> list[tuple[str, float]]:
    """Return cumulative counts by the upper end of their bucket, in seconds."""
    ends = [*(str(bound / 1e9) for bound in BOUNDS_NS), "+Inf"]
    counts = times.counts or (0,) * len(ends)
    return list(zip(ends, map(float, accumulate(counts)), strict=True))


def _gauges(now: Progress) -> Iterator[Metric]:
    about = {"cell": now.cell, "phase": now.phase, "version": __version__}
    yield InfoMetricFamily("djinnload_run", "Where the run is", value=about)
    for name, what, value in (
        ("requests_in_flight", "Requests that wait for their reply", now.in_flight),
        ("cells", "Cells of the run", now.all_cells),
        ("cells_done", "Cells that are over", now.done_cells),
    ):
        yield GaugeMetricFamily(f"djinnload_{name}", what, value=value)
    if now.left_s is not None:
        what = "Estimate of what is left of the run"
        yield GaugeMetricFamily("djinnload_left_seconds", what, value=now.left_s)
    achieved = {name: live.rate_per_s for name, live in now.populations.items()}
    for name, what, rates in (
        ("offered_sessions", "Sessions that began, of this cell", now.offered_per_s),
        ("achieved_requests", "Requests that are over, over 3 s", achieved),
    ):
        family = GaugeMetricFamily(
            f"djinnload_{name}_per_second", what, labels=_LABELS[:2]
        )
        for population, rate in rates.items():
            family.add_metric((population, now.qos_classes.get(population, "")), rate)
        yield family


def _readings(readings: Mapping[str, float]) -> Iterator[Metric]:
    found: dict[str, Any] = {}
    for key, value in readings.items():
        device, _, name = key.rpartition("/")
        gpu = device.startswith("gpu")
        known = (_GPU if gpu else _READINGS).get(name)
        if known is None:
            continue
        metric, what, unit = known
        if metric not in found:
            label = "gpu" if gpu else "worker"
            found[metric] = GaugeMetricFamily(
                f"djinnload_{metric}", what, labels=(label,)
            )
        found[metric].add_metric((device,), value / unit)
    yield from found.values()
