"""What happens in a run, in order: boot, proof, calibration, cells, checks, cool-down.

Owns every lifetime. Whatever goes wrong once cells have run, what was measured until
then is on disk, and the `Result` says so.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from msgspec import Struct, structs

from djinnload import affinity, calibrate, calibrating, documents, verify
from djinnload.boots import loss, network
from djinnload.boots import servers as boots
from djinnload.boots.servers import Boot
from djinnload.boots.warmth import Warmth
from djinnload.calibrate import Capacity
from djinnload.cell import Conditions, Watch, run_cell
from djinnload.clock import monotonic_ns
from djinnload.errors import DjinnloadError, HostError, ScenarioError
from djinnload.interrupting import unless_stopped
from djinnload.plan import CellPlan
from djinnload.probes.devices import watched
from djinnload.recording.link import release
from djinnload.recording.recorder import write_checks, write_json
from djinnload.result import Course, Progress, Result
from djinnload.resuming import FINISHED, Past
from djinnload.scenarios.load import Scenario
from djinnload.spi import Target
from djinnload.summary.fold import fold_cell
from djinnload.workers import progress
from djinnload.workers.crew import Crew, crewed
from djinnload.workers.jobs import Given, Job, Planner

__all__ = ("Conductor", "Options")

#: How long answers are still checked once a run was asked to stop.
CHECK_S = 5.0


class Options(Struct, frozen=True):
    """Arguments of `djinnload.runner.run` that hold from its begin to its end."""

    accept: tuple[str, ...]
    declare: dict[str, str]
    on_progress: Callable[[Progress], None]
    stop: anyio.Event | None
    isolate: bool
    course: Course | None

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop."""
        return self.stop is not None and self.stop.is_set()


class Conductor:
    """One run: what is known before it, and what happens in it, in order."""

    def __init__(
        self, planner: Planner, target: str | Target | None, options: Options
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
        self.booted = self.cancelled = False
        self.error = ""
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
        try:
            await self._whole()
        finally:
            with suppress(OSError):
                whole = not (self.error or self.cancelled)
                interrupted = self.options.stopped or self.cancelled
                self._write(complete=whole, interrupted=interrupted)
        self._tell("folding the samples into the summary", phase="check")
        return await anyio.to_thread.run_sync(Result.of, path, self.error)

    async def _whole(self) -> None:
        """Boot and run everything, keep what ends it early; until the boot, on stop."""
        stop = self.options.stop
        try:
            await unless_stopped(stop, self._everything, over=lambda: self.booted)
        except anyio.get_cancelled_exc_class():
            self.cancelled = True
            raise
        except Exception as broke:
            self.error = str(broke)
            if not (self.options.stopped and isinstance(broke, DjinnloadError)):
                raise

    async def _everything(self) -> None:
        """Boot what the cells need, and run them."""
        async with AsyncExitStack() as stack:
            stack.callback(release)
            await stack.enter_async_context(self.checker)
            self._tell("loading the models for checks")
            await self._warm()
            if self.apart:
                self._tell("starting the workers")
                made = crewed(self.planner, self.cores, self.path)
                self.crew = await stack.enter_async_context(made)
            wanted = self.planner.needed(
                cell
                for cell, each in zip(self.order, self.index, strict=False)
                if each["status"] not in FINISHED
            )
            started = await boots.booted(stack, wanted, self.targets, self._boot)
            self.booted = True
            await self._measured(started)

    async def _measured(self, started: Mapping[str, Boot]) -> None:
        """Calibrate, run the cells, calibrate again; keep what ended it early."""
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
            self.error = str(error)

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
        conclude = partial(self._conclude, planned, directory, boot, made, keeper)
        if not await unless_stopped(self.options.stop, conclude, patience_s=CHECK_S):
            made["interrupted"] = True  # to be measured again: not all was checked
            write_json(directory / "manifest.json", made)
        if made["complete"]:
            await anyio.to_thread.run_sync(self._fold, directory)
            entry["status"] = "done"
        self._write()
        if made["error"]:
            raise HostError(made["error"])
        if loss.ends_run(boot, planned, more=number + 1 < len(self.order)):
            raise boot.ended(cell.id)

    async def _conclude(
        self,
        plan: CellPlan,
        directory: Path,
        boot: Boot,
        made: dict[str, Any],
        keeper: verify.Reservoir,
    ) -> None:
        """Wait until the server is idle, then have the answers checked."""
        run = plan.cell.scenario.scenario
        if not self.options.stopped:
            made["drained"] = await boot.drained(run.grace)
            write_json(directory / "manifest.json", made)
        cell = made["cell"]
        self._tell(f"checking answers of {cell}", phase="check", cell=cell)
        kept = {0: keeper.kept}
        if self.crew is not None:
            kept = verify.handed_over(directory, keeper)
        for worker, answers in kept.items():
            if rows := await self.checker.check(answers, plan.recipes):
                write_checks(directory, worker, rows)

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

    def _write(self, *, complete: bool = False, interrupted: bool = False) -> None:
        self.root |= {
            "complete": complete,
            "interrupted": interrupted,
            "error": self.error or None,
            "seconds": (monotonic_ns() - self.began_ns) / 1e9,
        }
        write_json(self.path / "manifest.json", self.root)
        write_json(self.path / "index.json", documents.index(self.index))

    def _tell(self, message: str, *, phase: str = "boot", cell: str = "") -> None:
        since = (monotonic_ns() - self.began_ns) / 1e9
        told = Progress(message, cell, phase, since, path=str(self.path))
        self.options.on_progress(progress.among(told, self.index))
