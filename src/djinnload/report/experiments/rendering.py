"""An experiment and a run → its files, and what the report shows of it.

Of a figure: SVG, PDF, PNG, its values as CSV, its caption as text; of a table: CSV and
LaTeX. The same directory gives the same bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from djinnload.errors import ScenarioError
from djinnload.reading.files import read_document
from djinnload.report import drawing
from djinnload.report.experiments import EXPERIMENTS, captions, marks, tables
from djinnload.report.experiments.base import (
    Absent,
    Datum,
    Experiment,
    Figure,
    Panel,
    Run,
    Table,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

__all__ = ("Rendered", "Shown", "render")

FORMATS = ("svg", "pdf", "png")
#: Of a legend: letters an inch, and the letters that its handle takes.
_LETTERS, _HANDLE = 13.5, 9
#: What a run's earlier rendering may have left.
_OURS = ("figures/fig_*", "tables/table_*")


class Shown(Struct, frozen=True, kw_only=True):
    """A figure or table as the report shows it.

    Attributes:
        name: Such as ``Figure 6a``.
        files: Written, from the run's directory.
        svg: Of a figure; empty: there is none.
        data: Of a figure: label of each pair of axes, and what it shows.
        table: Heads and rows of a table, as text; None: it is a figure, or absent.
        absent: Why it was not made; empty: it was.
        read: See `djinnload.report.drawn.Drawn`.
    """

    name: str
    title: str
    caption: str
    files: tuple[str, ...]
    svg: str = ""
    data: tuple[tuple[str, tuple[Datum, ...]], ...] = ()
    table: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None
    absent: str = ""
    read: str = "exact"


class Rendered(Struct, frozen=True):
    """What was made of a run.

    Attributes:
        shown: Figures and tables in order.
        absent: Why none was; empty: they were.
        problem: The scenario lacks an arm that the experiment takes.
    """

    experiment: Experiment
    shown: tuple[Shown, ...] = ()
    absent: str = ""
    problem: ScenarioError | None = None


def render(run_dir: Path, summary: Mapping[str, Any]) -> Rendered | None:
    """Write figures and tables of a run; None: its scenario is of no experiment.

    Args:
        run_dir: With manifest.json and cells.
        summary: Its root summary.json.

    Raises:
        OSError: No room.
    """
    plan = read_document(Path(run_dir) / "manifest.json").get("plan") or {}
    wanted = EXPERIMENTS.get(str((plan.get("scenario") or {}).get("experiment")))
    if wanted is None:
        return None
    run = Run(run_dir, summary)
    for stale in (path for pattern in _OURS for path in run.directory.glob(pattern)):
        stale.unlink()
    planned = [arm["name"] for arm in plan.get("arm") or ()]
    if lacking := [arm for arm in wanted.arms if arm not in planned]:
        why = (
            f"experiment {wanted.id} takes arm {lacking[0]!r}, which the scenario has "
            f"not (it has: {', '.join(planned) or 'none'})"
        )
        problem = ScenarioError("$.scenario.experiment", f"{why}; nothing was drawn")
        return Rendered(wanted, absent=why, problem=problem)
    if lost := [arm for arm in wanted.arms if arm not in run.arms]:
        why = f"no result of {', '.join(lost)}: nothing is drawn without every arm"
        return Rendered(wanted, absent=why)
    shown = [_figure(run, each) for each in wanted.figures]
    shown += [_table(run, each) for each in wanted.tables]
    return Rendered(wanted, tuple(shown))


def _figure(run: Run, figure: Figure) -> Shown:
    """Write all files of a figure; of one that cannot be made, why."""
    panels, absent = _panels(run, figure)
    data = tuple(each for _, found in panels for each in found)
    caption = captions.figure(run, figure, data, absent)
    made: dict[str, bytes] = {"txt": f"{caption}\n".encode("utf-8", "replace")}
    if data:
        void = captions.is_void(run)
        fill, size = _fill(figure, panels), _size(figure, panels)
        made |= drawing.saved(fill, size, FORMATS, void=void)
        made["csv"] = tables.of_data(figure, panels)
    return Shown(
        name=f"Figure {figure.id}",
        title=figure.title,
        caption=caption,
        files=_write(run, "figures", figure.stem, made),
        svg=made.get("svg", b"").decode(),
        data=tuple((panel.ylabel, found) for panel, found in panels),
        absent="" if data else "; ".join(absent),
        read="steps" if all(p.draw is marks.cdf for p, _ in panels) else "exact",
    )


Drawn = tuple[Panel, tuple[Datum, ...]]


def _panels(run: Run, figure: Figure) -> tuple[list[Drawn], list[str]]:
    """Return panels with what they show, and why others have nothing."""
    drawn: list[Drawn] = []
    absent: list[str] = []
    for panel in figure.panels:
        try:
            data = tuple(panel.data(run))
        except Absent as reason:
            absent.append(str(reason))
            continue
        if any(each.value is not None for each in data):
            drawn.append((panel, data))
        else:
            absent.append(f"nobody measured {panel.ylabel}")
    # Panels for the same arms lack the same.
    return drawn, list(dict.fromkeys(absent))


def _size(figure: Figure, panels: Sequence[Drawn]) -> tuple[float, float]:
    """Return the size with room for a legend under the axes."""
    width, height = figure.size_in
    series = {each.series for _, data in panels for each in data}
    columns = _columns(width, series)
    return width, height + 0.2 * -(-(len(series) + 1) // columns)


def _columns(width_in: float, labels: Iterable[str]) -> int:
    """Return how many entries of a legend fit beside each other."""
    longest = max(map(len, labels), default=0) + _HANDLE
    return max(1, int(width_in * _LETTERS / longest))


def _fill(figure: Figure, panels: Sequence[Drawn]) -> Any:
    def fill(canvas: "Canvas") -> None:
        row: list[Axes] = list(canvas.subplots(1, len(panels), squeeze=False)[0])
        for axes, (panel, data) in zip(row, panels, strict=True):
            axes.set_xlabel(panel.xlabel)
            axes.set_ylabel(panel.ylabel)
            axes.set_title(panel.title, loc="left", fontsize=11)
            panel.draw(axes, data)
        canvas.suptitle(
            f"Figure {figure.id}. {figure.title}",
            x=0.01,
            ha="left",
            fontsize=12,
            fontweight="bold",
        )
        _legend(canvas, row)

    return fill


def _legend(canvas: "Canvas", row: Iterable["Axes"]) -> None:
    """Put one legend under all axes; one that says no more than they do is left out."""
    found: dict[str, Any] = {}
    for axes in row:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if len(found) > 1:
        columns = _columns(canvas.get_figwidth(), found)
        canvas.legend(
            list(found.values()),
            list(found),
            loc="outside lower left",
            ncols=min(columns, len(found)),
            frameon=False,
            fontsize=9,
            handlelength=2.6,
        )


def _table(run: Run, table: Table) -> Shown:
    try:
        rows = [tuple(row) for row in table.rows(run)]
        absent = "" if rows else "it has no row"
    except Absent as reason:
        rows, absent = [], str(reason)
    caption = captions.table(run, table, absent)
    made: dict[str, bytes] = {}
    if not absent:
        made["csv"] = tables.csv_of(table.columns, rows)
        made["tex"] = tables.latex(table, rows, caption)
    return Shown(
        name=f"Table {table.id}",
        title=table.title,
        caption=caption,
        files=_write(run, "tables", table.stem, made),
        table=(table.columns, tables.texts(rows)) if rows else None,
        absent=absent,
    )


def _write(
    run: Run, folder: str, stem: str, made: Mapping[str, bytes]
) -> tuple[str, ...]:
    """Write each file whole or not at all; return their paths from the run's."""
    (run.directory / folder).mkdir(exist_ok=True)
    for kind, data in made.items():
        path = run.directory / folder / f"{stem}.{kind}"
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_bytes(data)
        temporary.replace(path)
    return tuple(f"{folder}/{stem}.{kind}" for kind in sorted(made))
