"""What a sweep over load shows: efficiency, knee, saturation, what held it up; pure."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from djinnload import units
from djinnload.health import load as health_load
from djinnload.scenarios import rates
from djinnload.stats import intervals
from djinnload.stats.knee import knee
from djinnload.stats.populations import PopulationSamples
from djinnload.summary import bottleneck
from djinnload.summary import numbers as summarize
from djinnload.summary.run import Cell, groups

__all__ = (
    "TURNED_AWAY",
    "Axis",
    "axis",
    "efficiency",
    "knees",
    "load_of",
    "of_run",
)

Document = dict[str, Any]
Groups = Mapping[tuple[str, str], list[Cell]]

#: Repeats from which on an efficiency has an interval; the rates of an arm take five.
ENOUGH_REPEATS = 3
#: More turns not ok than this, and the server turned work away.
TURNED_AWAY = 0.05
_ENDS = {".users": "users", ".arrival.rate": "rate"}
_FACTOR = "scenario.load"


class Axis(Struct, frozen=True):
    """A sweep over load.

    Attributes:
        sweep: Its name.
        population: That it loads; empty: all.
        kind: ``users``, ``rate`` or ``load``.
        loads: Of each point.
        others: Of each point, where it stands in the other sweeps: ``policy=qos``.
    """

    sweep: str
    population: str
    kind: str
    loads: Mapping[str, float]
    others: Mapping[str, str]


def of_run(manifest: Mapping[str, Any], cells: Iterable[Cell]) -> Document:
    """Return ``efficiency`` and ``knee`` of a summary; nothing without such a sweep.

    Args:
        manifest: The root manifest.json.
        cells: All that were planned.
    """
    over = axis(manifest.get("sweeps"))
    found = groups(cell for cell in cells if cell.evidence)
    if over is None or not found:
        return {}
    return {
        "efficiency": list(efficiency(found, over)),
        "knee": list(knees(found, over)),
    }


def axis(sweeps: Mapping[str, Any] | None) -> Axis | None:
    """Return the first sweep over users, a rate or ``scenario.load``; None: none is.

    Args:
        sweeps: Of the root manifest.
    """
    for name, path in ((sweeps or {}).get("paths") or {}).items():
        kind = _kind(path or "")
        points = (sweeps or {}).get("points") or {}
        loads = {p: load_of(at[name]["value"]) for p, at in points.items()}
        known = {p: load for p, load in loads.items() if load is not None}
        if kind and len(known) == len(loads):
            others = {
                point: ",".join(
                    f"{sweep}={step['label']}"
                    for sweep, step in at.items()
                    if sweep != name
                )
                for point, at in points.items()
            }
            population = "" if path == _FACTOR else path.split(".")[1]
            return Axis(name, population, kind, known, others)
    return None


def load_of(value: object) -> float | None:
    """Return users, sessions/s, a part of capacity or a factor; None if it is none."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        part = rates.of_capacity(value)
        found = part if part is not None else _number(value)
    except ValueError:
        return None
    return found if 0 < found < math.inf else None


def efficiency(found: Groups, over: Axis) -> Iterator[Document]:
    """Yield throughput(N) ÷ (N ÷ N₁ × throughput(N₁)), N₁ being the least load.

    Throughput is units/s (tokens, images), as of `summary.numbers.throughput`.
    Of each arm and population, at each point. Paired by repeat: the geometric mean, and
    its t interval from `ENOUGH_REPEATS` on.

    Args:
        found: Cells by (arm, point), from `djinnload.summary.run.groups`.
        over: From `axis`.
    """
    for arm, series in _series(found, over):
        (_, first), *_ = series
        for name in _populations(first, over):
            base = _done(first, name)
            least = over.loads[first[0].point]
            for load, cells in series:
                ratios = [
                    each / base[repeat] * least / load
                    for repeat, each in _done(cells, name).items()
                    if base.get(repeat)
                ]
                value, ci95 = _geometric(ratios)
                seen = list(_done(cells, name).values())
                yield {
                    "arm": arm,
                    "population": name,
                    "point": cells[0].point,
                    "sweep": over.sweep,
                    "others": over.others[cells[0].point],
                    "load": load,
                    "base_load": least,
                    "throughput_per_s": float(np.mean(seen)),
                    "repeats_per_s": seen,
                    "value": value,
                    "ci95": None if load == least else ci95,
                    "n": len(ratios),
                }


