"""A running cell → what a live view is told of it; pure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from djinnload.cell import Watch
from djinnload.result import Progress
from djinnload.scenarios.cells import Cell
from djinnload.scenarios.load import Scenario
from djinnload.workers.jobs import Job

__all__ = ("among", "of_cell")


def of_cell(
    watch: Watch, job: Job, order: Sequence[Cell], scenario: Scenario, path: Path
) -> Progress:
    """Return where the run is while *job* runs.

    Args:
        watch: The job as it was seen just now.
        job: A cell, or a phase of calibration.
        order: All cells of the run.
        scenario: Of the run.
        path: Of the run.
    """
    schedule, now = watch.plan.schedule, watch.now_ns - watch.begin_ns
    calibrating = bool(job.calibration)
    phase = "warmup" if now < 0 or schedule.warming else "measure"
    if now >= schedule.duration_ns:
        phase = "cooldown"
    run = scenario.scenario
    done = len(order) if job.calibration.startswith("end") else job.cell
    left = (len(order) - done) * (run.warmup + run.duration) / 1e9
    if not calibrating:
        left -= (now + schedule.warmup_ns) / 1e9
    whole_ns = schedule.duration_ns + schedule.warmup_ns
    return Progress(
        message="calibrating" if calibrating else "",
        cell=watch.plan.cell.id,
        phase="calibrate" if calibrating else phase,
        elapsed_s=(now + schedule.warmup_ns) / 1e9,
        # How long so many sessions take is not known.
        total_s=0.0 if schedule.sessions else whole_ns / 1e9,
        left_s=None if run.duration.sessions else max(left, 0.0),
        done_cells=done,
        all_cells=len(order),
        in_flight=watch.in_flight,
        populations=watch.populations,
        offered_per_s=_offered(watch),
        sessions={} if schedule.warming else watch.started,
        qos_classes={each.name: each.qos_class for each in watch.plan.labels},
        readings=watch.readings,
        path=str(path),
    )


def among(progress: Progress, index: Sequence[Mapping[str, Any]]) -> Progress:
    """Return *progress* with what the entries of index.json say of the cells."""
    done = sum(entry["status"] == "done" for entry in index)
    return replace(progress, done_cells=done, all_cells=len(index))


def _offered(watch: Watch) -> dict[str, float]:
    """Return sessions started a second of measure, by population."""
    measured = min(watch.now_ns - watch.begin_ns, watch.plan.schedule.duration_ns)
    if measured <= 0:
        return {}
    return {name: n * 1e9 / measured for name, n in watch.started.items()}
