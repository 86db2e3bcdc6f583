"""What a run shows while it goes on: a table on a terminal, else a line at times.

Drawing a table takes milliseconds that the engine's loop does not have, so a thread of
its own draws the newest `Progress`, and skips those that it was too slow for.
"""

from threading import Event, Thread
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live as Screen
from rich.table import Table
from rich.text import Text

from djinnload.recording.recorder import Live
from djinnload.result import Progress

__all__ = ("LiveView",)

#: Seconds between two lines where there is no terminal.
_EVERY_S = 5.0


class LiveView:
    """A context manager; `update` takes each `Progress`.

    Args:
        quiet: Show nothing.
        console: Default: stderr, so that stdout holds results only.
    """

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._quiet = quiet
        self._screen: Screen | None = None
        self._newest: Progress | None = None
        self._news = Event()
        self._over = False
        self._thread = Thread(target=self._draw, name="djinnload-live", daemon=True)
        self._said = ""
        self._spoke_at = -_EVERY_S

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._quiet:
            self._screen = Screen(
                console=self._console, auto_refresh=False, transient=True
            )
            self._screen.start()
        if not self._quiet:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._quiet:
            self._over = True
            self._news.set()
            self._thread.join()
        if self._screen is not None:
            self._screen.stop()

    def update(self, progress: Progress) -> None:
        """Have it shown where the run is; returns at once."""
        self._newest = progress
        self._news.set()

    def _draw(self) -> None:
        while not self._over:
            self._news.wait()
            self._news.clear()
            if self._newest is not None:
                self._show(self._newest)

    def _show(self, progress: Progress) -> None:
        if self._screen is not None:
            self._screen.update(_table(progress), refresh=True)
            return
        begun = progress.cell or progress.message
        due = abs(progress.elapsed_s - self._spoke_at) >= _EVERY_S
        if begun != self._said or due:
            self._said, self._spoke_at = begun, progress.elapsed_s
            parts = [_headline(progress)]
            parts += [f"{name} {_words(live)}" for name, live in _classes(progress)]
            line = " | ".join(parts)
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def _classes(progress: Progress) -> list[tuple[str, Live]]:
    return [(name, live) for name, live in progress.populations.items() if live.n]


def _headline(progress: Progress) -> str:
    left = "" if progress.left_s is None else f", about {progress.left_s:.0f} s left"
    if not progress.cell:
        return progress.message
    where = f"cell {min(progress.done_cells + 1, progress.all_cells)}"
    of = f"{where} of {progress.all_cells}, {progress.cell}"
    if progress.message:
        return f"{progress.message}: {progress.cell}{left}"
    done = f"{max(progress.elapsed_s, 0):.0f} of {progress.total_s:.0f} s"
    return f"{of}: {progress.phase} {done}{left}"


def _words(live: Live) -> str:
    return (
        f"{live.rate_per_s:.0f} requests/s p50 {_ms(live.p50_ms)} "
        f"p99 {_ms(live.p99_ms)} errors {live.errors} refused {live.refused}"
    )


def _ms(value: float | None) -> str:
    return "n too small" if value is None else f"{value:.3g} ms"


def _table(progress: Progress) -> Group:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("population")
    for name in ("requests/s", "p50", "p99", "n", "errors", "refused"):
        table.add_column(name, justify="right")
    for name, live in progress.populations.items():
        table.add_row(
            Text(name),
            f"{live.rate_per_s:.0f}",
            _ms(live.p50_ms),
            _ms(live.p99_ms),
            str(live.n),
            str(live.errors),
            str(live.refused),
        )
    flight = f"{progress.in_flight} in flight" if progress.cell else ""
    return Group(Text(_headline(progress)), table, Text(flight, style="dim"))
