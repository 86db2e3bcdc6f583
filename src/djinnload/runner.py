"""Cells in order: boot, proof, calibration, warm-up, measure, checks, cool-down.

Owns every lifetime of a run. Installs no signals and no loop policy, prints nothing.
What is wrong with the scenario raises before anything is opened; what goes wrong once
cells have run is in the `Result`, with everything measured until then on disk.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from msgspec import Struct, structs

from djinnload import boots, calibrate, documents, manifest, verify
from djinnload.boots import Boot
from djinnload.cell import Conditions, Watch, run_cell
from djinnload.clock import monotonic_ns
from djinnload.errors import DjinnloadError, ScenarioError, UnknownName
from djinnload.findings import CODES
from djinnload.plan import CellPlan, Workshop, plan
from djinnload.recorder import read_samples, write_checks, write_json
from djinnload.result import Progress, Result
from djinnload.scenarios.cells import Cell, cells
from djinnload.scenarios.load import Scenario, load
from djinnload.schedule import Schedule
from djinnload.spi import Target
from djinnload.summary import fold_cell, fold_run

if TYPE_CHECKING:
    import pyarrow as pa

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
    accept: Sequence[str] = (),
    declare: Mapping[str, str] | None = None,
) -> Result:
    """Run a scenario to its verdict, inside the caller's own event loop.

    Args:
        scenario: One that is loaded, a path, or the name of one that ships.
        out: Folder for results directories; default ``results``. A fresh one is made
            below it, ``<scenario>/<UTC>-<4 hex>``.
        target: ``host:port``, or a target object; default: see `djinnload.boots`.
        arms: Of the scenario; default all.
        seed: Instead of the scenario's.
        on_progress: Called about twice a second, in this loop; must be fast.
        stop: Setting it interrupts the run: what was measured is kept.
        isolate: Run the engine in a child process.
        accept: Codes that shall not void; recorded.
        declare: Settings that the user vouches for, such as ``policy``.

    Returns:
        Also if the run is void, failed, interrupted or broke off.

    Raises:
        ScenarioError: Scenario, arm or argument is wrong; nothing was opened.
    """
    loaded = scenario if isinstance(scenario, Scenario) else load(scenario)
    for code in accept:
        if code not in CODES:
            raise UnknownName("--accept", "reason of a void run", code, CODES)
    if seed is not None:
        loaded = loaded.replace({"scenario.seed": seed})
    if isolate:
        raise ScenarioError("isolate", "is not built yet, leave it out")
    conductor = _Conductor(
        loaded,
        cells(loaded, arms=arms),
        target,
        _Options(tuple(accept), dict(declare or {}), on_progress or _ignore, stop),
    )
    conductor.prepare()
    return await conductor.run(manifest.directory(out, loaded.scenario.name))


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

    @property
    def stopped(self) -> bool:
        return self.stop is not None and self.stop.is_set()


#: Precise waiting pays where services are shorter than this.
_PRECISE_BELOW_MS = 5.0
_EARLY_NS = 100_000


class _Conductor:
    """One run: what is known before it, and what happens in it, in order."""

    def __init__(
        self,
        scenario: Scenario,
        order: tuple[Cell, ...],
        target: str | Target | None,
        options: _Options,
    ) -> None:
        self.scenario = scenario
        self.order = order
        self.target = target
        self.options = options
        self.workshop = Workshop()
        self.index: list[dict[str, Any]] = []
        self.capacity = calibrate.pinned(scenario)
        self.end: calibrate.Capacity | None = None
        self.checker = verify.Checker()
        self.root: dict[str, Any] = {}
        self.path = Path()
        self.began_ns = monotonic_ns()

    def prepare(self) -> None:
        """Check everything that can be known; nothing is opened."""
        first: dict[str, Cell] = {}
        for cell in self.order:
            first.setdefault(cell.arm, cell)
        scenarios = {arm: cell.scenario for arm, cell in first.items()}
        self.targets = {
            arm: boots.where(scenario, self.target)
            for arm, scenario in scenarios.items()
        }
        boots.refuse_reboots(scenarios, self.targets)
        plans = {arm: self._plan(cell) for arm, cell in first.items()}
        self.root = documents.root(self.scenario, scenarios, self.options.accept)
        self.first = plans

    def _plan(self, cell: Cell) -> CellPlan:
        """Plan a cell at the calibrated rates; before calibration at nominal ones."""
        per_s = self.capacity.per_s if self.capacity else calibrate.NOMINAL
        at_rates = calibrate.with_capacity(cell.scenario, per_s)
        return plan(structs.replace(cell, scenario=at_rates), workshop=self.workshop)

    async def run(self, path: Path) -> Result:
        """Run everything into *path*; what breaks off later than boot is a Result."""
        self.path = path
        self.index = [documents.entry(cell) for cell in self.order]
        self._write()
        error: DjinnloadError | None = None
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self.checker)
                self._tell("loading the models for checks")
                await self._warm()
                started = await self._boot(stack)
                error = await self._measured(started)
        finally:
            with suppress(OSError):
                self._write(complete=error is None, error=str(error or ""))
        self._tell("folding the samples into the summary", phase="check")
        summary = await anyio.to_thread.run_sync(fold_run, path)
        return Result(path, summary, str(error or ""))

    async def _measured(self, started: Mapping[str, Boot]) -> DjinnloadError | None:
        """Calibrate, run the cells, calibrate again; return what ended it early."""
        try:
            await self._calibrate(started, "start")
            for number, cell in enumerate(self.order):
                if self.options.stopped:
                    return None
                await self._cell(number, cell, started[cell.arm])
            if not self.options.stopped:
                await self._calibrate(started, "end")
        except DjinnloadError as error:
            if not any(entry["status"] != "missing" for entry in self.index):
                raise
            return error
        return None

    # Servers

    async def _warm(self) -> None:
        """Have the checking process ready before any clock starts."""
        for each in self.first.values():
            wanted = each.cell.scenario.verify
            if wanted.at_least or wanted.share:
                await self.checker.warm(each.recipes)

    async def _boot(self, stack: AsyncExitStack) -> dict[str, Boot]:
        """Start and open one server for all arms that agree on its settings."""
        opened: dict[str, Boot] = {}
        by_arm: dict[str, Boot] = {}
        for arm, each in self.first.items():
            target = self.targets[arm]
            key = str(target)
            if target == boots.EMBEDDED:
                key = boots.key(each.cell.scenario)
            if key not in opened:
                name = f"b{len(opened)}"
                what = "starting" if target == boots.EMBEDDED else "opening"
                self._tell(f"{what} server {name} for arm {arm}", phase="boot")
                opened[key] = await stack.enter_async_context(
                    boots.opened(
                        each,
                        self.workshop.models,
                        target,
                        name=name,
                        directory=self.path,
                    )
                )
            by_arm[arm] = opened[key]
        return by_arm

    # Calibration

    async def _calibrate(self, started: Mapping[str, Boot], when: str) -> None:
        if not calibrate.needed(self.scenario):
            return
        arm = calibrate.arm(self.scenario, self.order)
        mix = calibrate.weights(self.scenario)
        # At the nominal rates: only seed, populations and warm-up count.
        base, wanted = self.first[arm], self.scenario.calibrate
        solo_ns = round(wanted.time * calibrate.SOLO_SHARE)
        users = wanted.users
        mixed = calibrate.mixed(
            base.schedule, mix, users=users, time_ns=wanted.time, when=when
        )
        alone = calibrate.solo(base.schedule, mix, time_ns=solo_ns, when=when)
        boot = started[arm]
        crowd, begin_ns = await self._closed(boot, base, mixed, f"{when}-mix")
        single, _ = await self._closed(boot, base, alone, f"{when}-solo")
        if self.options.stopped:
            return
        found = calibrate.read(
            crowd, single, begin_ns=begin_ns, duration_ns=wanted.time
        )
        if when == "start":
            self.capacity = found
        else:
            self.end = found
        assert self.capacity is not None  # noqa: S101 - the start comes first
        document = calibrate.document(
            self.capacity, arm=arm, scenario=self.scenario, end=self.end
        )
        write_json(self.path / "calibration.json", document)

    async def _closed(
        self, boot: Boot, base: CellPlan, schedule: Schedule, name: str
    ) -> tuple["pa.Table", int]:
        cell = structs.replace(base.cell, id=f"calibration/{name}", judged=False)
        at = structs.replace(base, schedule=schedule, cell=cell)
        directory = self.path / "calibration" / name
        made = await self._run(at, directory, boot, keeper=None, done=0)
        return read_samples(directory), made["window"]["begin_ns"]

    # Cells

    async def _cell(self, number: int, cell: Cell, boot: Boot) -> None:
        at = self._plan(cell)
        entry = self.index[number]
        directory = self.path / entry["path"]
        wanted = cell.scenario.verify
        keeper = verify.Reservoir(cell.seed, wanted.share, wanted.at_least)
        entry["boot"] = boot.name
        entry["status"] = "failed"
        made = await self._run(at, directory, boot, keeper=keeper, done=number)
        self._tell(f"checking answers of {cell.id}", phase="check", cell=cell.id)
        rows = await self.checker.check(keeper.kept, at.recipes)
        if rows:
            write_checks(directory, 0, rows)
        if made["complete"]:
            await anyio.to_thread.run_sync(self._fold, directory)
            entry["status"] = "done"
        self._write()
        if not boot.alive():
            raise boot.ended(cell.id)

    def _fold(self, directory: Path) -> None:
        calibration = None
        if self.capacity is not None:
            calibration = calibrate.document(
                self.capacity,
                arm=calibrate.arm(self.scenario, self.order),
                scenario=self.scenario,
            )
        fold_cell(directory, calibration=calibration, accepted=self.options.accept)

    async def _run(
        self,
        at: CellPlan,
        directory: Path,
        boot: Boot,
        *,
        keeper: verify.Reservoir | None,
        done: int,
    ) -> dict[str, Any]:
        early = self._early_ns(at.cell.scenario)
        await anyio.Path(directory).mkdir(parents=True)
        conditions = Conditions(
            target=boot.target,
            # Unique among all sessions that the server ever sees.
            prefix=f"{self.path.name}-{at.cell.id.replace('/', '-')}",
            manifest=documents.cell(
                at, boot, precise=early > 0, declare=self.options.declare
            ),
            early_ns=early,
            stop=self.options.stop,
            alive=boot.alive,
        )
        return await run_cell(
            at,
            directory,
            conditions,
            keeper=keeper,
            on_tick=lambda watch: self._watch(watch, done),
        )

    def _early_ns(self, scenario: Scenario) -> int:
        precise = scenario.precise
        if precise is None:
            median = self.capacity.median_service_ms if self.capacity else None
            precise = median is not None and median < _PRECISE_BELOW_MS
        return _EARLY_NS if precise else 0

    # What others see

    def _write(self, *, complete: bool = False, error: str = "") -> None:
        self.root |= {
            "complete": complete,
            "interrupted": self.options.stopped,
            "error": error or None,
        }
        write_json(self.path / "manifest.json", self.root)
        order = [entry["id"] for entry in self.index]
        write_json(
            self.path / "index.json",
            {"schema": 1, "order": order, "cells": self.index},
        )

    def _tell(self, message: str, *, phase: str = "boot", cell: str = "") -> None:
        done = sum(entry["status"] == "done" for entry in self.index)
        self.options.on_progress(
            Progress(
                message=message,
                cell=cell,
                phase=phase,
                elapsed_s=(monotonic_ns() - self.began_ns) / 1e9,
                done_cells=done,
                all_cells=len(self.order),
            )
        )

    def _watch(self, watch: Watch, done: int) -> None:
        schedule, now = watch.plan.schedule, watch.now_ns - watch.begin_ns
        phase = "warmup" if now < 0 else "measure"
        if now >= schedule.duration_ns:
            phase = "cooldown"
        calibrating = watch.plan.cell.id.startswith("calibration/")
        each_s = (self.scenario.scenario.warmup + self.scenario.scenario.duration) / 1e9
        left = (len(self.order) - done) * each_s
        if not calibrating:
            left -= (now + schedule.warmup_ns) / 1e9
        self.options.on_progress(
            Progress(
                message="calibrating" if calibrating else "",
                cell=watch.plan.cell.id,
                phase="calibrate" if calibrating else phase,
                elapsed_s=(now + schedule.warmup_ns) / 1e9,
                total_s=(schedule.duration_ns + schedule.warmup_ns) / 1e9,
                left_s=max(left, 0.0),
                done_cells=done,
                all_cells=len(self.order),
                in_flight=watch.engine.in_flight,
                populations=watch.recorder.live(),
            )
        )
