"""Capacity: the plan that finds it, what its samples say, and rates made from it; pure.

Calibration is a closed loop of the whole mix on one arm, then one user alone. Capacity
is the median over `BLOCKS` equal blocks of ok sessions/s, counted where they end; every
arm gets the rates that follow from it, so the work offered is the same in all arms.
"""

import hashlib
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from djinnload.errors import ScenarioError, TargetError
from djinnload.sample import MEASURE
from djinnload.scenarios import rates
from djinnload.scenarios.cells import Cell
from djinnload.scenarios.load import Scenario
from djinnload.schedule import Closed, Schedule
from djinnload.spi import Outcome

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = (
    "BLOCKS",
    "NOMINAL",
    "SOLO_SHARE",
    "Capacity",
    "Solo",
    "arm",
    "document",
    "drift",
    "mixed",
    "needed",
    "pinned",
    "read",
    "solo",
    "weights",
    "with_capacity",
)

#: Sessions/s that stand for capacity before it is known.
NOMINAL = rates.NOMINAL
BLOCKS = 5
#: Of calibrate.time, for the phase with one user alone.
SOLO_SHARE = 0.4
_NS_PER_MS = 1e6


class Solo(Struct, frozen=True):
    """What a population's turns take with one user alone on the server.

    Attributes:
        service_ms: Mean over ok turns of sent to done, summed over a turn's requests.
        exec_ms: The server's word for it; None if it says nothing.
        n: Ok turns.
    """

    service_ms: float
    exec_ms: float | None
    n: int


class Capacity(Struct, frozen=True):
    """What the server can do.

    Attributes:
        per_s: Ok sessions/s of the mix.
        blocks_per_s: Of each block; empty if pinned.
        spread: (largest − smallest block) ÷ median; None if pinned.
        solo: By population.
        median_service_ms: Of all turns with one user alone; None if unknown.
    """

    per_s: float
    blocks_per_s: tuple[float, ...] = ()
    spread: float | None = None
    solo: Mapping[str, Solo] = {}
    median_service_ms: float | None = None

    @property
    def pinned(self) -> bool:
        """Whether the scenario says it and nothing was measured."""
        return not self.blocks_per_s


def needed(scenario: Scenario) -> bool:
    """Return whether a rate refers to a capacity that has to be measured."""
    return scenario.calibrate.capacity is None and _relative(scenario)


def pinned(scenario: Scenario) -> Capacity | None:
    """Return the capacity that the scenario pins; None if it pins none."""
    per_s = scenario.calibrate.capacity
    return None if per_s is None else Capacity(per_s)


def arm(scenario: Scenario, order: Sequence[Cell]) -> str:
    """Return the arm to calibrate: the named one, or the file's first that is chosen.

    Args:
        scenario: Names it, maybe.
        order: Of the cells to run, not empty.
    """
    chosen = {cell.arm for cell in order}
    named = [scenario.calibrate.arm, *(each.name for each in scenario.arms)]
    found = (name for name in named if name in chosen)
    return next(found, None) or order[0].arm


def weights(scenario: Scenario) -> tuple[tuple[int, float], ...]:
    """Return (index, part of capacity) of the populations that take part in the mix.

    The part of ``per = "user"`` streams is that of all users together; that of an
    arrival with several such rates, the largest.

    Raises:
        ScenarioError: No rate is of capacity, so there is no mix.
    """
    found = tuple(
        (i, part * (population.users if isinstance(population.users, int) else 1))
        for i, population in enumerate(scenario.populations)
        for part in [rates.part(population.arrival)]
        if part is not None
    )
    if not found:
        reason = "no rate of an arrival is of capacity, there is nothing to calibrate"
        raise ScenarioError("$.calibrate", reason)
    return found


def mixed(
    schedule: Schedule,
    mix: Sequence[tuple[int, float]],
    *,
    users: int,
    time_ns: int,
    when: str = "start",
) -> Schedule:
    """Return the closed loop of the whole mix.

    Args:
        schedule: Of the cell that calibration stands for; gives seed and warm-up.
        mix: From `weights`.
        users: Of the loop.
        time_ns: Of measure.
        when: ``start`` or ``end`` of the run; each draws numbers of its own.
    """
    source = Closed(users, tuple(mix))
    seed = _seed(schedule.seed, f"{when}-mix")
    return Schedule(seed, (source,), schedule.warmup_ns, time_ns)


def solo(
    schedule: Schedule,
    mix: Sequence[tuple[int, float]],
    *,
    time_ns: int,
    when: str = "start",
) -> Schedule:
    """Return the loop of one user alone, who draws every population equally often.

    Args:
        schedule: As of `mixed`.
        mix: As of `mixed`; only who takes part counts.
        time_ns: Of measure.
        when: As of `mixed`.
    """
    source = Closed(1, tuple((index, 1.0) for index, _ in mix))
    seed = _seed(schedule.seed, f"{when}-solo")
    return Schedule(seed, (source,), schedule.warmup_ns, time_ns)


