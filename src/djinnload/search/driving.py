"""Drives a search: each cell that `search.machine` asks for, on servers booted once.

A search is a run whose cells are decided as it goes on: all of `djinnload.runner.run`
holds. Its directory holds ``search.json`` besides.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
from msgspec import structs

from djinnload import runner
from djinnload.clock import monotonic_ns
from djinnload.errors import ScenarioError
from djinnload.reading.files import read_json, write_json
from djinnload.result import Result
from djinnload.scenarios import rates, search_range
from djinnload.scenarios.cells import Cell, cells, seed_of
from djinnload.scenarios.load import Scenario, load
from djinnload.scenarios.schema import Search as Asked
from djinnload.search.machine import Step
from djinnload.search.summary import FILE, Played, asked_range, fold
from djinnload.summary.fold import read_cell
from djinnload.units import format_ns

__all__ = ("search",)


async def search(
    scenario: Scenario | Path | str,
    *,
    arms: Sequence[str] | None = None,
    accept: Sequence[str] = (),
    **options: Any,
) -> Result:
    """Find the highest load that meets the objectives, inside the caller's event loop.

    Args:
        scenario: With ``[search]``; one that is loaded, a path, or a shipped name.
        arms: The one to search with; not needed where there is one.
        accept: Codes that shall not void; recorded.
        options: As of `djinnload.runner.run`.

    Returns:
        Its summary has ``search``, which is ``search.json``; also if the search is
        void, interrupted or broke off.

    Raises:
        ScenarioError: Scenario, arm or argument is wrong; nothing was opened.
    """
    loaded = scenario if isinstance(scenario, Scenario) else load(scenario)
    if (seed := options.pop("seed", None)) is not None:
        loaded = loaded.replace({"scenario.seed": seed})
    course = _Course(loaded, arms, accept)
    result = await runner.run(
        loaded, arms=arms, accept=accept, course=course, **options
    )
    if not (result.path / FILE).is_file():
        # It broke off, or was interrupted, before a cell had come to anything.
        course.write(result.path)
    summary = await anyio.to_thread.run_sync(fold, result.path, result.summary)
    return structs.replace(result, summary=summary)


class _Course:
    """The cells of a search, one after the other."""

    def __init__(
        self, scenario: Scenario, arms: Sequence[str] | None, accept: Sequence[str]
    ) -> None:
        self._scenario = scenario
        self._arms = arms
        self._accept = accept
        self._asked = _asked(scenario)
        counted = sum(len(each.objectives) for each in scenario.populations)
        self._played = Played(self._asked.path, asked_range(self._asked, counted))
        self._began_ns = monotonic_ns()
        self._number = 0
        self.first = self._next_cell()

    async def after(self, run_dir: Path, entry: Mapping[str, Any]) -> Cell | None:
        """Return the next cell; see `djinnload.result.Course`."""
        found = await anyio.to_thread.run_sync(self._read, run_dir, entry)
        if found.evidence is None:
            return None
        self._played.take(found)
        self._stop_in_time()
        self.write(run_dir)
        return None if self._played.search.step is None else self._next_cell()

    def write(self, run_dir: Path) -> None:
        """Write ``search.json``, as far as the search got."""
        write_json(run_dir / FILE, self._played.document())

    def _read(self, run_dir: Path, entry: Mapping[str, Any]) -> Any:
        path = run_dir / "calibration.json"
        calibration = read_json(path) if path.is_file() else None
        return read_cell(run_dir, entry, calibration, self._accept, write=False)

    def _stop_in_time(self) -> None:
        search = self._played.search
        if (step := search.step) is None:
            return
        run = self._scenario.scenario
        needed = run.warmup + step.lengths * run.duration
        if monotonic_ns() - self._began_ns + needed > self._asked.time:
            limit = format_ns(self._asked.time)
            search.stop(f"the bound on time of {limit} is reached")

    def _next_cell(self) -> Cell:
        step = self._played.search.step
        assert step is not None  # noqa: S101 - asked for only while there is one
        cell = _cell(self._scenario, self._arms, self._asked.path, step)
        # Fresh in every cell: a load that is measured again is new evidence.
        seed = seed_of(self._scenario.scenario.seed, self._number)
        self._number += 1
        return structs.replace(cell, seed=seed)


def _asked(scenario: Scenario) -> Asked:
    if scenario.search is None:
        reason = "is missing, a search needs path, low and high; see docs/search.md"
        raise ScenarioError("$.search", reason)
    if scenario.sweeps:
        reason = "a search drives one load after the other itself, leave sweeps out"
        raise ScenarioError("$.sweep", reason)
    relative = any(rates.relative(each.arrival) for each in scenario.populations)
    # Not a rule of scenario files: a calibrated one has plain rates in their place.
    if scenario.search.path == search_range.LOAD and not relative:
        reason = "no rate is of capacity, so load changes nothing"
        raise ScenarioError("$.search.path", reason)
    return scenario.search


def _cell(
    scenario: Scenario, arms: Sequence[str] | None, path: str, step: Step
) -> Cell:
    """Return the cell of a step; its seed is not decided yet."""
    value = search_range.value(path, step.load)
    duration = f"{step.lengths * scenario.scenario.duration}ns"
    changes = {path: value, "scenario.duration": duration, "scenario.repeats": 1}
    found = cells(scenario.replace(changes), arms)
    if len(found) > 1:
        names = ", ".join(cell.arm for cell in found)
        reason = f"a search drives one arm, choose one with --arm NAME ({names})"
        raise ScenarioError("--arm", reason)
    point = f"p{step.probe:02d}-{step.load:.6g}"
    return structs.replace(
        found[0],
        id=f"{point}/{found[0].arm}/r{step.cell:02d}",
        point=point,
        repeat=step.cell,
        point_values={path: value},
    )
