"""A run's course → OpenMetrics text: what `--metrics` served, with times, exactly.

The names are those of `report.metrics`. Counters have points over the course of each
cell, times one at the very end; the clock is the wall's, by the run's anchor.
"""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from djinnload.errors import ScenarioError
from djinnload.reading import columns
from djinnload.reading.files import read_document, sample_groups
from djinnload.recording.live import LiveCounts, Totals, summed
from djinnload.report.exports import tables
from djinnload.sample import MEASURE, OUTCOMES
from djinnload.units import SECOND

__all__ = ("refuse", "write")

_BYTES = ("bytes_sent", "bytes_received")
_CODES = {str(outcome): code for code, outcome in enumerate(OUTCOMES)}
_NEEDED = (
    "population", "phase", "outcome", "due_ns", "ready_ns", "sent_ns", "done_ns",
    *_BYTES, "verified", "worker", "seq",
)  # fmt: skip
#: Points of a series, at most: of a cell, and of all cells together.
_POINTS, _ALL_POINTS = 120, 2000
_TINY_S = 0.001

Array = np.ndarray[Any, np.dtype[Any]]
Key = tuple[str, ...]


class _Cell(Struct, frozen=True):
    """What a cell's manifest says, and by how much the wall's clock is ahead of ours.

    Attributes:
        points: How many there are of each of its series.
    """

    directory: Path
    manifest: Mapping[str, Any]
    ahead_ns: int
    points: int = 1

    @property
    def begin_ns(self) -> int:
        return int(self.manifest["window"]["begin_ns"])

    @property
    def end_ns(self) -> int:
        window = self.manifest["window"]
        return int(window.get("finished_ns") or window["end_ns"])

    def at_s(self, point: int) -> float:
        """Return when a point is, in seconds since 1970."""
        end = self.begin_ns + (self.end_ns - self.begin_ns) * (point + 1) // self.points
        return (end + self.ahead_ns) / SECOND

    def points_of(self, done_ns: Array) -> Array:
        """Return the point that each of these times comes before."""
        whole = max(self.end_ns - self.begin_ns, 1)
        found = (done_ns - self.begin_ns - 1) * self.points // whole
        return np.asarray(np.clip(found, 0, self.points - 1))

    def key(self, population: str) -> Key:
        """Return the labels of its series."""
        planned = self.manifest["populations"].get(population) or {}
        where = str(self.manifest["arm"]), str(self.manifest["point"])
        return (population, str(planned.get("qos_class") or ""), *where)


class _Course:
    """One population over a cell, point by point."""

    def __init__(self, points: int) -> None:
        self._counts = LiveCounts()
        self._outcomes = np.zeros((len(OUTCOMES), points), np.int64)
        self._bytes = np.zeros((2, points), np.int64)

    def add(self, outcome: Array, point: Array, times: Array, nbytes: Array) -> None:
        """Take requests of measure.

        Args:
            outcome: Indices into `OUTCOMES`, of shape ``(n,)``.
            point: Of each, likewise.
            times: Latency and lateness, of shape ``(2, n)``.
            nbytes: Sent and received, likewise.
        """
        everyone = np.ones(len(outcome), np.bool_)
        both = (nbytes[0], nbytes[1])
        self._counts.add(everyone, outcome, times[0], times[1], both)
        np.add.at(self._outcomes, (outcome, point), 1)
        for way in range(2):
            np.add.at(self._bytes[way], point, nbytes[way])

    def totals(self) -> list[Totals]:
        """Return what there was at each point; times at the last alone."""
        outcomes, nbytes = self._outcomes.cumsum(axis=1), self._bytes.cumsum(axis=1)
        found = [
            Totals(
                {str(o): int(n) for o, n in zip(OUTCOMES, column, strict=True) if n},
                int(sent),
                int(received),
            )
            for column, sent, received in zip(outcomes.T, *nbytes, strict=True)
        ]
        times = self._counts.read().totals
        found[-1] = replace(found[-1], latency=times.latency, lateness=times.lateness)
        return found


