"""Experiment 6.1, models of every kind: figures 13a to 13c, table 5."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from djinnload import claims
from djinnload.report.experiments import marks
from djinnload.report.experiments.base import (
    Datum,
    Entry,
    Experiment,
    Figure,
    Panel,
    Run,
    Table,
)
from djinnload.report.experiments.models import short
from djinnload.summary.claimed import Place, look_up
from djinnload.summary.effects import NOT_DEFINED
from djinnload.summary.measured import Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ("EXPERIMENT",)

NATIVE, BLIND, FULL = "native_pytorch", "semantic_blind", "full"
ARMS = (NATIVE, BLIND, FULL)
TIME = "mean(latency)"
#: By the name of a point; others are of no group.
GROUPS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("llama", "gpt-j", "whisper"), "sequential"),
    **dict.fromkeys(("resnet", "vit", "efficientnet"), "parallel"),
    **dict.fromkeys(("clip", "blip", "speech-encoder"), "hybrid"),
}
_EFFICIENCY = f"efficiency({TIME})"


def _by_model(run: Run, text: str) -> list[Datum]:
    """Return an effect of full by model, its group as series."""
    return [
        run.datum(
            text, **place._asdict(), x=short(place.point), series=_group(place.point)
        )
        for place in run.places([FULL])
    ]


def _efficiencies(run: Run) -> list[Datum]:
    """Return semantic efficiencies; those that are not defined say so."""
    return [
        structs.replace(each, interval=NOT_DEFINED)
        if each.value is None and _undefined(run, Place(FULL, each.point, ""))
        else each
        for each in _by_model(run, _EFFICIENCY)
    ]


def _over_saved(run: Run) -> list[Datum]:
    """Return speed-ups over data saved."""
    made = []
    for each in _by_model(run, f"speed_up({TIME})"):
        place = Place(FULL, each.point, each.population)
        data = _found(run, place, "saved(mean(bytes))")
        if data.value is not None:
            made.append(structs.replace(each, x=data.value))
    return made


def _rows(run: Run) -> Iterator[tuple[Entry, ...]]:
    for place in run.places([FULL]):
        worth = _found(run, place, _EFFICIENCY)
        undefined = worth.value is None and _undefined(run, place)
        yield (
            short(place.point),
            _group(place.point),
            *(_succeeded(run, place._replace(arm=arm)) for arm in ARMS),
            _found(run, place, f"speed_up({TIME})"),
            _found(run, place, "saved(mean(bytes))"),
            _found(run, place, f"overhead({TIME})"),
            NOT_DEFINED if undefined else worth,
        )
    yield _counted(run)


def _counted(run: Run) -> tuple[Entry, ...]:
    """Return the last row: how many models answered in each arm."""
    points = dict.fromkeys(place.point for place in run.places(ARMS))
    counts = []
    for arm in ARMS:
        every = [each for each in _successes(run) if each["arm"] == arm]
        good = sum(bool(each["succeeded"]) for each in every)
        counts.append(f"{good} of {len(every)}")
    return f"all {len(points)}", "", *counts, None, None, None, None


def _successes(run: Run) -> Sequence[Mapping[str, Any]]:
    return run.summary.get("successes") or ()


def _succeeded(run: Run, place: Place) -> str:
    for each in _successes(run):
        if all(each[key] == value for key, value in place._asdict().items()):
            return "yes" if each["succeeded"] else f"no: {each['reasons'][0]}"
    return "–"


def _undefined(run: Run, place: Place) -> bool:
    """Return whether it was measured, and there is no such number all the same."""
    return any(
        NOT_DEFINED in each["reasons"]
        for each in run.summary.get("effects") or ()
        if (each["kind"], each["arm"], each["point"], each["metric"])
        == ("efficiency", place.arm, place.point, TIME)
    )


def _found(run: Run, place: Place, text: str) -> Measured:
    return look_up(claims.parse(text), place, run.groups, run.summary)


def _group(point: str) -> str:
    return GROUPS.get(short(point), "other")


def _beside_blind(axes: "Axes", data: Sequence[Datum]) -> None:
    marks.bars(axes, data)
    marks.level(axes, 1.0)


_13A = Figure(
    id="13a",
    slug="speed_up",
    title="Speed-up by model",
    said=f"How many times as fast as {BLIND} full is, by the mean latency of a piece "
    "of work; the dashed line is no difference",
    panels=(
        Panel(
            "model",
            f"speed-up over {BLIND}, ×",
            lambda run: _by_model(run, f"speed_up({TIME})"),
            _beside_blind,
        ),
    ),
    size_in=(9.6, 4.0),
)
_13B = Figure(
    id="13b",
    slug="efficiency",
    title="Semantic efficiency by model",
    said=f"Data saved (percent of {BLIND}'s bytes) ÷ overhead (percent of {NATIVE}'s "
    "time) of full; not defined where the interval of the overhead holds 0, and "
    "negative where full is faster than native",
    panels=(Panel("model", "% saved ÷ % overhead", _efficiencies, marks.bars),),
    size_in=(9.6, 4.0),
)
_13C = Figure(
    id="13c",
    slug="savings",
    title="Speed-up against data saved",
    said=f"Speed-up of full over {BLIND}, by the mean latency of a piece of work, "
    f"against bytes saved, percent of {BLIND}'s, both ways; a point a model",
    panels=(
        Panel(
            f"data saved, % of {BLIND}'s bytes",
            f"speed-up over {BLIND}, ×",
            _over_saved,
            marks.scatter,
        ),
    ),
)
_5 = Table(
    id="5",
    slug="generality",
    title="Models of every kind",
    said="Whether every turn of a model came back ok and every checked answer was "
    f"right, by arm; and of full its speed-up over {BLIND}, bytes saved against it, "
    f"overhead against {NATIVE}, and saved ÷ overhead",
    columns=(
        "model",
        "group",
        *(f"works in {arm}" for arm in ARMS),
        "speed-up (×)",
        "data saved (%)",
        "overhead (%)",
        "efficiency (% ÷ %)",
    ),
    rows=_rows,
)

EXPERIMENT = Experiment(
    id="6.1",
    title="Models of every kind",
    arms=ARMS,
    figures=(_13A, _13B, _13C),
    tables=(_5,),
)
