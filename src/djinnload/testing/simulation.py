"""Simulated time: a scripted server, and a schedule run against it."""

from collections.abc import Callable, Generator, Mapping
from heapq import heappop, heappush
from random import Random
from typing import Any

from msgspec import Struct

from djinnload import engine
from djinnload.clock import SimulatedClock
from djinnload.pacing import Constant, Poisson, Rate
from djinnload.sample import ROW, Row
from djinnload.schedule import Closed, Open, Population, Schedule
from djinnload.spi import (
    Arrival,
    Call,
    Clock,
    Outcome,
    Reply,
    Request,
    Session,
)
from djinnload.units import Hz

__all__ = (
    "Answer",
    "ScriptedTarget",
    "SimulatedClock",
    "Simulation",
    "closed",
    "constant",
    "one_request",
    "open_loop",
    "poisson",
    "population",
    "simulate",
)

_OK = Reply(Outcome.OK)
#: What every request of `one_request` is.
_REQUEST = Request("none", {})


class Answer(Struct, frozen=True, gc=False):
    """What a scripted target makes of a call.

    Attributes:
        service_ns: Time that a server of its own works on it.
        reply: None: lost, nobody ever answers.
        late: The reply comes even after the call was cancelled.
    """

    service_ns: int
    reply: Reply | None = _OK
    late: bool = False


class ScriptedTarget:
    """A queue before *servers* servers that answer as *script* says.

    Args:
        clock: Any: replies come through it.
        script: The answer to each call, or one service time in ns for all.
        servers: Calls worked on at once, first come first served; 0: no queue.
        stalls: (start, end) in ns on the clock in which no call begins to be served.

    Attributes:
        calls: How many came.
        ended: Session ids that ended, in order.
    """

    streams = False

    class Options(Struct, frozen=True):
        """Nothing to say."""

    def __init__(
        self,
        clock: Clock,
        script: Callable[[Call], Answer] | int = 0,
        *,
        servers: int = 0,
        stalls: tuple[tuple[int, int], ...] = (),
    ) -> None:
        self.calls = 0
        self.ended: list[str] = []
        self._clock = clock
        self._script = script if callable(script) else _always(Answer(script))
        self._servers = servers
        self._free = [0] * servers  # a heap: when each server is free
        self._stalls = stalls

    def submit(
        self, call: Call, on_reply: Callable[[Reply], None]
    ) -> Callable[[], Reply | None]:
        """See `djinnload.spi.CallbackTarget`."""
        self.calls += 1
        answer = self._script(call)
        pending = _Pending(on_reply, answer)
        if answer.reply is not None:
            self._clock.at(self._done(answer.service_ns), pending.deliver)
        return pending.cancel

    def end_session(self, session_id: str) -> None:
        """Take note."""
        self.ended.append(session_id)

    def _done(self, service_ns: int) -> int:
        begin = self._clock.now()
        if self._free:
            # First come, first served, by the server that is free first.
            begin = max(begin, heappop(self._free))
        for start, end in self._stalls:
            begin = end if start <= begin < end else begin
        if len(self._free) < self._servers:
            heappush(self._free, begin + service_ns)
        return begin + service_ns


def _always(answer: Answer) -> Callable[[Call], Answer]:
    return lambda _: answer


class _Pending:
    __slots__ = ("answer", "cancelled", "on_reply")

    def __init__(self, on_reply: Callable[[Reply], None], answer: Answer) -> None:
        self.on_reply = on_reply
        self.answer = answer
        self.cancelled = False

    def deliver(self) -> None:
        reply = self.answer.reply
        if reply is not None and (self.answer.late or not self.cancelled):
            self.on_reply(reply)

    def cancel(self) -> Reply | None:
        self.cancelled = True
        return None


class Simulation(Struct):
    """What `simulate` found."""

    raw: list[Row]
    engine: engine.Engine
    clock: SimulatedClock

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return one dict a request, by column, in the order of their ends."""
        return [dict(zip(ROW, row, strict=True)) for row in self.raw]


def simulate(
    populations: tuple[Population, ...],
    schedule: Schedule,
    target: Callable[[SimulatedClock], Any],
    *,
    grace_ns: int = 0,
    during: Callable[[SimulatedClock, engine.Engine], None] = lambda _c, _e: None,
    **options: Any,
) -> Simulation:
    """Run *schedule* against a target in simulated time, to the end.

    Args:
        populations: What the sessions say.
        schedule: When they start; offset 0 is at its warm-up's length on the clock.
        target: Makes the target for the clock; its `submit` and `end_session` are used.
        grace_ns: As of `djinnload.engine.start`.
        during: Called once everything is armed: to plan stalls or an interrupt.
        options: Of `djinnload.engine.start`.
    """
    clock = SimulatedClock()
    raw: list[Row] = []
    running = engine.start(
        schedule,
        populations,
        clock=clock,
        target=target(clock),
        record=raw.append,
        begin_ns=schedule.warmup_ns,
        grace_ns=grace_ns,
        session_prefix="sim",
        **options,
    )
    during(clock, running)
    clock.run()
    return Simulation(raw, running, clock)


def one_request(_: Session) -> Generator[Request, Reply, None]:
    """Be the simplest session: one request."""
    yield _REQUEST


def population(
    name: str = "chat",
    session: Callable[[Session], Generator[Request, Reply, None]] = one_request,
    **options: Any,
) -> Population:
    """Return a population of the class ``interactive`` that says *session*."""
    return Population(name, session, "test: session", "interactive", **options)


def constant(rate: float) -> Arrival:
    """Return an even pace of *rate* a second."""
    return Constant(Rate(rate=Hz(rate)))


def poisson(rate: float) -> Arrival:
    """Return a Poisson process of *rate* a second."""
    return Poisson(Rate(rate=Hz(rate)))


def open_loop(
    *arrivals: Arrival,
    duration_ns: int,
    warmup_ns: int = 0,
    seed: int = 1,
) -> Schedule:
    """Return a schedule with an open source a population."""
    sources = tuple(Open(i, arrival) for i, arrival in enumerate(arrivals))
    return Schedule(seed, sources, warmup_ns, duration_ns)


def closed(
    users: int,
    *,
    duration_ns: int,
    warmup_ns: int = 0,
    seed: int = 1,
    think: Callable[[Random], int] | None = None,
    mix: Mapping[int, float] | None = None,
) -> Schedule:
    """Return a schedule with one closed source, of population 0 or of a mix."""
    source = Closed(users, tuple((mix or {0: 1.0}).items()), think)
    return Schedule(seed, (source,), warmup_ns, duration_ns)
