"""KV sessions between requests: bounded in number and bytes, thread-safe, no torch.

A session is taken out while a request works on it and put back after: two requests can
never share one cache. The longest idle go first when there are too many.
"""

from collections import OrderedDict
from threading import Lock
from typing import Any

from msgspec import Struct

__all__ = ("Kept", "SessionError", "Sessions")

#: Names of forgotten sessions that are remembered, to say why one is not there.
_REMEMBERED = 10_000


class SessionError(Exception):
    """A session cannot be continued; the text is the reply's message."""


class Kept(Struct):
    """What a session leaves on the server between two requests.

    Attributes:
        fingerprint: Of the model that made it; no other can continue it.
        cache: The model's own past keys and values.
        tokens: Positions in it, ≥ 1.
        nbytes: Of its tensors.
        encoded: What an encoder made of the session's first request; None: no encoder.
    """

    fingerprint: str
    cache: Any
    tokens: int
    nbytes: int
    encoded: Any = None


class Sessions:
    """The sessions that are not being worked on, longest idle first.

    Args:
        max_sessions: Kept at most.
        max_bytes: Of all kept; one session alone may not be larger.
    """

    def __init__(self, *, max_sessions: int, max_bytes: int) -> None:
        self._max_sessions = max_sessions
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._idle: OrderedDict[str, Kept] = OrderedDict()
        self._taken: set[str] = set()
        self._nbytes = 0
        self._forgotten: OrderedDict[str, str] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Return the bytes of all idle sessions."""
        return self._nbytes

    def __len__(self) -> int:
        return len(self._idle) + len(self._taken)

    def begin(self, name: str) -> None:
        """Reserve *name* for a new session, dropping an idle one of that name.

        Raises:
            SessionError: Another request is working on it.
        """
        with self._lock:
            self._reserve(name)
            self._drop(name)
            self._forgotten.pop(name, None)

    def take(self, name: str, fingerprint: str) -> Kept:
        """Take the session out, to continue it; `put` or `free` must follow.

        Raises:
            SessionError: There is none, it is another model's, or it is taken.
        """
        with self._lock:
            self._reserve(name)
            kept = self._idle.get(name)
            if kept is None or kept.fingerprint != fingerprint:
                self._taken.discard(name)
                raise SessionError(self._why_not(name, kept))
            return self._drop(name) or kept

    def put(self, name: str, kept: Kept) -> None:
        """Keep the session until its next request, forgetting others if need be."""
        with self._lock:
            self._taken.discard(name)
            self._idle[name] = kept
            self._nbytes += kept.nbytes
            while len(self._idle) > self._max_sessions or (
                self._nbytes > self._max_bytes and self._idle
            ):
                oldest = next(iter(self._idle))
                self._drop(oldest)
                self._remember(oldest, "was forgotten: too many, or too large")

    def free(self, name: str) -> None:
        """Forget the session, whether idle or taken; unknown names are fine."""
        with self._lock:
            self._taken.discard(name)
            self._drop(name)
            self._remember(name, "is finished")

    def _reserve(self, name: str) -> None:
        if name in self._taken:
            raise SessionError(f"Session {name} is busy with another request")
        self._taken.add(name)

    def _drop(self, name: str) -> Kept | None:
        kept = self._idle.pop(name, None)
        if kept is not None:
            self._nbytes -= kept.nbytes
        return kept

    def _remember(self, name: str, why: str) -> None:
        self._forgotten[name] = why
        self._forgotten.move_to_end(name)
        if len(self._forgotten) > _REMEMBERED:
            self._forgotten.popitem(last=False)

    def _why_not(self, name: str, kept: Kept | None) -> str:
        if kept is not None:
            return f"Session {name} belongs to model {kept.fingerprint}"
        why = self._forgotten.get(name, "has no prefill on this server")
        return f"Session {name} {why}"
