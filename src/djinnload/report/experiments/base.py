"""What a figure, a table and an experiment are; one module an experiment uses these.

    def _latency(run: Run) -> list[Datum]:
        return [
            run.datum("mean(tpot)", arm=arm, population="decode", x=arm, scale=1e-6)
            for arm in ARMS
        ]

    FIGURE = Figure(
        id="6a", slug="latency", title="What a token costs",
        said="Mean time a token after the first, of answers that came back ok",
        panels=(Panel("arm", "ms a token", _latency, draw=marks.bars),),
    )
    EXPERIMENT = Experiment(id="2.1", arms=ARMS, figures=(FIGURE,))

then a line in `EXPERIMENTS` (``__init__``). `rendering` does the rest: SVG, PDF, PNG,
CSV and caption of each figure, CSV and LaTeX of each table, the section of the report.
``run.datum`` takes whatever a ``[[claim]]`` can be about and puts the claim beside it;
numbers from elsewhere are a `Datum` of your own. Where a run has not what a figure
needs (no GPU), raise `Absent` with the reason: absent is never zero.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from djinnload import claims
from djinnload.claims import Quantity
from djinnload.health.cell import CellEvidence
from djinnload.reading.files import read_document, read_json
from djinnload.stats.populations import PopulationSamples
from djinnload.summary import measured
from djinnload.summary.claimed import Place, look_up
from djinnload.summary.fold import evidence_of
from djinnload.summary.measured import Measured
from djinnload.summary.run import Cell, groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ("Absent", "Datum", "Experiment", "Figure", "Panel", "Run", "Table")

Document = dict[str, Any]
#: Of cells that have samples which count.
_WITH_RESULT = ("done", "void")


class Absent(Exception):  # noqa: N818 - reads as what it says
    """Why a figure or table cannot be made of a run; said in its place."""


class Datum(Struct, frozen=True, kw_only=True):
    """One bar or point, and where it comes from.

    Attributes:
        series: Entry of the legend.
        x: Name of a group of bars, or a place on the axis.
        value: In the unit of the axis; +inf: turns were not ok; None: not measured.
        ci95: 95 % interval in the same unit; None: there is none.
        n: How many it is made of.
        of: What *n* counts.
        interval: How ``ci95`` was found.
        start: Event that a time counts from; empty: it is no time.
        cells: Directories of its cells, from the run's.
        claim: The plan's number in the same unit; None: it has none.
        infeasible: Why no machine can reach the claim; empty: it may be possible.
    """

    series: str
    x: str | float
    value: float | None
    ci95: tuple[float, float] | None = None
    n: int = 0
    of: str = "turns"
    interval: str = measured.NO_INTERVAL
    start: str = ""
    population: str = ""
    arm: str = ""
    point: str = "all"
    cells: tuple[str, ...] = ()
    claim: float | None = None
    infeasible: str = ""


class Run:
    """A results directory as figures read it.

    Attributes:
        directory: Of the run.
        summary: Its root summary.json.
        manifest: Its root manifest.json.
    """

    def __init__(self, directory: Path, summary: Mapping[str, Any]) -> None:
        """Read no sample yet: `groups` does, once."""
        self.directory, self.summary = Path(directory), summary
        self.manifest: Document = read_json(self.directory / "manifest.json")

    @cached_property
    def groups(self) -> dict[tuple[str, str], list[Cell]]:
        """Cells with evidence by (arm, point), in the order of repeats."""
        listed = self.summary.get("cells") or ()
        return groups(self._cell(c) for c in listed if c["status"] in _WITH_RESULT)

    def _cell(self, entry: Mapping[str, Any]) -> Cell:
        """Return a cell with its samples; its summary has judged them already."""
        calibration = read_document(self.directory / "calibration.json") or None
        found = evidence_of(self.directory / entry["path"], calibration)
        return Cell(entry, entry["status"], found.manifest, found)

    @property
    def arms(self) -> tuple[str, ...]:
        """Arms with results, in the order of the scenario."""
        planned = [each["name"] for each in self._plan.get("arm") or ()]
        return _ordered((arm for arm, _ in self.groups), planned)

    @property
    def points(self) -> tuple[str, ...]:
        """Points with results, in the order of the sweeps."""
        planned = (self.manifest.get("sweeps") or {}).get("points") or ()
        return _ordered((point for _, point in self.groups), list(planned))

    @property
    def _plan(self) -> Document:
        """Return the scenario as its file has it."""
        return self.manifest.get("plan") or {}

    def evidence(self, arm: str, point: str = "all") -> list[CellEvidence]:
        """Return what repeats of an arm at a point have; none: not measured."""
        cells = self.groups.get((arm, point), ())
        return [cell.evidence for cell in cells if cell.evidence]

    def samples(
        self, arm: str, population: str, point: str = "all"
    ) -> list[PopulationSamples]:
        """Return the samples of a population, one a repeat."""
        every = (each.populations for each in self.evidence(arm, point))
        return [each[population] for each in every if population in each]

    def populations(self, arm: str, point: str = "all") -> tuple[str, ...]:
        """Return the populations that an arm had at a point."""
        every = (each.populations for each in self.evidence(arm, point))
        return tuple(dict.fromkeys(name for names in every for name in names))

    def places(self, arms: Iterable[str]) -> list[Place]:
        """Return every population of *arms*, point by point.

        Of an arm that was not measured at a point (``skip``) too: those of the others.
        """
        found: list[Place] = []
        for point in self.points:
            here = dict.fromkeys(
                name for arm in self.arms for name in self.populations(arm, point)
            )
            for arm in arms:
                names = self.populations(arm, point) or tuple(here)
                found += [Place(arm, point, name) for name in names]
        return found

    def paths(self, arm: str, point: str = "all") -> tuple[str, ...]:
        """Return the directories of its cells, from the run's."""
        cells = self.groups.get((arm, point), ())
        return tuple(str(c.entry.get("path") or f"cells/{c.id}") for c in cells)

    def datum(
        self,
        text: str,
        *,
        arm: str,
        population: str,
        point: str = "all",
        x: str | float = "",
        series: str | None = None,
        scale: float = 1.0,
    ) -> Datum:
        """Return what *text* came to, with its interval and the plan's claim.

        Args:
            text: As of `djinnload.claims.parse`: ``mean(tpot)``, ``gpu_util``,
                ``bytes_a_session``, ``speed_up(mean(latency))`` …
            arm: And where: of one that was not measured the value is None.
            population: See *arm*.
            point: See *arm*.
            x: Its place on the axis; empty: the arm.
            series: Its legend; None: the arm.
            scale: From the quantity's unit (ns, bytes, share) to the axis's.

        Raises:
            ValueError: *text* is no quantity.
        """
        quantity = claims.parse(text)
        place = Place(arm, point, population)
        found = look_up(quantity, place, self.groups, self.summary)
        claim = self._claim(quantity, place)
        return Datum(
            series=arm if series is None else series,
            x=x if x != "" else arm,
            **shown(found, scale),
            start=measured.start(quantity.measure) if quantity.measure else "",
            population=population,
            arm=arm,
            point=point,
            cells=self.paths(arm, point),
            claim=None if claim is None else claim["claimed"] * scale,
            infeasible=str((claim or {}).get("infeasible") or ""),
        )

    def _claim(self, quantity: Quantity, place: Place) -> Document | None:
        wanted = {**place._asdict(), "metric": quantity.text}
        for each in self.summary.get("claims") or ():
            if all(each[key] == value for key, value in wanted.items()):
                return dict(each)
        return None


