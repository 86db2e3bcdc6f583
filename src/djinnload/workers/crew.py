"""The workers of a run, as the run sees them: started, told, heard, ended.

Each is a process with a loop, a target and files of its own that drives part i of n of
every schedule (`workers.worker`). Here is one agreed start, the sum of what they count,
 and what to do when one of them dies.
"""

import sys
from collections import ChainMap
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import anyio
import anyio.abc

from djinnload import manifest
from djinnload.cell import TICK_S, Conditions, Watch
from djinnload.clock import monotonic_ns
from djinnload.errors import DjinnloadError, HostError, LocalProtocolError
from djinnload.plan import CellPlan
from djinnload.recording import live
from djinnload.recording.link import readings
from djinnload.recording.recorder import write_json
from djinnload.shard import Part, Shard, announce, conclude
from djinnload.signatures import CLOCK
from djinnload.spi import Call, CallbackTarget, Proof, Reply, Target
from djinnload.units import SECOND
from djinnload.workers import messages
from djinnload.workers.jobs import Job, Planner
from djinnload.workers.member import PATIENCE_S, Member, started
from djinnload.workers.messages import Count, Ended, Identity, Opened, Prepared

__all__ = ("Crew", "Elsewhere", "crewed")

#: Between telling the workers when to begin and the first due time.
LEAD_NS: Final = 200_000_000
#: A worker that is so late to end, after the grace or a stop, is hung: it is killed.
HUNG_NS: Final = 20 * SECOND


class Elsewhere:
    """Stands for a target that the workers hold open.

    Attributes:
        gone: Whether one of them has lost its server.
    """

    def __init__(self, *, streams: bool) -> None:
        self.streams = streams
        self.gone = False

    def lost(self) -> bool:
        """Return whether the server is gone."""
        return self.gone

    def submit(self, call: Call, on_reply: Callable[[Reply], None]) -> NoReturn:
        """Refuse: the workers do that."""
        raise LocalProtocolError("the target is open in the workers, not here")

    def end_session(self, session_id: str) -> None:
        """Do nothing: the workers do that."""


@asynccontextmanager
async def crewed(
    planner: Planner, cores: Sequence[tuple[int, ...]] | None, directory: Path
) -> AsyncIterator["Crew"]:
    """Start the workers that the scenario asks for; end them at the end.

    Args:
        planner: Of the run.
        cores: Of each worker, from `djinnload.affinity`; None: any.
        directory: Of the run; gets ``worker-<k>.log`` of one that has something to say.

    Raises:
        HostError: One did not start, or reads another clock.
        DjinnloadError: One cannot plan what the run can.
    """
    workers = planner.scenario.scenario.workers
    async with AsyncExitStack() as stack:
        members = []
        for number in range(workers):
            log = directory / f"worker-{number}.log"
            each = await started(Part(number, workers), log)
            stack.push_async_callback(each.end)
            members.append(each)
        crew = Crew(members)
        await crew.set_up(planner, cores)
        yield crew


