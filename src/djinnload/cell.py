"""One cell, for real: clock, engine, probes and recorder → its directory.

Everything that a cell leaves behind is on disk when `run_cell` returns or is cancelled:
rows at least every second, the manifest before and after.
"""

import asyncio  # noqa: TID251 - the clock needs the running loop
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
from msgspec import Struct, structs

from djinnload import engine as engines
from djinnload.clock import RealClock
from djinnload.errors import DjinnloadError, HostError
from djinnload.plan import CellPlan
from djinnload.probes.host import HostProbe
from djinnload.recorder import Probes, Recorder, write_json
from djinnload.sample import Header
from djinnload.session import Keeper
from djinnload.spi import CallbackTarget

__all__ = ("Conditions", "Watch", "run_cell", "undisturbed")

#: Between arming everything and the first due time.
LEAD_NS = 50_000_000
#: How often the live view is fed.
TICK_S = 0.5
#: How long a thread may keep the GIL from the loop; Python's own 5 ms is a stall.
SWITCH_S = 0.000_1
#: New objects between collections. Python's 700 is less than the rows that wait for
#: their batch: it collects some 50 times in 10 s, up to 3 ms each, and finds nothing.
COLLECT_AFTER = 20_000


class Conditions(Struct, frozen=True):
    """What a cell runs against.

    Attributes:
        prefix: Of every session id; unique among all cells that a server ever sees.
        early_ns: Of the precise clock; 0: not precise.
        manifest: What is known beforehand; written first, completed at the end.
        stop: Interrupts the cell once set.
        alive: Whether the server that we started still runs.
    """

    target: CallbackTarget
    prefix: str
    manifest: dict[str, Any]
    early_ns: int = 0
    stop: anyio.Event | None = None
    alive: Callable[[], bool] = lambda: True


class Watch(Struct):
    """A running cell as the live view sees it."""

    plan: CellPlan
    recorder: Recorder
    engine: engines.Engine
    begin_ns: int
    now_ns: int


async def run_cell(
    plan: CellPlan,
    directory: Path,
    conditions: Conditions,
    *,
    keeper: Keeper | None = None,
    on_tick: Callable[[Watch], None] = lambda _: None,
) -> dict[str, Any]:
    """Run one cell into *directory* and return its manifest.

    Raises:
        PluginError: A workload or target broke its contract; what was measured is kept.
        HostError: The samples could not be written.
    """
    manifest = {**conditions.manifest, "complete": False}
    write_json(directory / "manifest.json", manifest)
    header = Header(
        cell=plan.cell.id,
        point=plan.cell.point,
        arm=plan.cell.arm,
        repeat=plan.cell.repeat,
        populations=plan.labels,
    )
    loop = asyncio.get_running_loop()
    with (
        Recorder(directory, header) as recorder,
        Probes(directory) as probes,
        RealClock(loop, early_ns=conditions.early_ns) as clock,
    ):
        schedule = plan.schedule
        begin = clock.now() + LEAD_NS + schedule.warmup_ns
        ended = anyio.Event()
        with undisturbed():
            engine = engines.start(
                schedule,
                plan.populations,
                clock=clock,
                target=conditions.target,
                record=recorder.append,
                begin_ns=begin,
                grace_ns=plan.grace_ns,
                session_prefix=conditions.prefix,
                max_in_flight=plan.max_in_flight,
                keeper=keeper,
                on_end=ended.set,
            )
            host = HostProbe(
                clock,
                probes.append,
                in_flight=lambda: engine.in_flight,
                seed=schedule.seed,
            )
            host.start(begin, begin + schedule.duration_ns)
            watch = Watch(plan, recorder, engine, begin, clock.now())
            try:
                await _until(ended, watch, clock, conditions, on_tick)
            finally:
                host.stop()
        finished, polled = clock.now(), clock.polled_ns
    stopped = conditions.stop is not None and conditions.stop.is_set()
    died = not conditions.alive()
    lost = recorder.error or probes.error
    manifest |= {
        "complete": engine.error is None and lost is None and not died,
        "interrupted": stopped,
        "error": str(engine.error or lost or "") or None,
        "window": {
            "begin_ns": begin,
            "end_ns": begin + schedule.duration_ns,
            "warmup_ns": schedule.warmup_ns,
            "grace_ns": plan.grace_ns,
            "finished_ns": finished,
        },
        "sessions": {
            population.name: structs.asdict(tally)
            for population, tally in zip(plan.populations, engine.tallies, strict=True)
        },
        "dropped": sum(tally.dropped for tally in engine.tallies),
        "polled_ns": polled,
    }
    manifest["proof"] = {**manifest["proof"], "echoes": recorder.echoes()}
    _write_if_possible(directory / "manifest.json", manifest, lost)
    _raise_failures(engine.error, lost)
    return manifest


def _write_if_possible(
    path: Path, manifest: dict[str, Any], lost: Exception | None
) -> None:
    try:
        write_json(path, manifest)
    except OSError as error:
        raise HostError(f"cannot write {path}: {error}") from (lost or error)


def _raise_failures(error: DjinnloadError | None, lost: Exception | None) -> None:
    if error is not None:
        raise error
    if lost is not None:
        raise HostError(f"cannot write samples: {lost}; what was written is readable")


async def _until(
    ended: anyio.Event,
    watch: Watch,
    clock: RealClock,
    conditions: Conditions,
    on_tick: Callable[[Watch], None],
) -> None:
    """Wait for the end, feeding the live view; interrupt on stop or a dead server."""
    try:
        async with anyio.create_task_group() as tasks:
            if conditions.stop is not None:
                tasks.start_soon(_interrupt_on, conditions.stop, watch.engine)
            while not ended.is_set():
                with anyio.move_on_after(TICK_S):
                    await ended.wait()
                watch.now_ns = clock.now()
                on_tick(watch)
                if not conditions.alive():
                    watch.engine.interrupt()
            tasks.cancel_scope.cancel()
    finally:
        # Cancelled from outside: the rows of what is in flight are still written.
        if not ended.is_set():
            watch.engine.interrupt()


async def _interrupt_on(stop: anyio.Event, engine: engines.Engine) -> None:
    await stop.wait()
    engine.interrupt()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the collector off what planning made, and other threads off the GIL."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, *thresholds[1:])
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
        gc.unfreeze()
