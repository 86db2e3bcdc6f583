"""``curves.json`` → heat maps of latency over time, an arm above the other."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import structs

from djinnload.reading.files import read_document
from djinnload.report import drawing
from djinnload.report.distributions import DEFAULT, Groups
from djinnload.report.drawn import Drawn, Keys, csv_of
from djinnload.report.logarithmic import logarithmic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ("drawn",)

Document = dict[str, Any]
_WIDTH_IN, _HEIGHT_IN, _REST_IN = 5.4, 1.9, 0.7
#: Arms that one figure has room for.
_MOST = 6
#: How high the strip of turns that are not ok is: a factor on the logarithmic axis.
_STRIP = 1.25


def drawn(run_dir: Path, groups: Groups, keys: Keys, *, void: bool) -> Iterator[Drawn]:
    """Yield the heat map of each population at each point.

    Args:
        run_dir: With curves.json; one without ``heat`` has none.
        groups: Rows by point and population, an arm each.
        keys: Classes of arms and populations.
        void: Whether to draw watermarks.
    """
    known: dict[tuple[str, str], dict[str, Document]] = {}
    for each in read_document(run_dir / "curves.json").get("heat") or ():
        place = (each["point"], each["population"])
        known.setdefault(place, {})[str(each["arm"])] = each
    several = len({point for point, _ in groups}) > 1
    for (point, name), rows in groups.items():
        arms = known.get((point, name)) or {}
        shown = {r["arm"]: arms[r["arm"]] for r in rows if r["arm"] in arms}
        if shown:
            title = f"{name} at {point}" if several else name
            made = _drawn(title, dict(list(shown.items())[:_MOST]), keys, void=void)
            yield structs.replace(made, key=keys.of(population=name))


def _drawn(
    title: str, arms: Mapping[str, Document], keys: Keys, *, void: bool
) -> Drawn:
    most = max(max(map(max, each["counts"])) for each in arms.values())
    low = min(each["ms"][0] for each in arms.values())
    high = max(each["ms"][-1] for each in arms.values())
    end = max(each["at_s"][-1] for each in arms.values())

    def fill(figure: "Figure") -> None:
        rows: Any = figure.subplots(len(arms), sharex=True, sharey=True, squeeze=False)[
            :, 0
        ]
        for axes, (arm, found) in zip(rows, arms.items(), strict=True):
            axes.set_ylim(low, high * _STRIP)
            logarithmic(axes, "y")
            axes.set_xlim(0, end)
            axes.set_ylabel(f"{drawing.plain(arm)} (ms)" if arm != DEFAULT else "ms")
            axes.spines[["top", "right"]].set_visible(False)
            _cells(axes, found, most, keys.of(arm=arm))
        rows[-1].set_xlabel("seconds since measure began")
        rows[0].set_title(
            drawing.plain(f"Latency over time: {title}"),
            loc="left",
            fontsize=12,
            weight="bold",
        )

    size = (_WIDTH_IN, _REST_IN + _HEIGHT_IN * len(arms))
    lost = sum(sum(each["lost"]) for each in arms.values())
    bad = " Red above: turns that were not ok, of any latency." * bool(lost)
    return Drawn(
        f"heat-{title}",
        drawing.render(fill, size, void=void),
        f"latency of {title} over time, as a heat map",
        f"Latency of {title} (logarithmic) by when a turn was due, all repeats of an "
        f"arm on top of each other. The stronger the colour, the more turns: up to "
        f"{most:,} in a cell; steps are even in the square root.{bad}",
        csv_of(_rows(arms)),
        source="cells/*/samples/*.arrows",
        read="heat",
        x="from_s",
        y="turns",
        panel="arm",
    )


def _cells(axes: "Axes", found: Document, most: int, key: str) -> None:
    """Draw counts, cells of the same level as one path; zero is no cell."""
    from matplotlib.patches import PathPatch

    counts, x, y = np.array(found["counts"]), found["at_s"], found["ms"]
    levels = np.ceil(len(drawing.HEAT) * np.sqrt(counts / max(most, 1))).astype(int)
    for level, colour in enumerate(drawing.HEAT, 1):
        boxes = [
            (x[begin], y[row], x[end], y[row + 1])
            for row in range(len(counts))
            for begin, end in _runs(levels[row] == level)
        ]
        if boxes:
            path = PathPatch(_path(boxes), facecolor=colour, linewidth=0)
            drawing.keyed(path, key)
            axes.add_patch(path)
    top = y[-1]
    strips = [
        (x[a], top, x[b], top * _STRIP) for a, b in _runs(np.array(found["lost"]) > 0)
    ]
    if strips:
        path = PathPatch(_path(strips), facecolor=drawing.WARNING, linewidth=0)
        drawing.keyed(path, key)
        axes.add_patch(path)


def _runs(chosen: Any) -> list[tuple[int, int]]:
    """Return (begin, end) of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], chosen.astype(int), [0]))))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _path(boxes: Sequence[tuple[float, float, float, float]]) -> Any:
    from matplotlib.path import Path as Outline

    corners = [
        corner
        for x0, y0, x1, y1 in boxes
        for corner in ((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0))
    ]
    turns = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY]
    return Outline(corners, turns * len(boxes))


def _rows(arms: Mapping[str, Document]) -> Iterator[Document]:
    for arm, found in arms.items():
        x, y = found["at_s"], found["ms"]
        for row, counts in enumerate(found["counts"]):
            for column, count in enumerate(counts):
                if count:
                    yield _row(arm, x[column], (y[row], y[row + 1]), count)
        for column, count in enumerate(found["lost"]):
            if count:
                yield _row(arm, x[column], (None, None), count)


def _row(
    arm: str, x: float, ms: tuple[float | None, float | None], count: int
) -> Document:
    """Return a cell: of turns that are not ok it has no latency."""
    ends = {"from_ms": ms[0], "to_ms": ms[1]}
    return {"arm": arm, "from_s": x} | ends | {"turns": count}