class Crew:
    """Workers that have been started; see `crewed`."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members

    async def set_up(
        self, planner: Planner, cores: Sequence[tuple[int, ...]] | None
    ) -> None:
        """Tell each what the run is; `crewed` calls it."""
        scenario = planner.scenario
        _ = planner.first  # what is wrong is said here, not by each worker

        async def one(member: Member) -> None:
            order = messages.Setup(
                text=scenario.text,
                path=scenario.path,
                changes=dict(scenario.changes),
                arms=planner.arms,
                sys_path=sys.path,
                part=member.part,
                cores=cores[member.part.worker] if cores is not None else None,
            )
            member.identity = await member.ask(order, Identity)
            _refuse_stranger(member.identity, member.name)

        await self._each(one)

    @asynccontextmanager
    async def driving(
        self, boot: str, arm: str, target: str | Target, register: str
    ) -> AsyncIterator[tuple[CallbackTarget, Proof]]:
        """Have each worker open a target of its own: a `boots.servers.Driver`.

        Args:
            boot: What it is called from here on.
            arm: Key, in the planner's `first`, of any plan that shares it.
            target: Its address.
            register: See `djinnload.boots.servers.driving`; every worker registers.
        """
        address = target if isinstance(target, str) else ""
        order = messages.Open(boot, arm, address, register)
        opened: dict[int, Opened] = {}

        async def one(member: Member) -> None:
            opened[member.part.worker] = await member.ask(order, Opened)

        # The first alone: that the models are there spares the server the others' rush.
        await one(self._members[0])
        await self._each(one, self._members[1:])
        proof, spent = opened[0].proof, {"sent": 0, "received": 0}
        for each in opened.values():
            for name, nbytes in each.proof.registration.items():
                spent[name] = spent.get(name, 0) + nbytes
        # It is no target that could be opened; types would want that.
        stand_in = cast("CallbackTarget", Elsewhere(streams=opened[0].streams))
        try:
            yield stand_in, Proof(proof.kind, proof.evidence, spent)
        finally:
            await self._close(boot)

    async def _close(self, boot: str) -> None:
        """Have the targets closed while their server is still there; the run is over.

        One that cannot, because it is dead or hung, ends with its process.
        """

        async def one(member: Member) -> None:
            await member.ask(messages.Close(boot), messages.Closed)

        with anyio.move_on_after(PATIENCE_S, shield=True), suppress(DjinnloadError):
            await self._tell(messages.Stop())
            await self._each(one)

    async def run_cell(
        self,
        job: Job,
        plan: CellPlan,
        directory: Path,
        conditions: Conditions,
        document: dict[str, Any],
        *,
        boot: str,
        on_tick: Callable[[Watch], None],
    ) -> dict[str, Any]:
        """Have *job* driven; as `djinnload.cell.run_cell`.

        Args:
            job: What it is.
            plan: Of the job.
            directory: As there.
            conditions: As there; ``part`` is each worker's own.
            document: The manifest, as there.
            boot: Whose target is driven.
            on_tick: As there.

        Raises:
            HostError: A worker died; the others were stopped, what they have is kept.
            DjinnloadError: As there.
        """
        write_json(directory / "manifest.json", document)
        document["workers"] = [
            member.identity.signed(member.part) for member in self._members
        ]
        where = str(Path.cwd() / directory)
        order = messages.Prepare(
            job, boot, where, conditions.prefix, conditions.early_ns
        )

        async def one(member: Member) -> None:
            await member.ask(order, Prepared)

        await self._each(one, stop=conditions.stop)  # warm-up may take long
        begin = announce(plan, directory, document, LEAD_NS)
        await self._tell(messages.Begin(begin))
        flight = _Flight(self._members, plan, begin)
        await flight.watch(conditions, on_tick)
        return conclude(
            plan,
            directory,
            document,
            flight.shards,
            interrupted=conditions.stopped,
            broken=flight.broken,
        )

    async def _stop_on(self, stop: anyio.Event) -> None:
        await stop.wait()
        await self._tell(messages.Stop())

    async def _each(
        self,
        act: Callable[[Member], Any],
        members: Sequence[Member] | None = None,
        *,
        stop: anyio.Event | None = None,
    ) -> None:
        """Do something with all workers at once; raise the first that goes wrong.

        Args:
            act: What is done with each.
            members: Instead of all.
            stop: All are told to stop once it is set.
        """
        async with anyio.create_task_group() as tasks:
            if stop is not None:
                tasks.start_soon(self._stop_on, stop)
            failed = await self._at_once(
                act, self._members if members is None else members
            )
            tasks.cancel_scope.cancel()
        if failed:
            raise failed[0]

    async def _at_once(
        self, act: Callable[[Member], Any], members: Sequence[Member]
    ) -> list[DjinnloadError]:
        failed: list[DjinnloadError] = []

        async def one(member: Member) -> None:
            try:
                await act(member)
            except DjinnloadError as error:
                failed.append(error)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for member in members:
                tasks.start_soon(one, member)
        return failed

    async def _tell(self, order: messages.Order) -> None:
        for member in self._members:
            await member.tell(order)


def _refuse_stranger(found: Identity, name: str) -> None:
    """Raise HostError if times of that worker cannot be compared with ours."""
    here = manifest.anchor()
    for key, what in CLOCK.items():
        theirs, ours = getattr(found, key), here[key]
        if theirs != ours:
            reason = f"its {what} is {theirs}, not {ours}"
            raise HostError(f"{name} reads another clock than the run: {reason}")


class _Flight:
    """One job under way in all workers.

    Attributes:
        shards: Of those that came to an end.
        broken: The first thing that kept one from it.
    """

    def __init__(
        self, members: Sequence[Member], plan: CellPlan, begin_ns: int
    ) -> None:
        self.shards: list[Shard] = []
        self.broken: DjinnloadError | None = None
        self._members = members
        self._plan = plan
        self._begin = begin_ns
        self._flying = set(members)
        for member in members:
            member.count = Count(0, {}, alive=True)
        self._over = anyio.Event()
        self._limit = begin_ns + plan.schedule.duration_ns + plan.grace_ns + HUNG_NS

    async def watch(
        self, conditions: Conditions, on_tick: Callable[[Watch], None]
    ) -> None:
        """Follow all until the last has ended; stop all once anything is wrong."""
        async with anyio.create_task_group() as tasks:
            for member in self._members:
                tasks.start_soon(self._follow, member, conditions.target)
            if conditions.stop is not None:
                tasks.start_soon(self._stop_on, conditions.stop)
            while not self._over.is_set():
                with anyio.move_on_after(TICK_S):
                    await self._over.wait()
                on_tick(self._seen())
                if not conditions.alive():
                    await self._stop()
                self._kill_hung()
            tasks.cancel_scope.cancel()
        self.shards.sort(key=lambda shard: shard.worker)

    async def _follow(self, member: Member, target: CallbackTarget) -> None:
        try:
            while not isinstance(report := await member.hear(), Ended):
                if isinstance(report, Count):
                    member.count = report
                    self._note(target)
            self.shards.append(report.shard)
            broken = report.shard.fault is not None
        except DjinnloadError as error:
            self.broken, broken = self.broken or error, True
        self._flying.discard(member)
        if broken:
            await self._stop()
        if not self._flying:
            self._over.set()

    def _note(self, target: CallbackTarget) -> None:
        if isinstance(target, Elsewhere):
            target.gone = not all(member.count.alive for member in self._members)

    async def _stop_on(self, stop: anyio.Event) -> None:
        await stop.wait()
        await self._stop()

    async def _stop(self) -> None:
        self._limit = min(self._limit, monotonic_ns() + HUNG_NS)
        for member in tuple(self._flying):
            await member.tell(messages.Stop())

    def _kill_hung(self) -> None:
        if monotonic_ns() > self._limit:
            for member in self._flying:
                member.process.kill()

    def _seen(self) -> Watch:
        counts = [member.count for member in self._members]
        names = {name for count in counts for name in count.populations}
        return Watch(
            self._plan,
            self._begin,
            monotonic_ns(),
            sum(count.in_flight for count in counts),
            {
                population.name: live.merged(
                    [c.populations[population.name] for c in counts if c.populations]
                )
                for population in self._plan.populations
                if population.name in names
            },
            started={
                population.name: sum(c.started.get(population.name, 0) for c in counts)
                for population in self._plan.populations
            },
            readings=dict(ChainMap(readings(), *(c.readings for c in counts))),
        )
