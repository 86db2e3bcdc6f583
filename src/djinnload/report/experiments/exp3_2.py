"""Experiment 3.2, what allocators cost and leave behind: figures 9a to 9c, table 3."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from msgspec import structs

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
from djinnload.stats import populations as stats
from djinnload.summary import memory, spread
from djinnload.summary.claimed import Place
from djinnload.summary.measured import Measured, over_bins
from djinnload.units import MS, US

__all__ = ("EXPERIMENT",)

#: Others depend on the device: malloc, or torch and cudamalloc.
ARMS = ("arena",)
_BINS = 60
_US_OF_MS = MS / US
_COUNTS = ("canaries_checked", "corrupted")
_TAILS = ("p50", "p99", "p99.9")


def _places(run: Run) -> list[Place]:
    """Return where allocators were: an arm and point each, its first population."""
    found: dict[tuple[str, str], Place] = {}
    for place in run.places(run.arms):
        found.setdefault((place.arm, place.point), place)
    return list(found.values())


def _named(run: Run, place: Place) -> str:
    return f"{place.arm} {place.point}" if len(run.points) > 1 else place.arm


def _course(name: str) -> Callable[[Run], list[Datum]]:
    """Return what draws one of `memory.SHARES` over time, in percent, an arm a line."""

    def data(run: Run) -> list[Datum]:
        return [each for place in _places(run) for each in at(run, place)]

    def at(run: Run, place: Place) -> list[Datum]:
        cells = run.evidence(place.arm, place.point)
        looks = [memory.course(each, memory.SHARES[name]) for each in cells]
        plain = run.datum(name, **place._asdict(), series=_named(run, place), scale=100)
        made = []
        for middle, found in over_bins(looks, _BINS):
            told = shown(found, 100) | {"x": middle, "claim": None}
            made.append(structs.replace(plain, **told))
        if made:  # the plan's number once, at the end of the line
            made[-1] = structs.replace(made[-1], claim=plain.claim)
        return made

    return data


def _curves(run: Run) -> list[Datum]:
    """Return the share of allocations up to a time, in µs."""
    made: list[Datum] = []
    for place in _places(run):
        repeats = run.samples(place.arm, place.population, place.point)
        found = spread.curve([stats.values(each, "exec") for each in repeats])
        if found is None:
            continue
        made += [
            Datum(
                series=_named(run, place),
                x=ms * _US_OF_MS,
                value=share,
                n=found["n"],
                of="allocations",
                **place._asdict(),
                cells=run.paths(place.arm, place.point),
            )
            for ms, share in zip(found["ms"], found["share"], strict=True)
        ]
    return made


def _counted(name: str) -> Callable[[Run], list[Datum]]:
    """Return what draws how many *name* there were by arm, all repeats together."""

    def data(run: Run) -> list[Datum]:
        made = []
        for place in _places(run):
            row = _row(run, place)
            made.append(
                Datum(
                    series=_named(run, place),
                    x=_named(run, place),
                    value=None if row is None else row[name],
                    n=0 if row is None else row["allocations"],
                    of="allocations",
                    **place._asdict(),
                    cells=run.paths(place.arm, place.point),
                )
            )
        return made

    return data


def _row(run: Run, place: Place) -> dict[str, int] | None:
    """Return what the summary says of an allocator's memory; None: nobody looked."""
    for each in run.summary.get("memory") or ():
        if (each["arm"], each["point"]) == (place.arm, place.point):
            return dict(each)
    return None


def _rows(run: Run) -> Iterator[Sequence[Entry]]:
    if not run.summary.get("memory"):
        raise Absent("nobody looked at the allocator: say probes = { vmu = ... }")
    for place in _places(run):
        times = [_told(run, place, f"{tail}(exec)", 1 / US) for tail in _TAILS]
        shares = [_told(run, place, name, 100) for name in memory.SHARES]
        row = _row(run, place) or {}
        yield (
            _named(run, place),
            times[0][0].n,
            *(found for found, _ in times),
            times[-1][1],
            *(entry for two in shares for entry in two),
            *(row.get(name) for name in _COUNTS),
        )


def _told(
    run: Run, place: Place, text: str, scale: float
) -> tuple[Measured, float | None]:
    """Return what was measured and what was claimed, scaled."""
    found = run.datum(text, **place._asdict(), scale=scale)
    measured = Measured(found.value, found.ci95, found.n, found.interval, found.of)
    return measured, found.claim


def _over_time(name: str, label: str) -> Panel:
    draw = partial(marks.lines, linear=True)
    return Panel("seconds since measure began", label, _course(name), draw)


_9A = Figure(
    id="9a",
    slug="fragmentation",
    title="Fragmentation and use of memory over time",
    said="External fragmentation, 1 − largest free block ÷ free, and bytes asked for ÷ "
    "bytes taken from the system, looked at by the server's diagnostics, mean of "
    "repeats",
    note="An allocator that does not say how its free memory lies has no line",
    panels=(
        _over_time("fragmentation", "external fragmentation (%)"),
        _over_time("utilisation", "utilisation (%)"),
    ),
    size_in=(10.0, 3.8),
)
_9B = Figure(
    id="9b",
    slug="allocation_cdf",
    title="Time of an allocation",
    said="Share of allocations whose call returned within a time, by the server's "
    "clock, around the call alone; every one of all repeats",
    panels=(Panel("µs (logarithmic)", "share of allocations", _curves, marks.cdf),),
)
_9C = Figure(
    id="9c",
    slug="isolation",
    title="Isolation of sessions",
    said="Canaries at both ends of each block that were read before it was freed, and "
    "those that were gone or whose block overlapped another, all repeats together",
    panels=(
        Panel("arm", "canaries read", _counted("canaries_checked"), marks.bars),
        Panel("arm", "corrupted", _counted("corrupted"), marks.bars),
    ),
    size_in=(8.0, 3.6),
)
_3 = Table(
    id="3",
    slug="memory_kernel",
    title="Allocators",
    said="Time of an allocation, mean over time of external fragmentation and of use, "
    "and canaries; what the plan claims beside it was not measured",
    columns=(
        "arm",
        "allocations",
        "P50 (µs)",
        "P99 (µs)",
        "P99.9 (µs)",
        "P99.9 claimed (µs)",
        "fragmentation (%)",
        "claimed (%)",
        "utilisation (%)",
        "claimed (%)",
        "canaries read",
        "corrupted",
    ),
    rows=_rows,
)

EXPERIMENT = Experiment(
    id="3.2",
    title="What an allocation costs, and what it leaves behind",
    arms=ARMS,
    figures=(_9A, _9B, _9C),
    tables=(_3,),
)