class _Series(Struct):
    """What there was of one key, over all its cells.

    Attributes:
        course: Points in order of time.
        ends: Of these, the last of each cell, with times.
        sessions: At these.
    """

    course: list[tuple[float, Totals]] = []
    ends: list[tuple[float, Totals]] = []
    sessions: list[int] = []

    def add(self, cell: _Cell, course: _Course, sessions: int) -> None:
        """Go on with a cell that comes after those before."""
        before = self.ends[-1][1] if self.ends else Totals()
        for point, totals in enumerate(course.totals()):
            # A wall's clock may be set back between cells; a series cannot go back.
            after = self.course[-1][0] + _TINY_S if self.course else 0.0
            at_s = max(cell.at_s(point), after)
            self.course.append((at_s, summed([before, totals])))
        self.ends.append(self.course[-1])
        self.sessions.append(sessions + (self.sessions[-1] if self.sessions else 0))


def refuse() -> None:
    """Raise ScenarioError if what writes it is not installed."""
    if find_spec("prometheus_client") is None:
        reason = "OpenMetrics needs prometheus-client: pip install 'djinnload[metrics]'"
        raise ScenarioError("--export", reason)


def write(run_dir: Path, path: Path) -> None:
    """Write the text of all cells that have samples.

    Raises:
        ScenarioError: prometheus-client is not installed.
    """
    refuse()
    from prometheus_client import CollectorRegistry
    from prometheus_client.openmetrics.exposition import generate_latest

    from djinnload.report.metrics import Counters

    counters = Counters()
    for key, series in _series(_cells(run_dir)).items():
        counters.count(key, series.course)
        # prometheus_client reads no histogram back that has more than one point.
        counters.time(key, series.ends[-1:])
        for (at_s, _), n in zip(series.ends, series.sessions, strict=True):
            counters.sessions.add_metric(key, n, timestamp=at_s)
    registry = CollectorRegistry()
    registry.register(counters)
    path.write_bytes(generate_latest(registry))  # type: ignore[no-untyped-call]


def _series(cells: Iterable[_Cell]) -> dict[Key, _Series]:
    found: dict[Key, _Series] = {}
    for cell in cells:
        for name, course in _read(cell).items():
            began = cell.manifest["sessions"].get(name, {}).get("started", 0)
            found.setdefault(cell.key(name), _Series()).add(cell, course, began)
    return found


def _cells(run_dir: Path) -> list[_Cell]:
    """Return cells that came to their end, in order of time."""
    root = read_document(run_dir / "manifest.json")
    found = []
    for directory in tables.cells(run_dir):
        manifest = read_document(directory / "manifest.json")
        if manifest.get("sessions") and manifest.get("window"):
            ahead = _ahead_ns(root, str(manifest["cell"]))
            found.append(_Cell(directory, manifest, ahead))
    found.sort(key=lambda cell: cell.begin_ns + cell.ahead_ns)
    most = max(1, min(_POINTS, _ALL_POINTS // max(len(found), 1)))
    return [
        replace(cell, points=min(most, 1 + (cell.end_ns - cell.begin_ns) // SECOND))
        for cell in found
    ]


def _ahead_ns(root: Mapping[str, Any], cell: str) -> int:
    """Return by how much the wall's clock was ahead of the one that timed *cell*."""
    resumed = [each for each in root.get("resumed") or () if cell in each["cells"]]
    anchor = (resumed or [root])[-1]["anchor"]
    return int(anchor["wall_ns"]) - int(anchor["monotonic_ns"])


def _read(cell: _Cell) -> dict[str, _Course]:
    courses: dict[str, _Course] = {}
    for table in sample_groups(cell.directory, _NEEDED):
        phases, outcomes = (columns.texts(table[name]) for name in ("phase", "outcome"))
        populations, names = columns.codes(table["population"])
        due, ready, sent, done, *nbytes = (
            columns.integers(table[name])
            for name in ("due_ns", "ready_ns", "sent_ns", "done_ns", *_BYTES)
        )
        late = np.where((sent >= 0) & (ready >= 0), sent - ready, -1)
        outcome = np.array([_CODES[each] for each in outcomes], np.int64)
        point = cell.points_of(done)
        for code, name in enumerate(names):
            mine = (populations == code) & (phases == MEASURE)
            course = courses.setdefault(name, _Course(cell.points))
            times = np.stack([done - due, late])[:, mine]
            both = np.stack(nbytes)[:, mine]
            course.add(outcome[mine], point[mine], times, both)
    return courses
