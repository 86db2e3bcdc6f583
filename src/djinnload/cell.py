"""One cell, for real: clock, engine, probes and recorder → its directory.

`drive` does what one process has to do of it; `run_cell` is all of it, in this process.
Everything that a cell leaves behind is on disk when these return or are cancelled: rows
at least every second, the manifest before and after.
"""

import asyncio  # noqa: TID251 - the clock needs the running loop
import gc
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
from msgspec import Struct, structs

from djinnload import engine as engines
from djinnload import scheduling
from djinnload.clock import RealClock
from djinnload.errors import DjinnloadError, HostError
from djinnload.plan import CellPlan
from djinnload.probes.host import HostProbe
from djinnload.recording.link import readings
from djinnload.recording.live import Live
from djinnload.recording.recorder import Probes, Recorder, write_json
from djinnload.sample import Header
from djinnload.schedule import Schedule
from djinnload.session import Keeper
from djinnload.shard import Fault, Part, Shard, announce, conclude
from djinnload.spi import CallbackTarget
from djinnload.units import format_ns

__all__ = (
    "TICK_S",
    "Conditions",
    "Watch",
    "drive",
    "run_cell",
    "undisturbed",
)

#: Between arming everything and the first due time.
LEAD_NS = 50_000_000
#: Between two looks at what is recorded and not sent on yet. Each wakes who writes and
#: takes 30 µs or more: at 10,000/s that makes one of 200 late, and leaves p99 alone.
PUMP_NS = 20_000_000
#: The same where more waits than is sent at a time.
PUMP_ON_NS = 1_000_000
#: What a pump may take: the writer is woken by it.
PUMP_TAKES_NS = 100_000
#: How often the live view is fed.
TICK_S = 0.5
#: How long a thread may keep the GIL from the loop; Python's own 5 ms is a stall.
SWITCH_S = 0.000_1
#: What the loop asks of the kernel's scheduler: it runs seldom and briefly, but then at
#: once, though others on its core (a server) are not at the end of theirs, 3 ms.
SLICE_NS = 100_000
#: New objects between collections. Python's 700 is less than the rows that wait for
#: their batch: it collects some 50 times in 10 s, up to 3 ms each, and finds nothing.
COLLECT_AFTER = 20_000


class Conditions(Struct, frozen=True):
    """What a cell runs against.

    Attributes:
        prefix: Of every session id; unique among all cells that a server ever sees.
        early_ns: Of the precise clock; 0: not precise.
        stop: Interrupts the cell once set.
        alive: Whether the server still answers, as far as can be told.
        part: Of the schedule, and of ``max_in_flight``.
    """

    target: CallbackTarget
    prefix: str
    early_ns: int = 0
    stop: anyio.Event | None = None
    alive: Callable[[], bool] = lambda: True
    part: Part = Part()

    @property
    def stopped(self) -> bool:
        """Whether it was interrupted."""
        return self.stop is not None and self.stop.is_set()


class Watch(Struct, frozen=True):
    """A running cell as the live view sees it.

    Attributes:
        started: Sessions due in measure that have started, by population.
        readings: The newest of each probe, by ``device/name``.
    """

    plan: CellPlan
    begin_ns: int
    now_ns: int
    in_flight: int
    populations: Mapping[str, Live]
    started: Mapping[str, int] = {}
    readings: Mapping[str, float] = {}


async def run_cell(
    plan: CellPlan,
    directory: Path,
    conditions: Conditions,
    manifest: dict[str, Any],
    *,
    keeper: Keeper | None = None,
    on_tick: Callable[[Watch], None] = lambda _: None,
) -> dict[str, Any]:
    """Run one cell into *directory*, in this process; return its manifest.

    Args:
        plan: Of the cell.
        directory: Exists, and is empty.
        conditions: What it runs against.
        manifest: What is known beforehand; written first, completed at the end.
        keeper: Gets the answers that are to be checked.
        on_tick: Called twice a second; must be fast.

    Raises:
        PluginError: A workload or target broke its contract; what was measured is kept.
        HostError: The samples could not be written.
    """
    write_json(directory / "manifest.json", manifest)

    async def agree() -> int:
        return announce(plan, directory, manifest, LEAD_NS)

    shard = await drive(
        plan, directory, conditions, agree, keeper=keeper, on_tick=on_tick
    )
    interrupted = conditions.stopped
    return conclude(plan, directory, manifest, [shard], interrupted=interrupted)


