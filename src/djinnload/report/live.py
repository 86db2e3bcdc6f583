"""What a run shows while it goes on; the drawing is done by another process.

`djinnload.report.viewer` draws. All that the run does is to write a line of JSON twice
a second, to a pipe that never makes it wait.
"""

import os
import subprocess
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
from djinnload.result import Progress

__all__ = ("STYLES", "LiveView", "Style")

Style = Literal["auto", "lines", "json", "none"]
STYLES: tuple[Style, ...] = ("auto", "lines", "json", "none")
#: How long it may take to draw the last.
_PATIENCE_S = 5.0


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
        self._process: subprocess.Popen[bytes] | None = None
        self._left = b""
        self._newest = Progress("")

    def __enter__(self) -> Self:
        if self._style != "none":
            self._process = subprocess.Popen(
                [sys.executable, "-m", "djinnload.report.viewer", self._style],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None  # noqa: S101 - it was asked for
                os.set_blocking(pipe.fileno(), False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None  # noqa: S101 - it was asked for
        assert process.stdout is not None  # noqa: S101
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def update(self, progress: Progress) -> None:
        """Have it shown where the run is; never waits. Keys pressed are acted on."""
        self._newest = progress
        process = self._process
        if process is None:
            return
        assert process.stdin is not None  # noqa: S101 - it was asked for
        assert process.stdout is not None  # noqa: S101
        with suppress(OSError):
            if self._left:
                # What the viewer was too slow for is left out, but never half a line.
                self._left = self._left[os.write(process.stdin.fileno(), self._left) :]
            if not self._left:
                text = msgspec.json.encode(progress) + b"\n"
                self._left = text[os.write(process.stdin.fileno(), text) :]
        with suppress(OSError):
            for value in os.read(process.stdout.fileno(), 64):
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
