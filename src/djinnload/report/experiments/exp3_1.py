"""Experiment 3.1, what each part of full is worth: figures 8a and 8b, the matrix."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from djinnload import claims
from djinnload.report.experiments import marks
from djinnload.report.experiments.base import (
    Absent,
    Datum,
    Entry,
    Experiment,
    Figure,
    Panel,
    Run,
    Table,
    shown,
)
from djinnload.report.experiments.models import short
from djinnload.scenarios import behaviours
from djinnload.summary.claimed import look_up
from djinnload.summary.measured import of_repeats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ("EXPERIMENT",)

FULL, NO_ARENA = "full", "without_vmu"
#: Points of a series over time.
_BINS = 60
#: The arm without the arena is not asked for: not every server has one.
ARMS = (
    FULL,
    "without_skeletonization",
    "without_stateful_caching",
    "without_phase_detection",
    "without_plan_cache",
)
_RATIOS = {
    "throughput": "throughput",
    "latency": "mean(latency)",
    "a token": "mean(tpot)",
    "first token": "mean(ttft)",
    "bytes": "mean(bytes)",
}


def _ratios(run: Run, metric: str) -> list[Datum]:
    """Return a metric of each arm ÷ that of full, where the arm was measured."""
    return [
        run.datum(
            f"ratio({metric})",
            **place._asdict(),
            # A word a line: which part is left out, and of what work.
            x=f"{place.arm.removeprefix('without_')}_{short(place.point)}",
            series=short(place.point),
        )
        for place in run.places([arm for arm in run.arms if arm != FULL])
        if run.evidence(place.arm, place.point)
    ]


def _memory(run: Run) -> list[Datum]:
    """Return what the server held in a cell, MB over seconds, by arm.

    Raises:
        Absent: No server told, or there is no arm without the arena.
    """
    made: list[Datum] = []
    for arm, point in run.groups if NO_ARENA in run.arms else ():
        cells = run.evidence(arm, point)
        looks = [each.course("data_reserved_bytes", source="vmu") for each in cells]
        known = [(seconds, held) for seconds, held in looks if len(seconds)]
        last = min((float(seconds.max()) for seconds, _ in known), default=0.0)
        for at in np.linspace(0, last, _BINS) if arm in {FULL, NO_ARENA} else ():
            found = of_repeats([float(np.interp(at, *each)) for each in known])
            series = f"{arm}, {short(point)}"
            base = Datum(series=series, x=float(at), **shown(found, 1e-6))
            place = {"arm": arm, "point": point, "cells": run.paths(arm, point)}
            made += [structs.replace(base, **place)] * bool(known)
    if not made:
        why = (
            "all arms use one allocator, as models of the reference server do, or no "
            "server told of its memory (probes.vmu); experiment 3.2 holds an arena "
            "against allocators"
        )
        raise Absent(why)
    return made


def _beside_full(axes: "Axes", data: Sequence[Datum]) -> None:
    marks.bars(axes, data)
    marks.level(axes, 1.0)


def _panel(title: str, metric: str) -> Panel:
    return Panel(
        "left out, and the work",
        f"{title}, ÷ that of full",
        lambda run: _ratios(run, metric),
        _beside_full,
        title.capitalize(),
    )


_8A = Figure(
    id="8a",
    slug="contributions",
    title="What is left without each part of full",
    said="Throughput (units of ok requests a second), mean latency of a piece of work, "
    "and mean time a token after the first, as ratios to full at the same point, "
    "paired by repeat; the dashed line is full",
    panels=tuple(
        _panel(title, _RATIOS[title]) for title in ("throughput", "latency", "a token")
    ),
    note="Where a part can make no difference, its arm is not measured and has no bar",
    size_in=(13.0, 4.2),
)
_8B = Figure(
    id="8b",
    slug="memory",
    title="Memory of the server over time, arena against allocator",
    said="Bytes that the server holds for sessions and weights, as it tells at "
    "/metrics/vmu, over the time of a cell, mean over repeats",
    panels=(Panel("seconds since measure began", "MB", _memory, marks.lines),),
)


def _rows(run: Run) -> Iterator[tuple[Entry, ...]]:
    names, words = _matrix(run)
    for arm, said in words:
        measured = [p for p in run.places([arm]) if run.evidence(arm, p.point)]
        for place in measured:
            ratios = (
                look_up(
                    claims.parse(f"ratio({metric})"), place, run.groups, run.summary
                )
                for metric in _RATIOS.values()
            )
            values = [None] * len(_RATIOS) if arm == FULL else list(ratios)
            told = dict(zip(names, said, strict=True))
            yield (
                arm,
                *(told.get(name, "–") for name in behaviours.NAMES),
                short(place.point),
                *values,
            )


def _matrix(run: Run) -> tuple[Sequence[str], list[tuple[str, tuple[str, ...]]]]:
    first: dict[str, Mapping[str, str]] = {}
    for (arm, _), cells in run.groups.items():
        first.setdefault(arm, cells[0].manifest.get("behaviours") or {})
    return behaviours.matrix(first, FULL)


_MATRIX = Table(
    id="matrix",
    slug="ablation",
    title="What each arm does, and what that comes to",
    said="Behaviours of each arm (a star: other than in full), and its throughput, "
    "latency, time a token and to the first, and bytes a unit ÷ those of full, "
    "paired by repeat; a dash: not applicable",
    columns=("arm", *behaviours.NAMES, "work", *_RATIOS),
    rows=_rows,
)

EXPERIMENT = Experiment(
    id="3.1",
    title="What each part of full is worth",
    arms=ARMS,
    figures=(_8A, _8B),
    tables=(_MATRIX,),
)