async def drive(
    plan: CellPlan,
    directory: Path,
    conditions: Conditions,
    agree: Callable[[], Awaitable[int]],
    *,
    keeper: Keeper | None = None,
    on_tick: Callable[[Watch], None] = lambda _: None,
) -> Shard:
    """Drive this process's part of a cell, all of it by default.

    Args:
        plan: Of the cell.
        directory: Exists; gets the samples and probes of this part.
        conditions: What it runs against.
        agree: Called once everything is open; returns the begin of measure.
        keeper: As of `run_cell`.
        on_tick: As of `run_cell`.

    Raises:
        HostError: The files cannot be made, or the agreed start is past.
    """
    loop, part = asyncio.get_running_loop(), conditions.part
    with (
        undisturbed(),
        Recorder(directory, _header(plan, part)) as recorder,
        Probes(directory, part.device) as probes,
        RealClock(loop, early_ns=conditions.early_ns) as clock,
    ):

        def seen(phase: _Phase) -> Watch:
            return Watch(
                plan=structs.replace(plan, schedule=phase.schedule),
                begin_ns=phase.begin_ns,
                now_ns=clock.now(),
                in_flight=phase.engine.in_flight,
                populations=recorder.live(),
                started=phase.started(),
                readings=readings(),
            )

        def tick(phase: _Phase) -> bool:
            on_tick(seen(phase))
            # What cannot be written need not be measured.
            return conditions.alive() and not (recorder.error or probes.error)

        given = (plan, conditions, clock, recorder)
        with _pumped(clock, (recorder, probes)):
            seq = 0
            if plan.warmup_sessions:
                schedule = plan.schedule.warmup_of(plan.warmup_sessions)
                warmup = _Phase(*given, schedule, clock.now() + LEAD_NS)
                await warmup.over(tick)
                if warmup.engine.error is not None:
                    raise warmup.engine.error
                seq = warmup.engine.next_seq
            begin = await agree()
            _refuse_past(begin - plan.schedule.warmup_ns - clock.now(), part)
            measure = _Phase(*given, plan.schedule, begin, seq, keeper)
            engine = measure.engine
            with HostProbe(
                clock,
                probes.append,
                in_flight=lambda: engine.in_flight,
                seed=plan.schedule.seed,
                device=part.device,
            ).over(begin, begin + plan.schedule.duration_ns):
                await measure.over(tick)
        finished, polled = clock.now(), clock.polled_ns
        last = seen(measure)
    # Closed: what it has counted is all.
    on_tick(structs.replace(last, populations=recorder.live()))
    tallies = zip(plan.populations, engine.tallies, strict=True)
    return Shard(
        worker=part.worker,
        finished_ns=finished,
        ended_ns=engine.ended_ns,
        polled_ns=polled,
        sessions={population.name: tally for population, tally in tallies},
        echoes=recorder.echoes(),
        alive=conditions.alive(),
        fault=_fault(engine.error, recorder.error or probes.error),
    )


class _Phase:
    """An engine that drives a warm-up, or measure, as soon as it is made."""

    def __init__(  # noqa: PLR0917 - `drive` alone calls it
        self,
        plan: CellPlan,
        conditions: Conditions,
        clock: RealClock,
        recorder: Recorder,
        schedule: Schedule,
        begin_ns: int,
        first_seq: int = 0,
        keeper: Keeper | None = None,
    ) -> None:
        part = conditions.part
        self.schedule = schedule
        self.begin_ns = begin_ns
        self._names = [each.name for each in plan.populations]
        self._conditions = conditions
        self._ended = anyio.Event()
        self.engine = engines.start(
            schedule,
            plan.populations,
            clock=clock,
            target=conditions.target,
            record=recorder.append,
            begin_ns=begin_ns,
            grace_ns=plan.grace_ns,
            session_prefix=conditions.prefix,
            max_in_flight=part.of(plan.max_in_flight),
            shard=(part.worker, part.workers),
            first_seq=first_seq,
            keeper=keeper,
            on_end=self._ended.set,
        )

    def started(self) -> dict[str, int]:
        tallies = zip(self._names, self.engine.tallies, strict=True)
        return {name: tally.started for name, tally in tallies}

    async def over(self, tick: Callable[["_Phase"], bool]) -> None:
        """Wait for the end, a *tick* at times; interrupt on stop, or if it says."""
        stop, ended = self._conditions.stop, self._ended
        try:
            async with anyio.create_task_group() as tasks:
                if stop is not None:
                    tasks.start_soon(self._interrupt_on, stop)
                while not ended.is_set():
                    with anyio.move_on_after(TICK_S):
                        await ended.wait()
                    if not tick(self):
                        self.engine.interrupt()
                tasks.cancel_scope.cancel()
        finally:
            # Cancelled from outside: the rows of what is in flight are still written.
            if not ended.is_set():
                self.engine.interrupt()

    async def _interrupt_on(self, stop: anyio.Event) -> None:
        await stop.wait()
        self.engine.interrupt()


@contextmanager
def _pumped(clock: RealClock, recordings: tuple[Recorder, Probes]) -> Iterator[None]:
    """Send on what is recorded, between the requests."""
    on, waited = True, False

    def tick() -> None:
        nonlocal waited
        due = clock.next_ns()
        # What is due meanwhile would be late: it goes first, once.
        waited = not waited and due is not None and due < clock.now() + PUMP_TAKES_NS
        if waited and due is not None:
            clock.at(due, tick)
        elif on:
            # All of them, each time.
            more = [each.pump() for each in recordings]
            clock.at(clock.now() + (PUMP_ON_NS if any(more) else PUMP_NS), tick)

    tick()
    try:
        yield
    finally:
        on = False


def _header(plan: CellPlan, part: Part) -> Header:
    return Header(
        cell=plan.cell.id,
        point=plan.cell.point,
        arm=plan.cell.arm,
        repeat=plan.cell.repeat,
        populations=plan.labels,
        worker=part.worker,
    )


def _refuse_past(ahead_ns: int, part: Part) -> None:
    """Raise HostError rather than begin later than the others did, or was written."""
    if ahead_ns <= 0:
        late = format_ns(-ahead_ns)
        raise HostError(
            f"worker {part.worker} was ready {late} after the agreed start; "
            "free the host, or use fewer workers"
        )


def _fault(error: DjinnloadError | None, lost: Exception | None) -> Fault | None:
    if error is None and lost is not None:
        text = f"cannot write samples: {lost}; what was written is readable"
        error = HostError(text)
    return None if error is None else Fault.of(error)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the collector off what planning made, and other threads off the GIL."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, *thresholds[1:])
    sys.setswitchinterval(SWITCH_S)
    short = scheduling.use_slice(SLICE_NS)
    try:
        yield
    finally:
        if short:
            scheduling.use_slice(0)
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
        gc.unfreeze()
