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
        # One FIFO for all classes, unless the policy tells them apart.
        shared: deque[Ticket[T]] = deque()
        self._queues = {
            name: deque() if settings.policy == "qos" else shared for name in CLASSES
        }
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

    def offer(self, item: T, qos_class: str, now_ns: int) -> str | None:
        """Take *item* in, or return why not, in Djinn's words.

        Call `start_next` afterwards until it returns None.
        """
        active, limit = self.active, self._admission_limit
        if active >= limit:
            what = f"{active} active requests >= {limit} limit"
            return f"Concurrency limit exceeded: {what}"
        if self._waiting >= self._queue_limit:
            what = f"{self._waiting} waiting requests >= {self._queue_limit} limit"
            return f"Queue limit exceeded: {what}"
        self._queues[qos_class].append(Ticket(item, qos_class, now_ns))
        self._waiting += 1
        return None

    def start_next(self, now_ns: int) -> Ticket[T] | None:
        """Give a free slot to the request whose turn it is; None if none can start."""
        if not self._waiting or self._held >= self._slots:
            return None
        ticket = self._queues[self._pick(now_ns)].popleft()
        ticket.started_ns = now_ns
        self._waiting -= 1
        self._held += 1
        self.running[ticket.qos_class] += 1
        return ticket

    def finish(self, ticket: Ticket[T]) -> None:
        """Take the slot of *ticket* back; call `start_next` afterwards."""
        self._held -= 1
        self.running[ticket.qos_class] -= 1

    def _pick(self, now_ns: int) -> str:
        waiting = [name for name in CLASSES if self._queues[name]]
        if self._policy == "qos":
            for name in waiting:
                waited = now_ns - self._queues[name][0].arrived_ns
                under = self.running[name] < self.limits[name]
                if under or waited >= self._escalation_ns:
                    return name
        return waiting[0]
