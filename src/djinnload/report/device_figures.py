"""What GPUs said over time → a figure of each, arms together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from djinnload.reading import columns
from djinnload.reading.files import read_document, read_probes
from djinnload.report import drawing
from djinnload.report.drawn import Drawn, Keys, csv_of
from djinnload.units import SECOND

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ("drawn",)

Document = dict[str, Any]
_SIZE_IN = (5.4, 3.0)
_SOURCES = ("gpu", "nvml")
#: Readings that are drawn: label and factor.
_PANELS = {"util": ("busy (%)", 100.0), "memory_bytes": ("memory (GiB)", 2.0**-30)}
#: Of a cell; each is a mean.
_COLUMNS = 60


def drawn(
    run_dir: Path, cells: Iterable[Mapping[str, Any]], keys: Keys, *, void: bool
) -> Iterator[Drawn]:
    """Yield the course of each GPU at each point.

    Args:
        run_dir: Of the run.
        cells: As its summary.json lists them, those in which a GPU was looked at.
        keys: Classes of arms.
        void: Whether to draw watermarks.
    """
    found: dict[tuple[str, str], list[Document]] = {}
    for cell in cells:
        point, arm = str(cell.get("point")), str(cell.get("arm"))
        for device, row in _means(run_dir / str(cell.get("path"))):
            row |= {"arm": arm, "repeat": cell.get("repeat")}
            found.setdefault((point, device), []).append(row)
    several = len({point for point, _ in found}) > 1
    for (point, device), rows in found.items():
        title = f"{device} at {point}" if several else device
        yield _drawn(title, rows, keys, void=void)


def _means(cell_dir: Path) -> Iterator[tuple[str, Document]]:
    """Yield means of each reading of each device, column by column of measure."""
    window = read_document(cell_dir / "manifest.json").get("window") or {}
    begin, end = window.get("begin_ns"), window.get("end_ns")
    if begin is None or end is None or end <= begin:
        return
    probes = read_probes(cell_dir)
    t = probes["t_ns"].to_numpy()
    device, devices = columns.codes(probes["device"])
    name, names = columns.codes(probes["name"])
    source, sources = columns.codes(probes["source"])
    values = probes["value"].to_numpy()
    mine = np.isin(source, [i for i, each in enumerate(sources) if each in _SOURCES])
    mine &= (begin <= t) & (t < end)
    width = (end - begin) / _COLUMNS
    column = ((t - begin) / width).astype(np.int64)
    for i, j in sorted(
        set(zip(device[mine].tolist(), name[mine].tolist(), strict=True))
    ):
        if names[j] not in _PANELS:
            continue
        label, factor = _PANELS[names[j]]
        chosen = mine & (device == i) & (name == j)
        sums = np.bincount(column[chosen], values[chosen] * factor, _COLUMNS)
        counts = np.bincount(column[chosen], minlength=_COLUMNS)
        for k in np.flatnonzero(counts):
            seconds = float((k + 0.5) * width / SECOND)
            row = {"panel": label, "seconds": seconds}
            yield str(devices[i]), row | {"value": float(sums[k] / counts[k])}


def _drawn(title: str, rows: Sequence[Document], keys: Keys, *, void: bool) -> Drawn:
    panels = [
        each for each, _ in _PANELS.values() if any(each == r["panel"] for r in rows)
    ]
    ordered = sorted(rows, key=lambda row: panels.index(row["panel"]))

    def fill(figure: "Figure") -> None:
        draw = {
            panel: partial(
                _draw, rows=[row for row in rows if row["panel"] == panel], keys=keys
            )
            for panel in panels
        }
        xlabel = "seconds since measure began"
        drawing.stacked(figure, draw, title=title, xlabel=xlabel)

    size = (_SIZE_IN[0], _SIZE_IN[1] + 1.3 * (len(panels) - 1))
    return Drawn(
        f"gpu-{title}",
        drawing.render(fill, size, void=void),
        f"{title} over time",
        f"What {title} said of itself over time: means of sixtieths of measure, a line "
        "a repeat. NVML averages use over 1/6 s to 1 s itself.",
        csv_of(ordered),
        source="cells/*/probes*.arrows",
        x="seconds",
    )


def _draw(axes: Any, rows: Sequence[Document], keys: Keys) -> None:
    drawing.gridded(axes)
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    named: set[str] = set()
    for arm, repeat in dict.fromkeys((row["arm"], row["repeat"]) for row in rows):
        mine = [row for row in rows if (row["arm"], row["repeat"]) == (arm, repeat)]
        look = arms.index(arm)
        label = "" if arm in named else drawing.named(arm)
        (line,) = axes.plot(
            [row["seconds"] for row in mine],
            [row["value"] for row in mine],
            color=drawing.PALETTE[look % len(drawing.PALETTE)],
            linestyle=drawing.DASHES[look % len(drawing.DASHES)],
            linewidth=1.2,
            label=label,
        )
        drawing.keyed(line, keys.of(arm=arm))
        named.add(arm)
    axes.set_ylim(bottom=0)
