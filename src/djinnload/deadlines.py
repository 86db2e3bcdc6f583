"""When requests in flight time out: one heap with an entry a session, one timer.

Within a session each request times out later than the one before, as a rule: its entry
is looked at once the first of them would have, and then waits for the latest. So most
requests push nothing.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from djinnload.session import NEVER, Session
from djinnload.spi import Clock

__all__ = ("Deadlines",)

#: Stale entries that the heap may hold beside as many as there are others.
_SLACK = 1024


class Deadlines:
    """Calls *expire* with a session, and the time, once its request has timed out.

    Args:
        expire: Not called for a request that is being settled.
    """

    def __init__(self, clock: Clock, expire: Callable[[Session, int], None]) -> None:
        self._now = clock.now
        self._at = clock.at
        self._expire = expire
        self._heap: list[tuple[int, int, Session]] = []
        self._room = _SLACK
        self._armed = NEVER

    def clear(self) -> None:
        """Forget all."""
        self._heap.clear()

    def watch(self, session: Session) -> None:
        """Look at *session* when its request in flight times out, ``timeout_at``."""
        heap = self._heap
        # A stale head or two each time: they never pile up, and no purge takes long.
        if heap and not _needed(heap[0]):
            heappop(heap)
            if heap and not _needed(heap[0]):
                heappop(heap)
        session.watched = at = session.timeout_at
        heappush(heap, (at, session.flight, session))
        if at < self._armed:
            self._armed = at
            self._at(at, self._fire)
        if len(heap) > self._room:
            heap[:] = filter(_needed, heap)
            heapify(heap)
            self._room = 2 * len(heap) + _SLACK

    def _fire(self) -> None:
        heap, now = self._heap, self._now()
        if now < self._armed:
            return  # a timer that an earlier deadline has replaced
        while heap and (heap[0][0] <= now or not _needed(heap[0])):
            entry = heappop(heap)
            session = entry[2]
            if not _needed(entry):
                continue
            session.watched = NEVER
            if session.timeout_at > now:
                self.watch(session)
            elif session.settling is None:
                self._expire(session, now)
        self._armed = heap[0][0] if heap else NEVER
        if heap:
            self._at(self._armed, self._fire)


def _needed(entry: tuple[int, int, Session]) -> bool:
    """Return whether there is to be a look at the session for this entry."""
    at, _, session = entry
    if at == session.watched and session.flight < 0:
        session.watched = NEVER  # its next request makes an entry of its own
    return at == session.watched