def read(
    mix: "pa.Table",
    alone: "pa.Table | None",
    *,
    begin_ns: int,
    duration_ns: int,
) -> Capacity:
    """Return what the samples of a calibration say.

    Args:
        mix: Samples of the closed mix, as `djinnload.sample.schema`.
        alone: Samples of one user alone; None: that phase was left out.
        begin_ns: Of the mix's measure, on the clock of its samples.
        duration_ns: Of the mix's measure.

    Raises:
        TargetError: In more than half of the blocks no session was ok.
    """
    counts = [0] * BLOCKS
    for done_ns in _ends(_rows(mix)):
        index = (done_ns - begin_ns) * BLOCKS // duration_ns
        if 0 <= index < BLOCKS:
            counts[index] += 1
    blocks = tuple(count * BLOCKS * 1e9 / duration_ns for count in counts)
    per_s = statistics.median(blocks)
    if per_s == 0:
        reason = f"{sum(counts)} sessions were ok in {duration_ns / 1e9:g} s"
        raise TargetError(f"calibration: {reason}, capacity cannot be told")
    turns = _turns(_rows(alone)) if alone is not None else {}
    services = [turn.service_ns for found in turns.values() for turn in found]
    return Capacity(
        per_s=per_s,
        blocks_per_s=blocks,
        spread=(max(blocks) - min(blocks)) / per_s,
        solo={name: _solo(found) for name, found in sorted(turns.items())},
        median_service_ms=statistics.median(services) / _NS_PER_MS
        if services
        else None,
    )


def drift(start: Capacity, end: Capacity) -> float:
    """Return how much capacity changed over the run: (end − start) ÷ start."""
    return (end.per_s - start.per_s) / start.per_s


def with_capacity(scenario: Scenario, per_s: float) -> Scenario:
    """Return *scenario* with every "X of capacity" as X × load × capacity, in plain /s.

    A capacity that the scenario pins wins over *per_s*.

    Args:
        scenario: Of the file, or as an arm runs it.
        per_s: Sessions/s, > 0.

    Raises:
        ScenarioError: *per_s* is no rate.
    """
    given = scenario.calibrate.capacity
    return scenario.at_capacity(per_s if given is None else given)


def document(
    capacity: Capacity,
    *,
    arm: str,
    scenario: Scenario,
    end: Capacity | None = None,
) -> dict[str, Any]:
    """Return ``calibration.json``.

    Args:
        capacity: Measured before the first cell, or pinned.
        arm: That was calibrated.
        scenario: Of the file.
        end: Measured again after the last cell.
    """
    again = None
    if end is not None:
        again = {
            "capacity_per_s": end.per_s,
            "blocks_per_s": list(end.blocks_per_s),
            "drift": drift(capacity, end),
        }
    return {
        "schema": 1,
        "arm": arm,
        "arm_named": scenario.calibrate.arm,
        "users": scenario.calibrate.users,
        "capacity_per_s": capacity.per_s,
        "pinned": capacity.pinned,
        "blocks_per_s": list(capacity.blocks_per_s),
        "spread": capacity.spread,
        "solo": {
            name: {"service_ms": each.service_ms, "exec_ms": each.exec_ms, "n": each.n}
            for name, each in capacity.solo.items()
        },
        "end": again,
        "median_service_ms": capacity.median_service_ms,
    }


def restored(found: Mapping[str, Any]) -> Capacity | None:
    """Return the capacity of a ``calibration.json``; None if there is none in it."""
    if found.get("capacity_per_s") is None:
        return None
    return Capacity(
        per_s=found["capacity_per_s"],
        blocks_per_s=tuple(found["blocks_per_s"]),
        spread=found["spread"],
        solo={name: Solo(**each) for name, each in found["solo"].items()},
        median_service_ms=found["median_service_ms"],
    )


class _Row(NamedTuple):
    population: str
    user: int
    session: int
    turn: int
    session_end: bool
    phase: str
    sent_ns: int | None
    done_ns: int | None
    outcome: str
    server_exec_ns: float | None


class _Turn(NamedTuple):
    service_ns: int
    exec_ns: float | None


def _rows(table: "pa.Table") -> Iterable[_Row]:
    columns = (table.column(name).to_pylist() for name in _Row._fields)
    return map(_Row._make, zip(*columns, strict=True))


def _ends(rows: Iterable[_Row]) -> list[int]:
    """Return when each session that was ok throughout was done.

    Of whatever phase: what ends in the window was work done in it.
    """
    bad, ends = set(), {}
    for row in rows:
        key = (row.population, row.user, row.session)
        if row.outcome != Outcome.OK:
            bad.add(key)
        elif row.session_end and row.done_ns is not None:
            ends[key] = row.done_ns
    return [done for key, done in ends.items() if key not in bad]


def _turns(rows: Iterable[_Row]) -> dict[str, list[_Turn]]:
    """Return the ok turns of measure by population."""
    parts: dict[tuple[str, int, int, int], list[_Row]] = defaultdict(list)
    for row in rows:
        if row.phase == MEASURE:
            parts[row.population, row.user, row.session, row.turn].append(row)
    found: dict[str, list[_Turn]] = defaultdict(list)
    for (population, *_), requests in parts.items():
        if turn := _turn(requests):
            found[population].append(turn)
    return found


def _turn(requests: Sequence[_Row]) -> _Turn | None:
    service, executing = 0, 0.0
    known = True
    for row in requests:
        if row.outcome != Outcome.OK or row.sent_ns is None or row.done_ns is None:
            return None
        service += row.done_ns - row.sent_ns
        known = known and row.server_exec_ns is not None
        executing += row.server_exec_ns or 0.0
    return _Turn(service, executing if known else None)


def _solo(turns: Sequence[_Turn]) -> Solo:
    known = [turn.exec_ns for turn in turns if turn.exec_ns is not None]
    return Solo(
        service_ms=statistics.fmean(t.service_ns for t in turns) / _NS_PER_MS,
        exec_ms=statistics.fmean(known) / _NS_PER_MS if known else None,
        n=len(turns),
    )


def _relative(scenario: Scenario) -> bool:
    return any(rates.relative(each.arrival) for each in scenario.populations)


def _seed(seed: int, purpose: str) -> int:
    digest = hashlib.sha256(f"{seed}/calibrate/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
