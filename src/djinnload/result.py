"""What a run is told and says while it goes on, and what it leaves."""

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from djinnload.errors import HostError
from djinnload.recording.recorder import Live, read_samples
from djinnload.scenarios.cells import Cell
from djinnload.summary.fold import fold_run

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("Course", "Progress", "Result")


#: Columns of a result in a notebook.
_SHOWN = ("arm", "point", "class", "n", "p50 ms", "p99 ms", "missed %", "not ok %")


class Course(Protocol):
    """Says which cell comes next, once it is known what the last one came to."""

    @property
    def first(self) -> Cell:
        """The first cell; all that follow are of its arm and need the same server."""

    async def after(self, run_dir: Path, entry: Mapping[str, Any]) -> Cell | None:
        """Return the cell to run next; None: that was the last.

        Args:
            run_dir: With everything measured until now.
            entry: Of the cell that just ran, in index.json.
        """


class Progress(Struct, frozen=True):
    """Where a run is, for a live view; about twice a second.

    Attributes:
        phase: ``boot``, ``calibrate``, ``warmup``, ``measure``, ``cooldown`` or
            ``check``.
        total_s: Of warm-up and measure of the cell; 0 while unknown.
        left_s: Estimate for the whole run; None while unknown.
        populations: Of the running cell.
        offered_per_s: Sessions started a second since measure began, by population.
        sessions: Of measure that have started, by population.
        qos_classes: By population.
        readings: The newest of each probe, by ``device/name``, such as
            ``gpu0/util`` or ``/loop_lag_ns``.
        path: The results directory; empty before there is one.
    """

    message: str
    cell: str = ""
    phase: str = "boot"
    elapsed_s: float = 0.0
    total_s: float = 0.0
    left_s: float | None = None
    done_cells: int = 0
    all_cells: int = 0
    in_flight: int = 0
    populations: Mapping[str, Live] = {}
    offered_per_s: Mapping[str, float] = {}
    sessions: Mapping[str, int] = {}
    qos_classes: Mapping[str, str] = {}
    readings: Mapping[str, float] = {}
    path: str = ""


class Result(Struct, frozen=True):
    """A finished run; everything in it can be rebuilt from ``path``.

    Attributes:
        path: The results directory.
        summary: The root ``summary.json``.
        error: What ended the run early; empty if nothing did.
    """

    path: Path
    summary: dict[str, Any]
    error: str = ""

    @classmethod
    def of(cls, path: Path, error: str = "") -> "Result":
        """Return what a run came to, by what is in its directory: folds it.

        Also of one whose task was cancelled, or whose process was killed.

        Raises:
            HostError: The summary cannot be written, as on a full disk.
        """
        try:
            return cls(path, fold_run(path), error)
        except OSError as failed:
            hint = f"free some room, then djinnload report {path}"
            reason = f"the summary cannot be written: {failed.strerror}; {hint}"
            raise HostError("; ".join(filter(None, (error, reason)))) from failed

    @property
    def verdict(self) -> dict[str, Any]:
        """Return status, reasons and findings."""
        found: dict[str, Any] = self.summary["verdict"]
        return found

    @property
    def exit_code(self) -> int:
        """Return what the command exits with."""
        return int(self.summary["exit_code"])

    @property
    def cells(self) -> list[dict[str, Any]]:
        """Return the index entries of the cells, in the order they ran."""
        found: list[dict[str, Any]] = self.summary["cells"]
        return found

    def __repr__(self) -> str:
        """Return where it is and what it came to; the summary is a long document."""
        path, status = str(self.path), str(self.verdict["status"])
        return f"Result({path!r}, verdict={status!r}, exit_code={self.exit_code})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the verdict, and a row a class."""
        status = str(self.verdict["status"])
        said = [f"<b>{escape(status)}</b>, {escape(str(self.path))}"]
        for reason in self.verdict["reasons"]:
            code, message = escape(reason["code"]), escape(reason["message"])
            said.append(f"<code>{code}</code> {message}")
        head = "".join(f"<th>{name}</th>" for name in _SHOWN)
        rows = "".join(_rows(self.summary.get("arms") or {}))
        return f"<p>{'<br>'.join(said)}</p><table><tr>{head}</tr>{rows}</table>"

    def samples(self) -> "pa.Table":
        """Return every sample of every cell; imports pyarrow."""
        import pyarrow as pa

        # A cell that was never begun has none, but their columns.
        paths = [self.path / cell["path"] for cell in self.cells]
        return pa.concat_tables(map(read_samples, paths))


def _rows(arms: Mapping[str, Any]) -> Iterator[str]:
    for arm, points in arms.items():
        for point, populations in points.items():
            for name, found in populations.items():
                latency = found.get("latency_ms") or {}
                shares = (found.get(each) or {} for each in ("miss_rate", "error_rate"))
                numbers = [latency.get("p50"), latency.get("p99")]
                numbers += [
                    None if (value := share.get("value")) is None else 100 * value
                    for share in shares
                ]
                texts = ["–" if each is None else f"{each:.3g}" for each in numbers]
                cells = (arm, point, name, str(found.get("n", "–")), *texts)
                yield f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in cells)}</tr>"
