"""Who may enter, who waits, who runs next: Djinn's policy; pure, reads no clock.

A request is offered, waits in its queue, is picked when a slot is free, and finishes.
Work conserving: no slot is free while a request waits. What runs is never interrupted,
nothing is cancelled, no deadline looked at.
"""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from msgspec import Struct

from djinnload.server.settings import CLASSES, Settings

__all__ = ("Admission", "Ticket", "resolve_class", "slots_of")

T = TypeVar("T")

_BY_PRIORITY = ("batch", "batch", "interactive", "realtime")
_PRIORITY_WORDS = {"background": 0, "normal": 1, "interactive": 2, "realtime": 3}
#: Largest deadline in ms of a class, where there is only a deadline to go by.
_BY_DEADLINE = ((25, "realtime"), (250, "interactive"), (math.inf, "batch"))


def resolve_class(fields: Mapping[str, Any], default: str) -> str:
    """Return the class of a request with these metadata *fields*.

    The first that makes sense of ``priority`` (0 to 3, or a word), ``qos_class`` and
    ``deadline_ms`` (≤ 25 realtime, ≤ 250 interactive, else batch); else *default*.
    """
    priority = fields.get("priority")
    if isinstance(priority, str):
        priority = _PRIORITY_WORDS.get(priority.lower())
    if type(priority) is int and 0 <= priority < len(_BY_PRIORITY):
        return _BY_PRIORITY[priority]
    named = fields.get("qos_class")
    if isinstance(named, str) and named.lower() in CLASSES:
        return named.lower()
    deadline = fields.get("deadline_ms")
    if isinstance(deadline, int | float) and not math.isnan(deadline):
        return next(name for bound, name in _BY_DEADLINE if deadline <= bound)
    return default


def slots_of(shares: Mapping[str, float], slots: int) -> dict[str, int]:
    """Return how many of *slots* each class may hold at once.

    floor(share ÷ total × slots) each, the remainder dealt one by one from realtime
    down, and realtime has at least one: .1/.7/.2 of 12 are 2, 8 and 2.
    """
    total = math.fsum(shares.get(name, 0.0) for name in CLASSES)
    # 0.29 × 100 is 28.999…6 in floats and means 29.
    exact = {name: shares.get(name, 0.0) / total * slots + 1e-9 for name in CLASSES}
    found = {name: math.floor(value) for name, value in exact.items()}
    for i in range(slots - sum(found.values())):
        found[CLASSES[i % len(CLASSES)]] += 1
    found["realtime"] = max(found["realtime"], 1)
    return found


class Ticket(Struct, Generic[T]):
    """One admitted request.

    Attributes:
        started_ns: When it was given its slot; −1 while it waits.
    """

    item: T
    qos_class: str
    arrived_ns: int
    started_ns: int = -1


class Admission(Generic[T]):
    """The queues and the slots of one server.

    Attributes:
        limits: Slots by class; they bind under ``qos`` only.
        running: Slots held now, by class.
    """

    def __init__(self, settings: Settings) -> None:
        self.limits = slots_of(dict(settings.shares), settings.slots)
        self.running = dict.fromkeys(CLASSES, 0)
        self._policy = settings.policy
        self._slots = math.inf if settings.policy == "none" else settings.slots
        self._escalation_ns = settings.escalation_delay_ns
        self._admission_limit = settings.admission_limit
        self._queue_limit = settings.queue_limit
        self._queues: dict[str, deque[Ticket[T]]] = _queues(settings.policy)
        self._decodes: dict[str, deque[Ticket[T]]] = _queues(settings.policy)
        self._waiting = 0
        self._held = 0

    @property
    def active(self) -> int:
        """Return the requests in the server, waiting and running."""
        return self._waiting + self._held

    @property
    def waiting(self) -> int:
        """Return the requests that wait for a slot."""
        return self._waiting

    def offer(
        self, item: T, qos_class: str, now_ns: int, *, decode: bool = False
    ) -> str | None:
        """Take *item* in, or return why not, in Djinn's words.

        Call `start_next` afterwards until it returns None.

        Args:
            item: Comes back with its ticket.
            qos_class: Whose queue it joins.
            now_ns: When it came.
            decode: It is a decode told apart from prefills: it waits in a queue of its
                own, which goes before its class's other one, unless the head of that
                has waited for the escalation delay.
        """
        active, limit = self.active, self._admission_limit
        if active >= limit:
            what = f"{active} active requests >= {limit} limit"
            return f"Concurrency limit exceeded: {what}"
        if self._waiting >= self._queue_limit:
            what = f"{self._waiting} waiting requests >= {self._queue_limit} limit"
            return f"Queue limit exceeded: {what}"
        queues = self._decodes if decode else self._queues
        queues[qos_class].append(Ticket(item, qos_class, now_ns))
        self._waiting += 1
        return None

    def start_next(self, now_ns: int) -> Ticket[T] | None:
        """Give a free slot to the request whose turn it is; None if none can start."""
        if not self._waiting or self._held >= self._slots:
            return None
        ticket = self._pick(now_ns).popleft()
        ticket.started_ns = now_ns
        self._waiting -= 1
        self._held += 1
        self.running[ticket.qos_class] += 1
        return ticket

    def finish(self, ticket: Ticket[T]) -> None:
        """Take the slot of *ticket* back; call `start_next` afterwards."""
        self._held -= 1
        self.running[ticket.qos_class] -= 1

    def _pick(self, now_ns: int) -> deque[Ticket[T]]:
        heads = {name: queue for name in CLASSES if (queue := self._next(name, now_ns))}
        if self._policy == "qos":
            for name, queue in heads.items():
                under = self.running[name] < self.limits[name]
                if under or self._escalated(queue, now_ns):
                    return queue
        return next(iter(heads.values()))

    def _next(self, name: str, now_ns: int) -> deque[Ticket[T]]:
        """Return which of the class's two queues is served next; empty: neither."""
        decodes, others = self._decodes[name], self._queues[name]
        if not decodes or (others and self._escalated(others, now_ns)):
            return others
        return decodes

    def _escalated(self, queue: deque[Ticket[T]], now_ns: int) -> bool:
        return now_ns - queue[0].arrived_ns >= self._escalation_ns


def _queues(policy: str) -> dict[str, deque[Ticket[T]]]:
    # One FIFO for all classes, unless the policy tells them apart.
    shared: deque[Ticket[T]] = deque()
    return {name: deque() if policy == "qos" else shared for name in CLASSES}
