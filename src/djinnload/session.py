"""One session under way: what it asks next, when that is due, the rows it leaves.

Only state and its arithmetic; `engine` decides when anything happens.
"""

from collections.abc import Callable, Generator
from random import Random
from typing import Any, Protocol

from djinnload.errors import PluginError
from djinnload.sample import COOLDOWN, Row
from djinnload.schedule import Population, Start
from djinnload.spi import Outcome, Reply, Request
from djinnload.spi import Session as Described

__all__ = ("NEVER", "Keeper", "Session", "by_due", "ended")

#: After every time.
NEVER = 1 << 63


class Keeper(Protocol):
    """Who keeps answers to be checked after the run."""

    def wants(self, population: str, user: int, index: int) -> bool:
        """Return whether answers of this session are to be added."""
        ...

    def add(  # noqa: PLR0917 - called for each reply
        self,
        population: str,
        user: int,
        index: int,
        seq: int,
        request: Request,
        reply: Reply,
    ) -> None:
        """Keep an answer, ok or not."""
        ...

    def end(self, population: str, user: int, index: int) -> None:
        """Take note that the session is over."""
        ...


class Session:
    """Its requests never overlap, so it holds at most one.

    Attributes:
        due: Of the session, and of its first request unless that thinks.
        phase: Of its due; a turn due after the end is ``cooldown`` instead.
        ok: Whether every reply so far was.
        flight: Number of the request in flight; −1: waits for its request's time.
        cancel: Of the request in flight; None until submit has returned.
        settling: A reply that the engine itself is about to deliver.
        ready: None: the request expired while the previous one was running.
        sent: None: never handed to the target.
        timeout_at: Of the latest request that was handed to the target.
        watched: The engine looks then whether one has timed out.
        error: How the workload broke its contract.
    """

    __slots__ = (
        "cancel",
        "due",
        "error",
        "flight",
        "generator",
        "index",
        "kept",
        "ok",
        "phase",
        "plan",
        "population",
        "previous_done",
        "ready",
        "request",
        "request_due",
        "sent",
        "session_id",
        "settling",
        "source",
        "timeout_at",
        "turn",
        "turn_phase",
        "user",
        "watched",
    )

    def __init__(
        self, start: Start, plan: Population, due: int, phase: str, prefix: str
    ) -> None:
        _, self.source, self.population, self.user, self.index, _ = start
        self.plan = plan
        self.session_id = f"{prefix}-{self.user}-{self.index}"
        self.due = self.previous_done = self.request_due = due
        self.phase = self.turn_phase = phase
        self.turn = -1
        self.ok = True
        self.kept = False
        self.flight = -1
        self.ready: int | None = due
        self.sent: int | None = None
        self.timeout_at = self.watched = NEVER
        self.cancel: Callable[[], Reply | None] | None = None
        self.settling: Reply | None = None
        self.error: PluginError | None = None
        self.request: Request
        self.generator: Generator[Request, Reply, None] | None = None

    def begin(self, start: Start, seed: str) -> Request | None:
        """Start the workload's generator; return its first request, None if none."""
        plan = self.plan
        key: Any = (seed, self.user, self.index)
        described = _Lazy(key, self.user, self.index, start.hints, plan.behaviours)
        try:
            self.generator = plan.session(described)
            request = next(self.generator)
        except StopIteration:
            return None
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._raised(error)
            return None
        return self._checked(request)

    def tell(self, reply: Reply) -> Request | None:
        """Send *reply* in; return the next request, None at the end or on an error."""
        try:
            request = self.generator.send(reply)  # type: ignore[union-attr]
        except StopIteration:
            return None
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._raised(error)
            return None
        return self._checked(request)

    def take(self, request: Request, end_ns: int) -> int:
        """Make *request* the current one and return when it is due."""
        offset, previous = request.due_offset_ns, self.previous_done
        if offset is None:
            due = self.ready = previous + request.think_ns
        else:
            due = self.due + offset
            self.ready = max(previous, due)
        self.request = request
        self.request_due = due
        self.sent = None
        turn = request.turn
        if turn > self.turn:
            self.turn = turn
            self.turn_phase = COOLDOWN if due >= end_ns else self.phase
        return due

    def row(self, seq: int, reply: Reply, done: int, *, last: bool) -> Row:
        """Return the current request's row, in the order of `sample.ROW`."""
        request = self.request
        return (
            self.population,
            self.user,
            self.index,
            last,
            request.turn,
            request.step,
            seq,
            self.turn_phase,
            self.request_due,
            self.ready,
            self.sent,
            reply.first_ns,
            done,
            reply.outcome,
            reply.error,
            request.units,
            reply.bytes_sent,
            reply.bytes_received,
            reply.metrics or None,
            reply.qos_class,
            reply.echo or None,
        )

    def close(self) -> None:
        """End the generator; whatever it does about that changes nothing."""
        if self.generator is not None:
            try:
                self.generator.close()
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                self._raised(error)

    def refuse(self, reason: str) -> None:
        """Take note that the workload broke its contract; the first time counts."""
        if self.error is None:
            self.error = PluginError(self.plan.plugin, f"session() {reason}")

    def _raised(self, error: Exception) -> None:
        self.refuse(f"raised {type(error).__name__}: {error}")
        if self.error is not None and self.error.__cause__ is None:
            self.error.__cause__ = error

    def _checked(self, request: Any) -> Request | None:
        wrong = _contradiction(request, self.turn)
        if wrong is None:
            found: Request = request
            return found
        self.refuse(f"yielded {wrong}")
        self.close()
        return None


#: Where a `Described` holds its random numbers, before `_Lazy` hides it.
_RNG: Any = Described.__dict__["rng"]


class _Lazy(Described):
    """A session whose random numbers are made when first looked at.

    Made with their key, (seed, user, index), in the place of the numbers: making them
    takes 5 µs, which a session that draws nothing need not pay.
    """

    def _made(self) -> Random:
        found = _RNG.__get__(self)
        if type(found) is tuple:
            seed, user, index = found
            found = Random(f"{seed}/{user}/{index}")
            _RNG.__set__(self, found)
        made: Random = found
        return made

    # Not annotated, or msgspec would take it for a field of its own.
    rng = property(_made)


def _contradiction(request: Any, turn: int) -> str | None:
    """Return what is wrong with *request*, None if nothing is."""
    if type(request) is not Request and not isinstance(request, Request):
        return f"{type(request).__name__}, not a Request"
    if request.turn < turn:
        return f"requests whose turn fell from {turn} to {request.turn}"
    offset, think = request.due_offset_ns, request.think_ns
    if think and (offset is not None or think < 0):
        return "a request with think_ns below 0, or together with due_offset_ns"
    if offset is not None and offset < 0:
        return "a request with due_offset_ns below 0"
    if not request.units > 0:
        return f"a request with units {request.units!r}, which must be above 0"
    return None


def by_due(session: Session) -> tuple[int, int, int, int]:
    """Return what sessions are ordered by: their due, then who they are of."""
    return session.due, session.population, session.user, session.index


def ended(outcome: Outcome, known: Reply | None) -> Reply:
    """Return the reply to a request that was given up, with what is known of it."""
    if known is None:
        return Reply(outcome)
    return Reply(
        outcome,
        first_ns=known.first_ns,
        bytes_sent=known.bytes_sent,
        bytes_received=known.bytes_received,
    )
