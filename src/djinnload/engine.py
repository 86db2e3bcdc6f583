"""The state machine: due times in, requests out, replies back, one row a request.

No task a request and no event loop: everything happens in callbacks of the two seams
`Clock.at` and `CallbackTarget.submit`. Every request that falls due gives exactly one
row. ``lateness = sent − ready`` is the generator's fault; ``blocked = ready − due`` is
the server's and stays in the latency.
"""

from collections.abc import Callable, Iterator
from functools import partial

from msgspec import Struct

from djinnload.deadlines import Deadlines
from djinnload.errors import DjinnloadError, LocalProtocolError, PluginError
from djinnload.sample import MEASURE, WARMUP, Row
from djinnload.schedule import Population, Schedule, Start, follower, starts
from djinnload.session import Keeper, Session, by_due, ended
from djinnload.spi import Call, CallbackTarget, Clock, Outcome, Reply, Request

__all__ = ("Engine", "Keeper", "Tally", "start")

_OK = Outcome.OK
#: Overdue requests that one session may yield when it is swept at the end.
_SWEEP_LIMIT = 1_000_000


class Tally(Struct):
    """What became of a population's sessions due in measure.

    Attributes:
        dropped: Requests over ``max_in_flight``, in any phase.
    """

    started: int = 0
    done: int = 0
    abandoned: int = 0
    dropped: int = 0


def start(
    schedule: Schedule,
    populations: tuple[Population, ...],
    *,
    clock: Clock,
    target: CallbackTarget,
    record: Callable[[Row], None],
    begin_ns: int,
    grace_ns: int,
    session_prefix: str,
    max_in_flight: int = 10_000,
    shard: tuple[int, int] = (0, 1),
    first_seq: int = 0,
    keeper: Keeper | None = None,
    on_end: Callable[[], None] = lambda: None,
) -> "Engine":
    """Arm everything and return; the clock does the rest.

    Args:
        schedule: When sessions start.
        populations: What they say; the schedule's indices refer to it.
        clock: Calls the engine when something is due.
        target: Open already.
        record: Given each row once, in the order of their ends; must not raise.
        begin_ns: Start of measure, offset 0 of the schedule, on the clock.
        grace_ns: After the end of measure, what is in flight is cancelled; so many
            sessions end with the last of them.
        session_prefix: Makes session ids unique among all that a server ever sees.
        max_in_flight: A request that falls due beyond it is dropped.
        shard: Drives part i of n of the schedule; its users stay with it.
        first_seq: Number of the first request.
        keeper: Gets the answers that are to be checked.
        on_end: Called once, when no row will follow.
    """
    engine = Engine(
        schedule, populations, clock, target, record, max_in_flight, keeper, on_end
    )
    engine.next_seq = first_seq
    engine.arm(starts(schedule, shard=shard), begin_ns, grace_ns, session_prefix)
    return engine