def knees(found: Groups, over: Axis) -> Iterator[Document]:
    """Yield where throughput stops to follow load, and why, of each arm.

    Args:
        found: Cells by (arm, point), from `djinnload.summary.run.groups`.
        over: From `axis`.
    """
    for arm, series in _series(found, over):
        curve = [(load, _throughput(cells, over)) for load, cells in series]
        bend = knee(curve)
        full = [load for load, cells in series if _full(cells)]
        top, last = series[-1]
        held = _held_up(last, over)
        yield {
            "arm": arm,
            "sweep": over.sweep,
            "others": over.others[last[0].point],
            "load": bend[0] if bend else None,
            "throughput_per_s": bend[1] if bend else None,
            "saturation_load": min(full, default=None),
            "most_per_s": max(throughput for _, throughput in curve),
            "top_load": top,
            "held_up_by": bottleneck.said(held),
            "bottleneck": held,
        }


def _kind(path: str) -> str:
    if path == _FACTOR:
        return "load"
    if not path.startswith("population."):
        return ""
    return next((kind for end, kind in _ENDS.items() if path.endswith(end)), "")


def _number(value: object) -> float:
    if isinstance(value, int | float):
        return float(value)
    return float(units.parse(units.Hz, value))


def _series(found: Groups, over: Axis) -> Iterator[tuple[str, list[Any]]]:
    """Yield (arm, [(load, cells), …]) of each arm and place in the other sweeps."""
    made: dict[tuple[str, str], list[tuple[float, list[Cell]]]] = {}
    for (arm, point), cells in found.items():
        if point in over.loads:
            series = made.setdefault((arm, over.others[point]), [])
            series.append((over.loads[point], cells))
    for (arm, _), series in made.items():
        yield arm, sorted(series, key=lambda each: each[0])


def _populations(cells: Sequence[Cell], over: Axis) -> list[str]:
    evidence = cells[0].evidence
    names = list(evidence.populations) if evidence else []
    return [name for name in names if over.population in {"", name}]


def _samples(cell: Cell, over: Axis) -> list[PopulationSamples]:
    populations = cell.evidence.populations if cell.evidence else {}
    return [populations[name] for name in _populations([cell], over)]


def _done(cells: Iterable[Cell], name: str) -> dict[int, float]:
    """Return units/s of a population by repeat."""
    return {
        cell.repeat: summarize.throughput(cell.evidence.populations[name])
        for cell in cells
        if cell.evidence and name in cell.evidence.populations
    }


def _throughput(cells: Sequence[Cell], over: Axis) -> float:
    return float(
        np.mean([sum(map(summarize.throughput, _samples(c, over))) for c in cells])
    )


def _geometric(ratios: Sequence[float]) -> tuple[float | None, list[float] | None]:
    if not ratios or not all(ratios):
        return (0.0 if ratios else None), None
    logs = [math.log(ratio) for ratio in ratios]
    ends = intervals.repeat_interval(logs, least=ENOUGH_REPEATS)
    value = math.exp(float(np.mean(logs)))
    return value, None if ends is None else [math.exp(end) for end in ends]


def _full(cells: Sequence[Cell]) -> bool:
    """Return whether in most repeats the queue grew, or the server turned work away."""
    return sum(map(_full_one, cells)) * 2 > len(cells)


def _full_one(cell: Cell) -> bool:
    if cell.evidence is None:
        return False
    ok = np.concatenate([p.turns.ok for p in cell.evidence.populations.values()])
    away = len(ok) > 0 and 1 - float(ok.mean()) > TURNED_AWAY
    return away or any(True for _ in health_load.saturated(cell.evidence))


def _held_up(cells: Sequence[Cell], over: Axis) -> Document | None:
    return bottleneck.found(
        [cell.evidence for cell in cells if cell.evidence],
        [each for cell in cells for each in _samples(cell, over)],
        [each for cell in cells for each in cell.findings],
    )
