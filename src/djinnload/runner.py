"""Run a scenario, inside the caller's own event loop or without one.

Installs no signals and no loop policy, prints nothing. What is wrong with the scenario
raises before anything is opened.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio

from djinnload import manifest, resuming
from djinnload.calibrate import Capacity
from djinnload.conductor import Conductor, Options
from djinnload.errors import UnknownName
from djinnload.findings import CODES
from djinnload.result import Course, Progress, Result
from djinnload.resuming import Past
from djinnload.scenarios.load import Scenario, load
from djinnload.spi import Target
from djinnload.workers.jobs import Planner

__all__ = ("Progress", "Result", "run", "run_sync")


async def run(
    scenario: Scenario | Path | str,
    *,
    out: Path | str | None = None,
    target: str | Target | None = None,
    arms: Sequence[str] | None = None,
    seed: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    stop: anyio.Event | None = None,
    isolate: bool = False,
    workers: int | None = None,
    accept: Sequence[str] = (),
    declare: Mapping[str, str] | None = None,
    course: Course | None = None,
    resume: Path | str | None = None,
    capacity: Capacity | None = None,
) -> Result:
    """Run a scenario to its verdict, inside the caller's own event loop.

    Args:
        scenario: One that is loaded, a path, or the name of one that ships.
        out: Folder for results directories; default ``results``. A fresh one is made
            below it, ``<scenario>/<UTC>-<4 hex>``.
        target: ``host:port``, or a target object; default: see `boots.servers`.
        arms: Of the scenario; default all.
        seed: Instead of the scenario's.
        on_progress: Called about twice a second, in this loop; must be fast.
        stop: Setting it interrupts the run: what was measured is kept.
        isolate: Run the engine in a child process, even if one is enough.
        workers: Processes that share the load, instead of the scenario's.
        accept: Codes that shall not void; recorded.
        declare: Settings that the user vouches for, such as ``policy``.
        course: Says cell by cell what is measured, instead of the scenario's repeats.
        resume: The directory of a run that stopped: what it lacks is done, nothing
            else; *out* does not count.
        capacity: Measured before, that rates refer to: it is not measured at the start.

    Returns:
        Also if the run is void, failed, interrupted or broke off.

    Raises:
        ScenarioError: Scenario, arm or argument is wrong; nothing was opened. A target
            object cannot be driven by another process. A run to be resumed is another
            one, or whole.
    """
    loaded = scenario if isinstance(scenario, Scenario) else load(scenario)
    for code in accept:
        if code not in CODES:
            raise UnknownName("--accept", "reason of a void run", code, CODES)
    given = {"scenario.seed": seed, "scenario.workers": workers}
    if changes := {key: value for key, value in given.items() if value is not None}:
        loaded = loaded.replace(changes)
    options = Options(
        tuple(accept),
        dict(declare or {}),
        on_progress or _ignore,
        stop,
        isolate,
        course,
    )
    planner = Planner(loaded, arms)
    if course is not None:
        planner.order = (course.first,)
    conductor = Conductor(planner, target, options)
    conductor.prepare()
    if resume is None:
        above = None if out is None else Path(out)
        path = manifest.directory(above, loaded.scenario.name)
        conductor.past = Past(capacity=capacity)
    else:
        path = Path(resume)
        conductor.past = resuming.past(path, conductor.root)
    with resuming.held(path):
        return await conductor.run(path)


def run_sync(scenario: Scenario | Path | str, **options: Any) -> Result:
    """Call `run` from code that has no event loop; uvloop if it is there."""
    backend = {"use_uvloop": True}
    return anyio.run(_run_with, scenario, options, backend_options=backend)


async def _run_with(scenario: Scenario | Path | str, options: dict[str, Any]) -> Result:
    return await run(scenario, **options)


def _ignore(_: Progress) -> None:
    """Be nobody's live view."""
