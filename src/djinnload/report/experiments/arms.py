"""What experiments that compare the arms of the evaluation draw alike."""

from collections.abc import Callable, Sequence

import numpy as np
from msgspec import structs

from djinnload.report.experiments import marks
from djinnload.report.experiments.base import (
    Absent,
    Datum,
    Figure,
    Panel,
    Run,
    shown,
)
from djinnload.stats import populations as stats
from djinnload.stats.populations import Array, PopulationSamples, Turns
from djinnload.summary.claimed import Place
from djinnload.summary.measured import NO_INTERVAL, Measured, of_repeats, over_bins
from djinnload.units import MS, SECOND

__all__ = (
    "by_arm",
    "by_turn",
    "data_figure",
    "gpu_figure",
    "over_time",
    "shares",
    "split",
)

#: Bins of a series over time.
_BINS = 60
_PARTS = ("queue", "compute", "transfer", "idle")
_NO_GPU = (
    "no GPU was looked at (this host has none, or the scenario has no probes.nvml), "
    "and absent is not zero"
)


def by_arm(run: Run, arms: Sequence[str], text: str, scale: float = 1.0) -> list[Datum]:
    """Return a quantity of each population by arm; points and populations as series."""
    return [
        run.datum(
            text,
            **place._asdict(),
            x=place.arm,
            series=" ".join(_more(run, place)) or place.arm,
            scale=scale,
        )
        for place in run.places(arms)
    ]


def split(run: Run, arms: Sequence[str]) -> list[Datum]:
    """Return the mean time of ok turns by part, in ms; the parts make its latency.

    ``queue`` and ``compute`` are the server's word, ``transfer`` the rest of service,
    ``idle`` when none of the turn's requests was under way.
    """
    return [
        structs.replace(
            _datum(run, place, _found([_part(each.turns, part) for each in repeats])),
            series=part,
            x=_name(run, place),
        )
        for place in run.places(arms)
        if (repeats := run.samples(place.arm, place.population, place.point))
        for part in _PARTS
    ]


def shares(run: Run, arms: Sequence[str]) -> list[Datum]:
    """Return what `split` does, in percent of the turn's latency."""
    parts = split(run, arms)
    whole: dict[str | float, float] = {}
    for each in parts:
        whole[each.x] = whole.get(each.x, 0.0) + (each.value or 0.0)
    return [
        structs.replace(
            each,
            value=None if each.value is None else 100 * each.value / whole[each.x],
            ci95=None,
            interval=NO_INTERVAL,
        )
        for each in parts
        if whole[each.x]
    ]


def by_turn(run: Run, arms: Sequence[str], metric: str) -> list[Datum]:
    """Return the mean of *metric* (``latency``, ``ttft``), in ms, turn by turn.

    The first turn is 1. Only turns that are ok count.
    """
    made: list[Datum] = []
    for place in run.places(arms):
        repeats = run.samples(place.arm, place.population, place.point)
        listed = [r.turns.number for r in repeats]
        for number in np.unique(np.concatenate(listed)) if listed else ():
            found = _found([_of_turn(each, metric, int(number)) for each in repeats])
            made.append(structs.replace(_datum(run, place, found), x=int(number) + 1))
    return made


def over_time(run: Run, arms: Sequence[str]) -> list[Datum]:
    """Return bytes both ways that sessions had had by then, in MB, over seconds.

    From a session's first due, cumulative, the mean of the sessions of all repeats; at
    the first point of the sweeps. What sent nothing, as an arm without a network, is
    left out.

    Raises:
        Absent: No target counted bytes.
    """
    made: list[Datum] = []
    for place in (each for each in run.places(arms) if each.point in run.points[:1]):
        repeats = run.samples(place.arm, place.population, place.point)
        known = [two for each in repeats if len((two := _received(each))[0])]
        last = max((float(seconds.max()) for seconds, _ in known), default=0.0)
        sent = any(size.any() for _, size in known)
        for at in np.linspace(0, last, _BINS + 1) if sent else ():
            had = [float(size[seconds <= at].sum()) for seconds, size in known]
            base = _datum(run, place, of_repeats(had), 1e-6)
            made.append(structs.replace(base, x=float(at), start="first due"))
    if not made:
        raise Absent("no target told how many bytes it sent")
    return made