class Engine:
    """A schedule being driven; made by `start`.

    Attributes:
        tallies: By population.
        in_flight: Requests handed to the target and not answered.
        next_seq: Number of the next request.
        ended_ns: When it was over; 0: it is not yet.
        error: What ended the run early: a plugin that broke its contract.
    """

    def __init__(  # noqa: PLR0917 - only `start` calls it
        self,
        schedule: Schedule,
        populations: tuple[Population, ...],
        clock: Clock,
        target: CallbackTarget,
        record: Callable[[Row], None],
        max_in_flight: int,
        keeper: Keeper | None,
        on_end: Callable[[], None],
    ) -> None:
        self.tallies = [Tally() for _ in populations]
        self.in_flight = 0
        self.next_seq = 0
        self.ended_ns = 0
        self.error: DjinnloadError | None = None
        self._schedule = schedule
        self._populations = populations
        self._followers = [follower(schedule, i) for i in range(len(schedule.sources))]
        self._seeds = [f"{schedule.seed}/input/{each.name}" for each in populations]
        self._now = clock.now
        self._at = clock.at
        self._target = target
        self._submit_to = target.submit
        self._end_session = target.end_session
        self._answered = self._on_reply
        self._record = record
        self._max_in_flight = max_in_flight
        self._keeper = keeper
        self._on_end = on_end
        self._prefixes: list[str] = []
        self._starts: Iterator[Start] = iter(())
        self._next: tuple[Session, Request | None] | None = None
        self._live: set[Session] = set()
        self._waiting = 0
        self._deadlines = Deadlines(clock, self._expire)
        self._begin = self._end = 0
        self._measured = False
        self._over = False

    def arm(
        self, found: Iterator[Start], begin_ns: int, grace_ns: int, session_prefix: str
    ) -> None:
        """Set the engine going; `start` calls it."""
        self._starts = found
        names = (each.name for each in self._populations)
        self._prefixes = [f"{session_prefix}-{name}" for name in names]
        self._begin = begin_ns
        self._end = begin_ns + self._schedule.duration_ns
        if self._schedule.sessions:
            # Whichever is the last to be done ends it; there may be none at all.
            self._at(begin_ns, self._on_measure_end)
        else:
            self._at(self._end, self._on_measure_end)
            self._at(self._end + grace_ns, self.interrupt)
        self._arm_next()

    def interrupt(self) -> None:
        """Cancel what is in flight and end; also what happens when the grace is over.

        Requests in flight give ``cancelled``, and so does each request whose time is
        past already; sessions that only waited for a future time give no row.
        """
        if self._over:
            return
        self._over = True
        now = self._now()
        for session in sorted(self._live, key=by_due):
            self._abandon(session, now)
        self._conclude()

    def _conclude(self) -> None:
        self._over = True
        self.ended_ns = self._now()
        self._live.clear()
        self._deadlines.clear()
        if self._next is not None:
            self._next[0].close()
        self._on_end()

    # Sessions

    def _arm_next(self) -> None:
        """Arm one start, the next; from the schedule's due, never from now.

        It is asked for its first request already: when due, that would make it late.
        """
        found = next(self._starts, None)
        self._next = None if found is None else self._asked(found)
        if found is not None:
            self._at(self._begin + found.offset_ns, self._on_start)

    def _on_start(self) -> None:
        if not self._over and self._next is not None:
            self._begin_session(*self._next)
            self._arm_next()

    def _asked(self, found: Start) -> tuple[Session, Request | None]:
        due = self._begin + found.offset_ns
        warm = due < self._begin or self._schedule.warming
        phase = WARMUP if warm else MEASURE
        plan = self._populations[found.population]
        session = Session(found, plan, due, phase, self._prefixes[found.population])
        return session, session.begin(found, self._seeds[found.population])

    def _begin_session(self, session: Session, request: Request | None) -> None:
        if session.phase is MEASURE:
            self.tallies[session.population].started += 1
        if self._keeper is not None:
            name, user, index = session.plan.name, session.user, session.index
            session.kept = self._keeper.wants(name, user, index)
        self._live.add(session)
        self._go_on(session, request, session.due)

    def _go_on(self, session: Session, request: Request | None, now: int) -> None:
        """Wait for, or send, the session's next request; or take note of its end."""
        if request is not None:
            due = session.take(request, self._end)
            if due > now and due > self._now():
                self._at(due, partial(self._on_due, session))
            else:
                self._submit(session)
        elif session.error is not None:
            self._live.discard(session)
            self._close(session, done=False)
            self._stop_for(session.error)
        else:
            self._live.discard(session)
            self._close(session, done=True)
            self._next_of_user(session, now)
            if self._measured:
                self._end_if_done()

    def _next_of_user(self, session: Session, done: int) -> None:
        """Start, or arm, the user's next session, if there is one."""
        follow = self._followers[session.source]
        if follow is None:
            return
        retry = 0 if session.ok else session.plan.retry_ns
        found = follow(session.user, session.index, done - self._begin, retry)
        if found is not None:
            due = self._begin + found.offset_ns
            # Never one after another within a call: a session may ask for nothing.
            if due <= done and session.turn >= 0:
                self._begin_session(*self._asked(found))
            else:
                self._waiting += 1
                self._at(due, partial(self._on_user, found))

    def _on_user(self, found: Start) -> None:
        self._waiting -= 1
        if not self._over:
            self._begin_session(*self._asked(found))

    def _close(self, session: Session, *, done: bool) -> None:
        if session.phase is MEASURE:
            tally = self.tallies[session.population]
            tally.done += done
            tally.abandoned += not done
        self._end_session(session.session_id)
        if session.kept and self._keeper is not None:
            self._keeper.end(session.plan.name, session.user, session.index)

    # Requests

    def _on_due(self, session: Session) -> None:
        if not self._over:
            self._submit(session)

    def _submit(self, session: Session) -> None:
        plan = session.plan
        seq = session.flight = self.next_seq
        self.next_seq = seq + 1
        timeout_at = session.request_due + plan.timeout_ns
        call = Call(
            session.request,
            plan.name,
            session.session_id,
            plan.qos_class,
            plan.deadline_ns,
            timeout_at,
            plan.behaviours,
        )
        session.cancel = None
        in_flight = self.in_flight
        self.in_flight = in_flight + 1
        now = session.sent = self._now()
        if now >= timeout_at or in_flight >= self._max_in_flight:
            self._withhold(session, timeout_at, expired=now >= timeout_at)
            return
        session.timeout_at = timeout_at
        if timeout_at < session.watched:
            self._deadlines.watch(session)
        reply = partial(self._answered, session, seq)
        try:
            session.cancel = self._submit_to(call, reply)
        except LocalProtocolError as error:
            self._stop_for(error)
        except Exception as error:  # noqa: BLE001 - a target may raise anything
            text = f"submit raised {type(error).__name__}: {error}"
            self._deliver(session, Reply(Outcome.ERROR, error=text))

    def _withhold(self, session: Session, timeout_at: int, *, expired: bool) -> None:
        """Settle a request that is never handed to the target."""
        session.sent = None
        if expired:
            if session.previous_done >= timeout_at:
                session.ready = None
            self._deliver(session, Reply(Outcome.TIMEOUT, error="expired unsent"))
        else:
            self.tallies[session.population].dropped += 1
            self._deliver(session, Reply(Outcome.DROPPED, error="over max_in_flight"))

    def _deliver(self, session: Session, reply: Reply) -> None:
        """Give a reply that the engine itself makes, from a callback of its own."""
        session.settling = reply
        session.cancel = _nothing
        late = partial(self._on_reply, session, session.flight, reply)
        self._at(self._now(), late)

    def _on_reply(self, session: Session, seq: int, reply: Reply) -> None:
        done = self._now()
        if session.flight != seq or self._over:
            return  # a late reply: its request has been settled
        if session.cancel is None:
            what = "called on_reply before submit returned"
            self._stop_for(PluginError(type(self._target).__name__, what))
            return
        self._settle(session, reply, done)

    def _expire(self, session: Session, now: int) -> None:
        known = session.cancel() if session.cancel is not None else None
        self._settle(session, ended(Outcome.TIMEOUT, known), now)

    def _settle(self, session: Session, reply: Reply, done: int) -> None:
        """Send the reply into the session, write the row, go on."""
        self.in_flight -= 1
        seq = session.flight
        session.flight = -1
        session.settling = None
        # It leads to the target's call, and that back here: a cycle for the collector.
        session.cancel = None
        session.previous_done = done
        if reply.outcome is not _OK:
            session.ok = False
        if session.kept and self._keeper is not None:
            name, user, index = session.plan.name, session.user, session.index
            self._keeper.add(name, user, index, seq, session.request, reply)
        following = session.tell(reply)
        self._record(session.row(seq, reply, done, last=following is None))
        self._go_on(session, following, done)

    # Ends

    def _on_measure_end(self) -> None:
        self._measured = True
        self._end_if_done()

    def _end_if_done(self) -> None:
        left = self._live or self._next is not None or self._waiting
        if not left and not self._over:
            self._conclude()

    def _abandon(self, session: Session, now: int) -> None:
        """End a session under way, giving each request that fell due its row."""
        if session.flight >= 0:
            self.in_flight -= 1
            known = session.cancel() if session.cancel is not None else None
            reply = session.settling or ended(Outcome.CANCELLED, known)
            self._sweep(session, reply, now, session.flight)
        elif session.request_due <= now:
            self._sweep(session, Reply(Outcome.CANCELLED), now, self._number())
        session.close()
        self._close(session, done=False)
        self.error = self.error or session.error

    def _sweep(self, session: Session, reply: Reply, now: int, seq: int) -> None:
        """Write the current request's row, then one for each that is overdue."""
        for _ in range(_SWEEP_LIMIT):
            request = session.tell(reply)
            offset = request.due_offset_ns if request is not None else None
            overdue = offset is not None and session.due + offset <= now
            self._record(session.row(seq, reply, now, last=not overdue))
            if request is None or not overdue:
                return
            session.take(request, self._end)
            session.ready = None
            reply, seq = Reply(Outcome.CANCELLED), self._number()
        session.refuse("never stops yielding requests that are overdue")

    def _number(self) -> int:
        self.next_seq += 1
        return self.next_seq - 1

    def _stop_for(self, error: DjinnloadError) -> None:
        """End the run: a plugin broke its contract."""
        self.error = self.error or error
        self.interrupt()


def _nothing() -> None:
    return None
