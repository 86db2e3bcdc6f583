"""Experiment 5.1, what it costs to run a model elsewhere: figures 12a to 12c."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import structs

from djinnload.report.experiments import marks, models
from djinnload.report.experiments.arms import split
from djinnload.report.experiments.base import Datum, Experiment, Figure, Panel, Run
from djinnload.units import MS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ("EXPERIMENT",)

NATIVE, BLIND, FULL = "native_pytorch", "semantic_blind", "full"
ARMS = (NATIVE, BLIND, FULL)
#: Of all models alike; under ``equal_work = "prefix"`` at equal positions.
TIME = "mean(request_latency)"


def _over_size(run: Run, arm: str) -> list[Datum]:
    """Return the overhead of an arm against native, over the model's parameters."""
    return [
        run.datum(
            f"overhead({TIME})",
            **place._asdict(),
            x=models.parameters(run, place.point) / 1e6,
        )
        for place in run.places([arm])
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
            series=place.arm,
            scale=1 / MS,
        )
        for place in run.places(ARMS)
    ]


def _sizes(axes: "Axes", data: Sequence[Datum]) -> None:
    axes.set_xscale("log")
    _beside_native(axes, data)


def _beside_native(axes: "Axes", data: Sequence[Datum]) -> None:
    marks.scatter(axes, data)
    marks.level(axes, 0.0)


def _sized(arm: str) -> Panel:
    return Panel(
        "million parameters (logarithmic)",
        f"overhead of {arm}, % of {NATIVE}'s time",
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
            f"overhead, % of {NATIVE}'s time",
            _over_saved,
            _beside_native,
        ),
    ),
)
_12C = Figure(
    id="12c",
    slug="net",
    title="Net effect: what a request takes in each arm, and where its time goes",
    said="Mean time of a request by model and arm; and mean time of a piece of work by "
    "part: queue and compute (the server's word), transfer (the rest of service), idle",
    panels=(
        Panel("model", "ms a request", _times, marks.bars, "Time of a request"),
        Panel(
            "arm and model",
            "ms a piece of work",
            lambda run: split(run, ARMS),
            marks.stacked,
            "Where it goes",
        ),
    ),
    size_in=(13.0, 4.6),
)

EXPERIMENT = Experiment(
    id="5.1",
    title="What it costs to run a model elsewhere",
    arms=ARMS,
    figures=(_12A, _12B, _12C),
)