def gpu_figure(figure_id: str, title: str, arms: Sequence[str]) -> Figure:
    """Return the figure of the GPUs' use over the time of a cell, an arm a line."""
    panel = Panel(
        "seconds since measure began",
        "GPU use (%)",
        lambda run: _busy(run, arms),
        marks.lines,
    )
    return Figure(
        id=figure_id,
        slug="gpu",
        title=title,
        said="Share of time in which a GPU ran a kernel (NVML averages over 1/6 s to "
        "1 s), mean of devices and repeats",
        panels=(panel,),
    )


def data_figure(figure_id: str, title: str, arms: Sequence[str]) -> Figure:
    """Return the figure of cumulative bytes over the time of a session."""
    panel = Panel(
        "seconds since the session's first due",
        "MB, both ways",
        lambda run: over_time(run, arms),
        marks.lines,
    )
    return Figure(
        id=figure_id,
        slug="data",
        title=title,
        said="Bytes on the socket both ways that a session had had by then, "
        "registration apart, mean over repeats",
        note="An arm without a network sends nothing, and has no line",
        panels=(panel,),
    )


def _busy(run: Run, arms: Sequence[str]) -> list[Datum]:
    made: list[Datum] = []
    # The devices are of a cell, whichever populations it has.
    first = (each for each in run.places(arms) if each.point in run.points[:1])
    for arm, point in dict.fromkeys((each.arm, each.point) for each in first):
        cells = run.evidence(arm, point)
        looks = [each.course("util", source="nvml") for each in cells]
        if not looks or not all(len(seconds) for seconds, _ in looks):
            continue
        for middle, found in over_bins(looks, _BINS):
            base = _datum(run, Place(arm, point, ""), found, 100.0)
            made.append(structs.replace(base, x=middle, start=""))
    if not made:
        raise Absent(_NO_GPU)
    return made


def _part(turns: Turns, part: str) -> Array:
    """Return a part of the time of each ok turn, ns; none: the server did not say."""
    ok = turns.ok
    queue, compute, service = (
        getattr(turns, f"{name}_ns")[ok] for name in ("queue", "exec", "service")
    )
    parts: dict[str, Callable[[], Array]] = {
        "queue": lambda: queue,
        "compute": lambda: compute,
        # Of a target without a queue the wait is not known, and not in its service.
        "transfer": lambda: service - np.nan_to_num(queue) - compute,
        "idle": lambda: turns.latency_ns[ok] - service,
    }
    values = parts[part]()
    known: Array = values[np.isfinite(values)]
    return known


def _of_turn(samples: PopulationSamples, metric: str, number: int) -> Array:
    turns = samples.turns
    values: Array = getattr(turns, f"{metric}_ns")
    mine: Array = values[turns.ok & (turns.number == number) & np.isfinite(values)]
    return mine


def _received(samples: PopulationSamples) -> tuple[Array, Array]:
    """Return when requests were done, and their bytes both ways.

    Returns:
        Seconds since their session's first due; bytes ÷ the number of sessions.
    """
    r = samples.requests
    if not len(r.due_ns):
        return np.empty(0), np.empty(0)
    order, starts = stats.by_session(r)
    first = np.minimum.reduceat(r.due_ns[order], starts)
    lengths = np.diff(np.append(starts, len(order)))
    seconds = (r.done_ns[order] - np.repeat(first, lengths)) / SECOND
    size = (r.bytes_sent + r.bytes_received)[order] / len(starts)
    known = np.isfinite(size)
    return seconds[known], size[known]


def _found(repeats: Sequence[Array]) -> Measured:
    """Return the mean over repeats of their means; n is the turns of all."""
    known = [values for values in repeats if len(values)]
    made = of_repeats([float(values.mean()) for values in known])
    return structs.replace(made, n=sum(map(len, known)), of="turns")


def _datum(run: Run, place: Place, found: Measured, scale: float = 1 / MS) -> Datum:
    return Datum(
        series=_name(run, place),
        x=place.arm,
        **shown(found, scale),
        start="due",
        **place._asdict(),
        cells=run.paths(place.arm, place.point),
    )


def _name(run: Run, place: Place) -> str:
    return " ".join((place.arm, *_more(run, place)))


def _more(run: Run, place: Place) -> tuple[str, ...]:
    """Return what tells a place from others of its arm."""
    names = run.populations(place.arm, place.point)
    return (
        *([place.population] if place.population and len(names) > 1 else ()),
        *([place.point] if len(run.points) > 1 else ()),
    )
