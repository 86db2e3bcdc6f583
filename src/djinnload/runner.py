"""Cells in order: boot, proof, calibration, warm-up, measure, checks, cool-down.

Owns every lifetime of a run. Installs no signals and no loop policy, prints nothing.
What is wrong with the scenario raises before anything is opened; what goes wrong once
cells have run is in the `Result`, with everything measured until then on disk.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from msgspec import Struct, structs

from djinnload import (
    affinity,
    calibrate,
    calibrating,
    documents,
    manifest,
    resuming,
    verify,
)
from djinnload.boots import loss, network
from djinnload.boots import servers as boots
from djinnload.boots.servers import Boot
from djinnload.boots.warmth import Warmth
from djinnload.calibrate import Capacity
from djinnload.cell import Conditions, Watch, run_cell
from djinnload.clock import monotonic_ns
from djinnload.errors import DjinnloadError, HostError, ScenarioError, UnknownName
from djinnload.findings import CODES
from djinnload.probes.devices import watched
from djinnload.recording.link import release
from djinnload.recording.recorder import write_checks, write_json
from djinnload.result import Course, Progress, Result
from djinnload.resuming import FINISHED, Past
from djinnload.scenarios.load import Scenario, load
from djinnload.spi import Target
from djinnload.summary.fold import fold_cell
from djinnload.workers import progress
from djinnload.workers.crew import Crew, crewed
from djinnload.workers.jobs import Given, Job, Planner

__all__ = ("Progress", "Result", "run", "run_sync")


async def run(
    scenario: Scenario | Path | str,
    *,
    out: Path | None = None,
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
    resume: Path | None = None,
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
    options = _Options(
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
    conductor = _Conductor(planner, target, options)
    conductor.prepare()
    if resume is None:
        path = manifest.directory(out, loaded.scenario.name)
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


class _Options(Struct, frozen=True):
    accept: tuple[str, ...]
    declare: dict[str, str]
    on_progress: Callable[[Progress], None]
    stop: anyio.Event | None
    isolate: bool
    course: Course | None

    @property
    def stopped(self) -> bool:
        return self.stop is not None and self.stop.is_set()


class _Conductor:
    """One run: what is known before it, and what happens in it, in order."""

    def __init__(
        self, planner: Planner, target: str | Target | None, options: _Options
    ) -> None:
        self.planner = planner
        self.scenario = planner.scenario
        self.order = planner.order
        self.target = target
        self.options = options
        self.index: list[dict[str, Any]] = []
        self.capacity = calibrate.pinned(self.scenario)
        self.checker = verify.Checker()
        self.crew: Crew | None = None
        self.root: dict[str, Any] = {}
        self.path = Path()
        self.past = Past()
        self.warmth = Warmth()
        self.began_ns = monotonic_ns()

    def prepare(self) -> None:
        """Check everything that can be known; nothing is opened."""
        arms: dict[str, Scenario] = {}
        for cell in self.order:
            arms.setdefault(self.planner.key(cell), cell.scenario)
        self.targets = {
            arm: boots.where(scenario, self.target) for arm, scenario in arms.items()
        }
        boots.refuse_reboots(arms, self.targets)
        network.refuse(arms.values())
        run = self.scenario.scenario
        self.cores = affinity.shares(run.pin, run.workers)
        self.apart = self.options.isolate or run.workers > 1 or run.pin is not False
        if self.apart and not isinstance(self.target, str | None):
            reason = "an object cannot be driven by another process"
            hint = "leave workers, pin and isolate out, or name it in [target] use"
            raise ScenarioError("target", f"{reason}; {hint}")
        self.first = self.planner.first
        self.root = documents.root(self.scenario, self.order, self.options.accept)
        self.root |= documents.asked(
            self.options.declare, self.target, self.planner.workshop.models
        )

    async def run(self, path: Path) -> Result:
        """Run everything into *path*; what breaks off later than boot is a Result."""
        self.path = path
        self.index = self.past.index(self.order, self.planner.skipped)
        self.root |= self.past.begin(path, self.index)
        self.capacity = self.capacity or self.past.capacity
        self._write()
        error: DjinnloadError | None = None
        try:
            async with AsyncExitStack() as stack:
                stack.callback(release)
                await stack.enter_async_context(self.checker)
                self._tell("loading the models for checks")
                await self._warm()
                if self.apart:
                    self._tell("starting the workers")
                    made = crewed(self.planner, self.cores, path)
                    self.crew = await stack.enter_async_context(made)
                wanted = self.planner.needed(
                    cell
                    for cell, each in zip(self.order, self.index, strict=False)
                    if each["status"] not in FINISHED
                )
                started = await boots.booted(stack, wanted, self.targets, self._boot)
                error = await self._measured(started)
        finally:
            with suppress(OSError):
                self._write(complete=error is None, error=str(error or ""))
        self._tell("folding the samples into the summary", phase="check")
        return await anyio.to_thread.run_sync(Result.of, path, str(error or ""))

    async def _measured(self, started: Mapping[str, Boot]) -> DjinnloadError | None:
        """Calibrate, run the cells, calibrate again; return what ended it early."""
        try:
            if self.capacity is None:
                self.capacity = await self._calibrate(started)
            number = 0
            while number < len(self.order) and not self.options.stopped:
                if self.index[number]["status"] not in FINISHED:
                    key = self.planner.key(self.order[number])
                    await self._cell(number, started[key])
                    await self._more(number)
                number += 1
            if not self.options.stopped:
                await self._calibrate(started, self.capacity)
        except DjinnloadError as error:
            if all(entry["status"] in {"missing", "skipped"} for entry in self.index):
                raise
            return error
        return None

    async def _more(self, number: int) -> None:
        """Add the cell that the course wants after this one, if there is one."""
        course = self.options.course
        if course is None or self.options.stopped:
            return
        if cell := await course.after(self.path, self.index[number]):
            self.planner.order = self.order = (*self.order, cell)
            self.index.append(documents.entry(cell))
            self._write()

    # Servers

    async def _warm(self) -> None:
        """Have the checking process ready before any clock starts."""
        for each in self.first.values():
            wanted = each.cell.scenario.verify
            if wanted.at_least or wanted.share:
                await self.checker.warm(each.recipes)

    def _boot(self, name: str, number: int) -> AbstractAsyncContextManager[Boot]:
        """Return the server of the arm (and point) *name*, to be opened."""
        target, each, boot = (
            self.targets[name],
            self.first[name],
            f"b{self.past.boots + number}",
        )
        what = "starting" if target == boots.EMBEDDED else "opening"
        self._tell(f"{what} server {boot} for {name}", phase="boot")
        return boots.opened(
            each.cell.scenario,
            target,
            self._driver(boot, name),
            name=boot,
            directory=self.path,
            cores=affinity.spare(self.cores),
        )

    def _driver(self, boot: str, name: str) -> boots.Driver:
        """Return how a target is opened: by the workers, or else in this process."""
        if self.crew is not None:
            return partial(self.crew.driving, boot, name)
        models = self.planner.workshop.models
        return partial(boots.driving, self.first[name], models)

    # Calibration

    async def _calibrate(
        self, started: Mapping[str, Boot], start: Capacity | None = None
    ) -> Capacity | None:
        if not calibrate.needed(self.scenario):
            return start
        boot = started[self.planner.key(self.planner.calibrated.cell)]
        return await calibrating.measure(
            self.planner,
            self.path,
            lambda name, into: self._run(Job(calibration=name), into, boot),
            start=start,
            stopped=lambda: self.options.stopped,
        )

    # Cells

    async def _cell(self, number: int, boot: Boot) -> None:
        cell, entry = self.order[number], self.index[number]
        directory = self.path / entry["path"]
        planned = self.first[self.planner.key(cell)]
        keeper = verify.Reservoir.of(cell.seed, cell.scenario.verify, planned.target)
        entry["boot"] = boot.name
        entry["status"] = "failed"
        per_s = self.capacity.per_s if self.capacity else None
        given = Given.of(cell) if self.options.course is not None else None
        job = Job(number, per_s, given=given)
        made = await self._run(job, directory, boot, keeper=keeper)
        if not self.options.stopped:
            made["drained"] = await boot.drained(cell.scenario.scenario.grace)
            write_json(directory / "manifest.json", made)
        self._tell(f"checking answers of {cell.id}", phase="check", cell=cell.id)
        kept = {0: keeper.kept}
        if self.crew is not None:
            kept = verify.handed_over(directory, keeper)
        for worker, answers in kept.items():
            if rows := await self.checker.check(answers, planned.recipes):
                write_checks(directory, worker, rows)
        if made["complete"]:
            await anyio.to_thread.run_sync(self._fold, directory)
            entry["status"] = "done"
        self._write()
        if made["error"]:
            raise HostError(made["error"])
        if loss.ends_run(boot, planned, more=number + 1 < len(self.order)):
            raise boot.ended(cell.id)

    def _fold(self, directory: Path) -> None:
        found = calibrating.of_cells(self.capacity, self.scenario, self.order)
        fold_cell(directory, calibration=found, accepted=self.options.accept)

    async def _run(
        self,
        job: Job,
        directory: Path,
        boot: Boot,
        *,
        keeper: verify.Reservoir | None = None,
    ) -> dict[str, Any]:
        at = self.planner.plan(job)
        if self.warmth.known(at, boot, self.planner.key(at.cell)):
            job = structs.replace(job, warm=True)
            at = self.planner.plan(job)
        if at.warmup_sessions:
            self._tell(f"warming up for {at.cell.id}", phase="warmup", cell=at.cell.id)
        await anyio.Path(directory).mkdir(parents=True)
        guard = loss.Guard(boot, at, self.planner.workshop.models, self.options.stop)
        conditions = Conditions(
            target=boot.target,
            # Unique among all sessions that the server ever sees.
            prefix=f"{self.past.prefix(self.path)}-{at.cell.id.replace('/', '-')}",
            early_ns=calibrating.early_ns(at.cell.scenario, self.capacity),
            stop=self.options.stop,
            alive=guard.alive,
        )
        precise, declared = conditions.early_ns > 0, self.options.declare
        made = documents.cell(at, boot, precise=precise, declare=declared)

        def watch(seen: Watch) -> None:
            of = job, self.order, self.scenario, self.path
            self.options.on_progress(progress.of_cell(seen, *of))

        probes = watched(self.scenario.probes, directory, boot.metrics)
        with probes as made["probes"]:
            given = (at, directory, conditions, made)
            if self.crew is None:
                drive = partial(run_cell, *given, keeper=keeper, on_tick=watch)
            else:
                wide = partial(self.crew.run_cell, boot=boot.name, on_tick=watch)
                drive = partial(wide, job, *given)
            return await guard.over(drive, directory, made)

    # What others see

    def _write(self, *, complete: bool = False, error: str = "") -> None:
        self.root |= {
            "complete": complete,
            "interrupted": self.options.stopped,
            "error": error or None,
            "seconds": (monotonic_ns() - self.began_ns) / 1e9,
        }
        write_json(self.path / "manifest.json", self.root)
        write_json(self.path / "index.json", documents.index(self.index))

    def _tell(self, message: str, *, phase: str = "boot", cell: str = "") -> None:
        since = (monotonic_ns() - self.began_ns) / 1e9
        told = Progress(message, cell, phase, since, path=str(self.path))
        self.options.on_progress(progress.among(told, self.index))
