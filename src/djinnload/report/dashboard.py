"""`Progress` → what a terminal, a log or a machine is shown of a run; pure."""

from collections import deque
from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from djinnload.recording.live import Live
from djinnload.result import Progress

__all__ = ("Dashboard", "line", "spark")

#: Looks that a sparkline goes back; half a second each.
_PAST = 24
_BARS = "▁▂▃▄▅▆▇█"
_KEYS = "q stop early, keep what is measured · m mark this moment"
_GIB = 2**30


class Dashboard:
    """Draws what it is told, and remembers how p99 went.

    Args:
        keys: Whether keys are listened to.
    """

    def __init__(self, *, keys: bool = False) -> None:
        self._keys = keys
        self._cell = ""
        self._past: dict[str, deque[float]] = {}
        self.said = ""

    def draw(self, progress: Progress) -> RenderableType:
        """Return the screen for the newest *progress*."""
        if progress.cell != self._cell:
            self._cell = progress.cell
            self._past.clear()
        parts: list[RenderableType] = [Text(headline(progress), style="bold")]
        if progress.all_cells:
            parts.append(_bar(progress))
        if progress.populations:
            parts += [Text(), self._table(progress), Text()]
        parts += [Text(each, style="dim") for each in _health(progress)]
        if self._keys:
            parts.append(Text(self.said or _KEYS, style="dim"))
        return Group(*parts)

    def _table(self, progress: Progress) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1))
        table.add_column("class")
        for name in ("offered/s", "done/s", "n", "p50", "p99"):
            table.add_column(name, justify="right")
        table.add_column("p99, last 12 s", min_width=_PAST)
        for name in ("missed", "refused", "errors"):
            table.add_column(name, justify="right")
        for name, live in progress.populations.items():
            past = self._past.setdefault(name, deque(maxlen=_PAST))
            if live.p99_ms is not None:
                past.append(live.p99_ms)
            table.add_row(
                Text(name),
                _rate(progress.offered_per_s.get(name)),
                _rate(live.rate_per_s),
                f"{live.n:,}",
                ms(live.p50_ms),
                ms(live.p99_ms),
                Text(spark(past)),
                _missed(live),
                _count(live.refused),
                _count(live.errors),
            )
        return table


def line(progress: Progress) -> str:
    """Return *progress* on one line, for a log."""
    parts = [headline(progress)]
    for name, live in progress.populations.items():
        if live.n:
            parts.append(
                f"{name} {live.rate_per_s:.0f} requests/s p50 {ms(live.p50_ms)} "
                f"p99 {ms(live.p99_ms)} errors {live.errors} refused {live.refused}"
            )
    return " | ".join(parts)


def headline(progress: Progress) -> str:
    """Return where the run is, in words."""
    left = "" if progress.left_s is None else f", about {progress.left_s:.0f} s left"
    if not progress.cell:
        return progress.message
    where = f"cell {min(progress.done_cells + 1, progress.all_cells)}"
    of = f"{where} of {progress.all_cells}, {progress.cell}"
    if progress.message:
        return f"{progress.message}: {progress.cell}{left}"
    # What is still in flight may take longer than the cell was to.
    within = progress.elapsed_s <= progress.total_s
    whole = f"of {progress.total_s:.0f} " * within
    done = f"{max(progress.elapsed_s, 0):.0f} {whole}s"
    return f"{of}: {progress.phase} {done}{left}"


def ms(value: float | None) -> str:
    """Return a time in words; None: there are too few."""
    if value is None:
        return "n too small"
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"  # noqa: PLR2004


def spark(values: "deque[float]") -> str:
    """Return *values* as bars from 0 to the greatest of them."""
    top = max(values, default=0.0)
    if top <= 0:
        return ""
    last = len(_BARS) - 1
    return "".join(_BARS[min(last, int(value / top * last + 0.5))] for value in values)


def _bar(progress: Progress) -> ProgressBar:
    within = progress.elapsed_s / progress.total_s if progress.total_s else 0.0
    done = progress.done_cells + min(max(within, 0.0), 1.0)
    return ProgressBar(total=progress.all_cells, completed=done, width=60)


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"  # noqa: PLR2004


def _missed(live: Live) -> str:
    if live.missed is None or not live.n:
        return "–"
    return f"{100 * live.missed / live.n:.1f} %"


def _count(value: int) -> Text:
    return Text(f"{value:,}", style="yellow" if value else "dim")


def _health(progress: Progress) -> Iterator[str]:
    if progress.cell:
        every = progress.readings.items()  # of all workers: the worst
        lags = [value for key, value in every if key.endswith("/loop_lag_ns")]
        lag = max(lags, default=None)
        parts = [f"{progress.in_flight} in flight"]
        if lag is not None:
            parts.append(f"generator {lag / 1000:.0f} µs behind its clock")
        share = progress.readings.get("/cpu_share")
        if share is not None:
            parts.append(f"host {100 * share:.0f} % busy")
        yield " · ".join(parts)
    yield from _gpus(progress.readings)


def _gpus(readings: Mapping[str, float]) -> Iterator[str]:
    for key, util in readings.items():
        device, _, name = key.rpartition("/")
        if name == "util" and device.startswith("gpu"):
            memory = readings.get(f"{device}/memory_bytes")
            used = "" if memory is None else f", {memory / _GIB:.1f} GiB"
            yield f"{device} {100 * util:.0f} % busy{used}"
