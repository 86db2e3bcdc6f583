"""Calibration of a run: its two phases driven, read, and written down."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from djinnload import calibrate
from djinnload.calibrate import Capacity
from djinnload.recording.recorder import read_samples, write_json
from djinnload.scenarios.cells import Cell
from djinnload.scenarios.load import Scenario
from djinnload.workers.jobs import Planner

__all__ = ("early_ns", "measure", "of_cells")

#: Precise waiting pays where services are shorter than this.
_PRECISE_BELOW_MS = 5.0
_EARLY_NS = 100_000


async def measure(
    planner: Planner,
    path: Path,
    drive: Callable[[str, Path], Awaitable[dict[str, Any]]],
    *,
    start: Capacity | None,
    stopped: Callable[[], bool],
) -> Capacity | None:
    """Measure capacity and write ``calibration.json``; return it.

    Args:
        planner: Of the run.
        path: Of the run.
        drive: Drives the phase of that name into a directory; returns its manifest.
        start: What was measured before the first cell; None: that is now.
        stopped: Whether the run was interrupted; then None is returned.
    """
    scenario, when = planner.scenario, "start" if start is None else "end"
    tables, begin_ns = [], 0
    for kind in ("mix", "solo"):
        directory = path / "calibration" / f"{when}-{kind}"
        made = await drive(f"{when}-{kind}", directory)
        tables.append(read_samples(directory))
        begin_ns = begin_ns or made["window"]["begin_ns"]
    if stopped():
        return None
    crowd, single = tables
    found = calibrate.read(
        crowd, single, begin_ns=begin_ns, duration_ns=scenario.calibrate.time
    )
    document = calibrate.document(
        start or found,
        arm=planner.calibrated.cell.arm,
        scenario=scenario,
        end=None if start is None else found,
    )
    write_json(path / "calibration.json", document)
    return found


def of_cells(
    capacity: Capacity | None, scenario: Scenario, order: Sequence[Cell]
) -> dict[str, Any] | None:
    """Return what cells are judged by of a calibration; None: there was none."""
    if capacity is None:
        return None
    arm = calibrate.arm(scenario, order)
    return calibrate.document(capacity, arm=arm, scenario=scenario)


def early_ns(scenario: Scenario, capacity: Capacity | None) -> int:
    """Return how early a precise clock wakes; 0: the clock is not precise."""
    precise = scenario.precise
    if precise is None:
        median = capacity.median_service_ms if capacity else None
        precise = median is not None and median < _PRECISE_BELOW_MS
    return _EARLY_NS if precise else 0
