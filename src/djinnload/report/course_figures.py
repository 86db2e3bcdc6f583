"""How cells went over time → throughput and the tail of latency, window by window."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import Struct, structs

from djinnload.reading.files import read_json
from djinnload.report import drawing
from djinnload.report.drawn import Drawn, Keys, csv_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ("drawn",)

Document = dict[str, Any]
_SIZE_IN = (5.4, 4.4)
#: Behind windows in which the server did not answer.
_LOST = "0.5"
#: Windows of all repeats up to which each has a line of its own.
_FEW = 600
_OFFERED, _ACHIEVED = "offered_per_s", "achieved_per_s"
_WORDS = {_OFFERED: "offered", _ACHIEVED: "achieved"}


class _Course(Struct, frozen=True):
    """The windows of one population in one cell, or of several together."""

    arm: str
    windows: Sequence[Mapping[str, Any]]


def drawn(
    run_dir: Path,
    cells: Iterable[Mapping[str, Any]],
    keys: Keys = Keys(),  # noqa: B008 - frozen
    *,
    void: bool,
) -> Iterator[Drawn]:
    """Yield the course of each population at each point, arms and repeats together.

    Args:
        run_dir: Of the run.
        cells: As its summary.json lists them; those without a summary are left out.
        keys: Classes of arms.
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
        title = f"{name} at {point}" if several else name
        made = _drawn(title, courses, keys, void=void)
        yield structs.replace(made, key=keys.of(population=name))


def _populations(cell_dir: Path) -> Iterable[tuple[str, Document]]:
    try:
        found = read_json(cell_dir / "summary.json").get("populations") or {}
        return tuple(found.items())
    except (OSError, msgspec.DecodeError, AttributeError):
        return ()


def _drawn(name: str, every: Sequence[_Course], keys: Keys, *, void: bool) -> Drawn:
    quantile = _quantile(every)
    title = f"Over time: {name}"
    many = sum(len(each.windows) for each in every) > _FEW
    courses = list(_medians(every, quantile)) if many else every
    panels: dict[str, Sequence[str]] = {"turns /s": (_OFFERED, _ACHIEVED)}
    if quantile:
        panels[f"{quantile} (ms)"] = (f"{quantile}_ms",)

    def fill(figure: "Figure") -> None:
        draw = {
            ylabel: partial(_draw, courses=courses, measures=measures, keys=keys)
            for ylabel, measures in panels.items()
        }
        xlabel = "seconds since measure began"
        drawing.stacked(figure, draw, title=title, xlabel=xlabel)

    widest = max(each["seconds"] for course in every for each in course.windows)
    repeats = max(
        sum(each.arm == arm for each in every) for arm in {c.arm for c in every}
    )
    shown = f"the median of {repeats} repeats" if many else "a line each"
    return Drawn(
        name,
        drawing.render(fill, _SIZE_IN, void=void),
        title,
        f"Course of {name} in windows of {widest:g} s, {repeats} repeats an arm and "
        f"{shown}: turns that were due (offered, dotted) and that came back ok "
        f"(achieved) a second{_tail(quantile)}"
        f"{'; grey: the server did not answer' * bool(_lost(every))}.",
        csv_of(_rows(courses, panels)),
        source="cells/*/summary.json",
        x="seconds",
    )


def _rows(
    courses: Iterable[_Course], panels: Mapping[str, Sequence[str]]
) -> Iterator[Document]:
    courses = tuple(courses)
    for panel, measures in panels.items():
        seen: dict[str, int] = {}
        for course in courses:
            repeat = seen[course.arm] = seen.get(course.arm, 0) + 1
            for measure in measures:
                for x, value in zip(*_line(course, measure), strict=True):
                    row = {"panel": panel, "arm": course.arm, "repeat": repeat}
                    series = _WORDS.get(measure, "")
                    yield row | {"series": series, "seconds": x, "value": value}


def _medians(courses: Iterable[_Course], quantile: str) -> Iterator[_Course]:
    """Yield one course an arm: of each window the median of its repeats."""
    arms: dict[str, dict[float, list[Mapping[str, Any]]]] = {}
    for course in courses:
        for each in course.windows:
            arms.setdefault(course.arm, {}).setdefault(each["at_s"], []).append(each)
    for arm, at in arms.items():
        yield _Course(
            arm,
            [
                {
                    "at_s": at_s,
                    "seconds": max(each["seconds"] for each in windows),
                    "lost": any(each.get("lost") for each in windows),
                }
                | {
                    key: float(np.median([_number(each.get(key)) for each in windows]))
                    for key in (_OFFERED, _ACHIEVED, f"{quantile}_ms")
                }
                for at_s, windows in sorted(at.items())
            ],
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


def _draw(
    axes: "Axes", courses: Sequence[_Course], measures: Sequence[str], keys: Keys
) -> None:
    drawing.gridded(axes)
    arms = list(dict.fromkeys(course.arm for course in courses))
    named: set[str] = set()
    for course in courses:
        number = arms.index(course.arm)
        for measure in measures:
            offered = measure == _OFFERED
            label = ", ".join(
                part for part in (_arm(course.arm, arms), _WORDS.get(measure)) if part
            )
            style: dict[str, Any] = {"label": "" if label in named else label}
            (made,) = axes.plot(
                *_joined(course, measure),
                color=drawing.PALETTE[number % len(drawing.PALETTE)],
                linestyle=":" if offered else drawing.DASHES[number % 5],
                linewidth=0.9 if offered else 1.2,
                **style,
            )
            drawing.keyed(made, keys.of(arm=course.arm))
            named.add(label)
    for begin, end in _lost(courses):
        axes.axvspan(begin, end, color=_LOST, alpha=0.25, linewidth=0, zorder=0)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.05)


def _arm(name: str, arms: Sequence[str]) -> str:
    return drawing.named(name) if len(arms) > 1 else ""


def _line(course: _Course, measure: str) -> tuple[list[float], list[float]]:
    """Return middles of windows and their values, NaN where there is none."""
    x = [each["at_s"] + each["seconds"] / 2 for each in course.windows]
    return x, [_number(each.get(measure)) for each in course.windows]


def _joined(course: _Course, measure: str) -> tuple[list[float], list[float]]:
    """Return `_line`; a window between two gaps is as wide as it is, to be seen."""
    x, y = _line(course, measure)
    known = np.isfinite([math.nan, *y, math.nan])
    made: list[tuple[float, float]] = []
    for i, window in enumerate(course.windows):
        if known[i + 1] and not (known[i] or known[i + 2]):
            half = window["seconds"] / 2
            made += [(x[i] - half, y[i]), (x[i] + half, y[i])]
        else:
            made.append((x[i], y[i]))
    return [each[0] for each in made], [each[1] for each in made]


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
