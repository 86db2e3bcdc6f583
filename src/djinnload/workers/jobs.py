"""What a run has to do, in words that each of its processes understands the same way.

A `Job` is plain data; a `Planner` turns it into a `CellPlan`. The run and its workers
have a planner each, made from the same scenario, so that plans need not be sent.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from msgspec import Struct, structs

from djinnload import calibrate
from djinnload.errors import ScenarioError
from djinnload.plan import CellPlan, Workshop, plan
from djinnload.scenarios.cells import Cell, cells, skipped
from djinnload.scenarios.load import Scenario

__all__ = ("Given", "Job", "Planner")


class Given(Struct, frozen=True):
    """A cell that is not in the scenario's own order, such as a step of a search.

    Attributes:
        changes: That make the scenario what it is here, by path.
    """

    id: str
    point: str
    point_values: dict[str, Any]
    arm: str
    repeat: int
    seed: int
    changes: dict[str, Any]

    @classmethod
    def of(cls, cell: Cell) -> "Given":
        """Return *cell* in words."""
        return cls(
            id=cell.id,
            point=cell.point,
            point_values=dict(cell.point_values),
            arm=cell.arm,
            repeat=cell.repeat,
            seed=cell.seed,
            changes=dict(cell.scenario.changes),
        )

    def cell(self, scenario: Scenario) -> Cell:
        """Return the cell again, of the run's *scenario*."""
        found = cells(scenario.replace(self.changes), (self.arm,))[0]
        return structs.replace(
            found,
            id=self.id,
            point=self.point,
            point_values=self.point_values,
            repeat=self.repeat,
            seed=self.seed,
        )


class Job(Struct, frozen=True):
    """One schedule to drive: a cell, or a phase of calibration.

    Attributes:
        cell: Its number in the order of the cells.
        capacity: Sessions/s that rates "of capacity" refer to; None: not known yet.
        calibration: ``start-mix``, ``start-solo``, ``end-mix``, ``end-solo``; empty:
            it is a cell.
        given: The cell, if it is not in the order of the scenario.
        warm: A warm-up that is told in sessions is left out: there was one.
    """

    cell: int = 0
    capacity: float | None = None
    calibration: str = ""
    given: Given | None = None
    warm: bool = False


class Planner:
    """Plans the cells of a scenario.

    Args:
        scenario: Of the file.
        arms: As of `djinnload.scenarios.cells.cells`.

    Attributes:
        order: The cells as they run.
        skipped: Cells that arms skip.
        workshop: Shared by all plans.
    """

    def __init__(self, scenario: Scenario, arms: Sequence[str] | None) -> None:
        self.scenario = scenario
        self.order = cells(scenario, arms)
        self.skipped = skipped(scenario, arms)
        self.workshop = Workshop()

    @property
    def arms(self) -> list[str]:
        """Names of the arms that run."""
        return list(dict.fromkeys(cell.arm for cell in self.order))

    def key(self, cell: Cell) -> str:
        """Return what `first` has the plan of a cell like *cell* by."""
        # The steps of a search are alike, and known one after the other.
        return cell.variant if self.scenario.sweeps else cell.arm

    @cached_property
    def first(self) -> Mapping[str, CellPlan]:
        """The plan of the first cell of each arm at each point, by `key`.

        Capacity is pinned or nominal in them.

        Raises:
            ScenarioError: See `djinnload.plan.plan`.
            PluginError: See `djinnload.plan.plan`.
        """
        pinned = calibrate.pinned(self.scenario)
        found: dict[str, CellPlan] = {}
        for cell in self.order:
            if self.key(cell) not in found:
                per_s = pinned.per_s if pinned else None
                found[self.key(cell)] = self._named(cell, per_s)
        return found

    @property
    def calibrated(self) -> CellPlan:
        """The plan, of those in `first`, that calibration goes by."""
        arm = calibrate.arm(self.scenario, self.order)
        return next(each for each in self.first.values() if each.cell.arm == arm)

    def needed(self, left: Iterable[Cell]) -> dict[str, CellPlan]:
        """Return the plans of `first` whose servers the cells *left* need."""
        keys = {self.key(cell) for cell in left}
        if calibrate.needed(self.scenario):
            keys.add(self.key(self.calibrated.cell))
        return {key: each for key, each in self.first.items() if key in keys}

    def plan(self, job: Job) -> CellPlan:
        """Return the plan of a job."""
        found = self._planned(job)
        return structs.replace(found, warmup_sessions=0) if job.warm else found

    def _planned(self, job: Job) -> CellPlan:
        if job.calibration:
            return self._calibration(job.calibration)
        given = job.given
        cell = given.cell(self.scenario) if given else self.order[job.cell]
        return self._cell(cell, job.capacity)

    def _cell(self, cell: Cell, per_s: float | None) -> CellPlan:
        """Plan a cell at the calibrated rates; before calibration at nominal ones."""
        at_rates = calibrate.with_capacity(cell.scenario, per_s or calibrate.NOMINAL)
        return plan(structs.replace(cell, scenario=at_rates), workshop=self.workshop)

    def _named(self, cell: Cell, per_s: float | None) -> CellPlan:
        """Plan a cell; what is wrong with it at one point alone says which."""
        try:
            return self._cell(cell, per_s)
        except ScenarioError as error:
            if not self.scenario.sweeps:
                raise
            reason = f"{error.reason} (at point {cell.point}, arm {cell.arm})"
            raise ScenarioError(error.path, reason) from error

    def _calibration(self, name: str) -> CellPlan:
        """Plan a phase; at the nominal rates: only seed, mix and warm-up count."""
        base = self.calibrated
        mix, wanted = calibrate.weights(self.scenario), self.scenario.calibrate
        when, _, kind = name.partition("-")
        if kind == "mix":
            schedule = calibrate.mixed(
                base.schedule, mix, users=wanted.users, time_ns=wanted.time, when=when
            )
        else:
            solo_ns = round(wanted.time * calibrate.SOLO_SHARE)
            schedule = calibrate.solo(base.schedule, mix, time_ns=solo_ns, when=when)
        cell = structs.replace(base.cell, id=f"calibration/{name}", judged=False)
        return structs.replace(base, schedule=schedule, cell=cell)
