"""How cells went over time → throughput and the tail of latency, window by window."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import Struct

from djinnload.reading.files import read_json
from djinnload.report import drawing
from djinnload.report.sweep_figures import Drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ("drawn",)

Document = dict[str, Any]
_SIZE_IN = (6.4, 4.2)
#: Behind windows in which the server did not answer.
_LOST = "0.5"


class _Course(Struct, frozen=True):
    """The windows of one population in one cell."""

    arm: str
    windows: Sequence[Mapping[str, Any]]


def drawn(
    run_dir: Path, cells: Iterable[Mapping[str, Any]], *, void: bool
) -> Iterator[Drawn]:
    """Yield the course of each population at each point, arms and repeats together.

    Args:
        run_dir: Of the run.
        cells: As its summary.json lists them; those without a summary are left out.
        void: Whether to draw a watermark.
    """
    groups: dict[tuple[str, str], list[_Course]] = {}
    for cell in cells:
        for name, found in _populations(run_dir / str(cell.get("path"))):
            if len(found.get("windows") or ()) > 1:
                course = _Course(str(cell.get("arm")), found["windows"])
                groups.setdefault((str(cell.get("point")), name), []).append(course)
    several = len({point for point, _ in groups}) > 1
    for (point, name), courses in groups.items():
        yield _drawn(f"{name} at {point}" if several else name, courses, void=void)


def _populations(cell_dir: Path) -> Iterable[tuple[str, Document]]:
    try:
        found = read_json(cell_dir / "summary.json").get("populations") or {}
        return tuple(found.items())
    except (OSError, msgspec.DecodeError, AttributeError):
        return ()


def _drawn(name: str, courses: Sequence[_Course], *, void: bool) -> Drawn:
    quantile = _quantile(courses)
    title = f"Over time: {name}"

    def fill(figure: "Figure") -> None:
        axes = figure.subplots(2 if quantile else 1, sharex=True, squeeze=False)[:, 0]
        _draw(axes[0], courses, "achieved_per_s", "ok turns /s")
        if quantile:
            _draw(axes[1], courses, f"{quantile}_ms", f"{quantile} (ms)")
        axes[-1].set_xlabel("seconds since measure began")
        axes[0].set_title(drawing.plain(title), loc="left", fontsize=12, weight="bold")
        handles, labels = axes[0].get_legend_handles_labels()
        if len(labels) > 1:
            figure.legend(
                handles, labels, loc="outside lower left", ncols=2, frameon=False
            )

    windows = [each for course in courses for each in course.windows]
    widest = max(each["seconds"] for each in windows)
    repeats = max(
        sum(each.arm == arm for each in courses) for arm in {c.arm for c in courses}
    )
    return Drawn(
        name,
        drawing.render(fill, _SIZE_IN, void=void),
        title,
        f"Course of {name} in windows of {widest:g} s, {repeats} repeats an arm and a "
        f"line each: turns that came back ok a second{_tail(quantile)}"
        f"{'; grey: the server did not answer' * bool(_lost(courses))}.",
    )


def _tail(quantile: str) -> str:
    if not quantile:
        return "; too few for a percentile of their latency"
    return (
        f", and the {quantile} of latency from the due time, of turns that were due in "
        "a window; a gap: too few turns for it, or so many not ok that it never "
        "ended"
    )


def _quantile(courses: Iterable[_Course]) -> str:
    """Return the furthest that half of the windows have; empty: none."""
    windows = [each for course in courses for each in course.windows]
    for name in ("p99", "p50"):
        known = sum(each.get(f"{name}_ms") is not None for each in windows)
        if 2 * known >= len(windows):
            return name
    return ""


def _draw(axes: "Axes", courses: Sequence[_Course], key: str, ylabel: str) -> None:
    axes.grid(visible=True, which="major", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel(ylabel)
    arms = list(dict.fromkeys(course.arm for course in courses))
    named: set[str] = set()
    for course in courses:
        number = arms.index(course.arm)
        at = [each["at_s"] + each["seconds"] / 2 for each in course.windows]
        label = "" if course.arm in named else drawing.plain(course.arm)
        axes.plot(
            at,
            [_number(each.get(key)) for each in course.windows],
            color=drawing.PALETTE[number % len(drawing.PALETTE)],
            linestyle=drawing.DASHES[number % len(drawing.DASHES)],
            linewidth=1,
            # A window between two gaps would be no line.
            marker=".",
            markersize=3,
            label=label.replace("_", "\u200b_", 1),
        )
        named.add(course.arm)
    for begin, end in _lost(courses):
        axes.axvspan(begin, end, color=_LOST, alpha=0.25, linewidth=0, zorder=0)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.05)


def _lost(courses: Iterable[_Course]) -> list[tuple[float, float]]:
    """Return begin and end of the windows in which a server did not answer."""
    found = {
        (float(each["at_s"]), float(each["at_s"] + each["seconds"]))
        for course in courses
        for each in course.windows
        if each.get("lost")
    }
    return sorted(found)


def _number(value: object) -> float:
    known = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if known else np.nan  # type: ignore[arg-type]