def _ordered(found: Iterable[str], planned: Sequence[str]) -> tuple[str, ...]:
    """Return names in the order in which they were planned, each once."""
    known = dict.fromkeys(found)
    return tuple(dict.fromkeys([*(n for n in planned if n in known), *known]))


def shown(found: Measured, scale: float = 1.0) -> Document:
    """Return the fields of a `Datum` that a number has, scaled to its axis."""
    low, high = found.ci95 or (0.0, 0.0)
    return {
        "value": None if found.value is None else found.value * scale,
        "ci95": (low * scale, high * scale) if found.ci95 else None,
        "n": found.n,
        "of": found.of,
        "interval": found.interval,
    }


class Panel(Struct, frozen=True):
    """One pair of axes.

    Attributes:
        xlabel, ylabel: With units.
        data: What it shows of a run; may raise `Absent`.
        draw: Of `marks`: bars, stacked, lines, cdf; or one's own.
        title: Above it; empty: the figure's says it.
    """

    xlabel: str
    ylabel: str
    data: Callable[[Run], Sequence[Datum]]
    draw: Callable[["Axes", Sequence[Datum]], None]
    title: str = ""


class Figure(Struct, frozen=True, kw_only=True):
    """A figure of the evaluation guide.

    Attributes:
        id: The guide's, such as ``6a``.
        slug: For its file: ``fig_6a_<slug>``.
        title: Above it.
        said: What was measured, without a period: the caption begins with it.
        panels: Side by side.
        note: A sentence more for the caption; empty: none.
        size_in: Width and height, inches, without the legend.
    """

    id: str
    slug: str
    title: str
    said: str
    panels: tuple[Panel, ...]
    note: str = ""
    size_in: tuple[float, float] = (6.4, 3.6)

    @property
    def stem(self) -> str:
        """Of its files."""
        return f"fig_{self.id}_{self.slug}"


#: Of a table: text, a number, a number with its interval; None: not measured.
Entry = str | int | float | Measured | None


class Table(Struct, frozen=True, kw_only=True):
    """A table of the evaluation guide.

    Attributes:
        id: The guide's, such as ``4``.
        slug: For its file: ``table_4_<slug>``.
        title: Above it.
        said: What was measured, without a period.
        columns: Heads, with units.
        rows: Entries, as many a row as there are columns; may raise `Absent`.
    """

    id: str
    slug: str
    title: str
    said: str
    columns: tuple[str, ...]
    rows: Callable[[Run], Iterable[Sequence[Entry]]]

    @property
    def stem(self) -> str:
        """Of its files."""
        return f"table_{self.id}_{self.slug}"


class Experiment(Struct, frozen=True, kw_only=True):
    """An experiment of the evaluation guide.

    Attributes:
        id: As of ``[scenario] experiment``.
        title: Of its section.
        arms: It takes all of these: a scenario without one is an error that names it.
        figures, tables: In order.
    """

    id: str
    title: str
    arms: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
