"""What a run shows while it goes on; the drawing is done by another process.

`djinnload.report.viewer` draws. All that the run does is to write a line of JSON twice
a second, to a pipe that never makes it wait.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from djinnload.clock import monotonic_ns, wall_ns
from djinnload.reading.files import MARKS
from djinnload.report.feeding import Fed
from djinnload.result import Progress

__all__ = ("STYLES", "LiveView", "Style")

Style = Literal["auto", "lines", "json", "none"]
STYLES: tuple[Style, ...] = ("auto", "lines", "json", "none")


class LiveView:
    """A context manager; `update` takes each `Progress`.

    Args:
        style: ``auto`` is a dashboard on a terminal and lines elsewhere; ``json`` a
            line of JSON each, for machines. All go to stderr: stdout holds results.
        on_stop: Called when somebody presses q.
    """

    def __init__(
        self, style: Style = "auto", *, on_stop: Callable[[], None] = lambda: None
    ) -> None:
        if style == "auto":
            # A terminal that cannot move its cursor gets lines.
            dumb = os.environ.get("TERM", "dumb") == "dumb"
            self._style = "screen" if sys.stderr.isatty() and not dumb else "lines"
        else:
            self._style = style
        self._on_stop = on_stop
        self._viewer: Fed | None = None
        self._newest = Progress("")

    def __enter__(self) -> Self:
        if self._style != "none":
            self._viewer = Fed("djinnload.report.viewer", self._style)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        viewer, self._viewer = self._viewer, None
        if viewer is not None:
            viewer.end()

    def update(self, progress: Progress) -> None:
        """Have it shown where the run is; never waits. Keys pressed are acted on."""
        self._newest = progress
        if self._viewer is not None:
            self._viewer.tell(msgspec.json.encode(progress))
            for value in self._viewer.heard():
                self._pressed(chr(value))

    def _pressed(self, key: str) -> None:
        if key == "q":
            self._on_stop()
        elif key == "m" and self._newest.path:
            mark(Path(self._newest.path), self._newest.cell)


def mark(run_dir: Path, cell: str) -> None:
    """Write down that something happened now, in `MARKS` of *run_dir*."""
    now = datetime.fromtimestamp(wall_ns() / 1e9, UTC)
    at = {
        "t_ns": monotonic_ns(),
        "utc": now.isoformat(timespec="milliseconds"),
        "cell": cell,
    }
    with suppress(OSError), (run_dir / MARKS).open("ab") as file:
        file.write(msgspec.json.encode(at) + b"\n")
