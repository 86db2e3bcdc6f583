"""Experiment 5.1, what it costs to run a model elsewhere: figures 12a to 12d."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import structs

from djinnload.report.amounts import number
from djinnload.report.experiments import marks, models
from djinnload.report.experiments.arms import split
from djinnload.report.experiments.base import Datum, Experiment, Figure, Panel, Run
from djinnload.summary.claimed import Place
from djinnload.units import MS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ("EXPERIMENT",)

NATIVE, BLIND, FULL = "native_pytorch", "semantic_blind", "full"
ARMS = (NATIVE, BLIND, FULL)
#: Of all models alike; under ``equal_work = "prefix"`` at equal positions.
TIME = "mean(request_latency)"


def _arms(run: Run, kind: str) -> list[str]:
    """Return the arms of a kind: of blind ones there may be several, by size."""
    return [arm for arm in run.arms if arm.startswith(kind)]


def _places(run: Run, kind: str) -> list[Place]:
    """Return where an arm of a kind was measured."""
    every = run.places(_arms(run, kind))
    return [place for place in every if run.evidence(place.arm, place.point)]


def _over_size(run: Run, kind: str) -> list[Datum]:
    """Return the overhead of an arm against native, over the model's parameters."""
    return [
        run.datum(
            f"overhead({TIME})",
            **place._asdict(),
            x=models.parameters(run, place.point) / 1e6,
            series=kind,
        )
        for place in _places(run, kind)
    ]


def _over_saved(run: Run) -> list[Datum]:
    """Return the overhead of full against native, over data saved against blind."""
    made = []
    for place in run.places([FULL]):
        over = run.datum(f"overhead({TIME})", **place._asdict())
        data = run.datum("saved(mean(bytes))", **place._asdict())
        if data.value is not None:
            made.append(structs.replace(over, x=data.value))
    return made


def _times(run: Run) -> list[Datum]:
    """Return the time of a request by model and arm, ms."""
    return [
        run.datum(
            TIME,
            **place._asdict(),
            x=models.short(place.point),
            series=kind,
            scale=1 / MS,
        )
        for kind in ARMS
        for place in _places(run, kind)
    ]


def _parts(run: Run) -> list[Datum]:
    """Return the parts of the time of a piece of work in full, by model, ms."""
    return [
        structs.replace(each, x=models.short(each.point)) for each in split(run, [FULL])
    ]


def _sizes(axes: "Axes", data: Sequence[Datum]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda v, _: number(v))
    axes.xaxis.set_minor_formatter(NullFormatter())
    _beside_native(axes, data)


def _beside_native(axes: "Axes", data: Sequence[Datum]) -> None:
    marks.scatter(axes, data)
    marks.level(axes, 0.0)


def _sized(arm: str) -> Panel:
    return Panel(
        "million parameters (logarithmic)",
        "overhead, % of native",
        lambda run: _over_size(run, arm),
        _sizes,
        arm,
    )


_12A = Figure(
    id="12a",
    slug="overhead",
    title="Overhead against the size of the model",
    said="By how many percent a request takes longer than in a process of its own "
    "without a network, whose time is the denominator; below the dashed line it is "
    "faster",
    panels=(_sized(FULL), _sized(BLIND)),
    size_in=(10.0, 4.2),
)
_12B = Figure(
    id="12b",
    slug="savings",
    title="Overhead against data saved",
    said=f"Overhead of a request in full, percent of {NATIVE}'s time, against bytes "
    f"saved a unit of work, percent of {BLIND}'s, both ways; a point a model",
    panels=(
        Panel(
            f"data saved, % of {BLIND}'s bytes",
            "overhead, % of native",
            _over_saved,
            _beside_native,
        ),
    ),
)
_12C = Figure(
    id="12c",
    slug="net",
    title="Net effect: what a request takes in each arm",
    said="Mean time of a request by model and arm; of a blind arm that makes fewer "
    "tokens, of those that it makes",
    panels=(Panel("model", "ms a request", _times, marks.bars),),
    size_in=(9.6, 4.2),
)
_12D = Figure(
    id="12d",
    slug="split",
    title="Where the time goes in full",
    said="Mean time of a piece of work by part: queue and compute (the server's word, "
    "compute with the plan where one is made), transfer (the rest of service: protocol "
    "and network), and idle",
    panels=(Panel("model", "ms a piece of work", _parts, marks.stacked),),
    size_in=(8.0, 4.0),
)

EXPERIMENT = Experiment(
    id="5.1",
    title="What it costs to run a model elsewhere",
    arms=ARMS,
    figures=(_12A, _12B, _12C, _12D),
)
