"""Requests that are allocations: the fingerprint `ALLOCATOR`, which has no model.

A step frees what it names, takes one block, and keeps it for the session until a later
step frees it, or the session's last does. Timed is the allocator's call, nothing else.
Canaries at both ends of a block are written when it is had and read before it is freed;
no two blocks in use may overlap. What fails either is never called right.
"""

import hashlib
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from struct import pack, unpack
from threading import Lock

from djinnload.clock import monotonic_ns
from djinnload.server.allocators import Allocator, Held
from djinnload.server.inputs import RequestError
from djinnload.spi import Tensor

__all__ = ("ALLOCATOR", "CORRUPTED", "Churn", "Corrupted")

#: The fingerprint that needs no registration.
ALLOCATOR = "djinnload-allocator"
#: What the reply's message begins with when memory was not what it should be.
CORRUPTED = "memory corrupted"
_CANARY = 64
_PAIR = 2
_MAX_SESSIONS = 4096


class Corrupted(Exception):  # noqa: N818 - reads as what it says
    """A canary is gone, or two blocks overlap; the text says whose."""


class Churn:
    """Sessions that hold blocks of one allocator; thread-safe between sessions.

    Args:
        allocator: Of one device.
    """

    def __init__(self, allocator: Allocator) -> None:
        self._allocator = allocator
        self._sessions: dict[str, dict[int, Held]] = {}
        self._lock = Lock()
        self._ranges: list[tuple[int, int]] = []
        self._counts = dict.fromkeys(
            ("allocations", "canaries_checked", "corrupted", "requested"), 0
        )

    def step(
        self, session: str | None, inputs: Sequence[Tensor], *, last: bool
    ) -> tuple[tuple[Tensor, ...], int]:
        """Free, allocate, and free everything if it is the session's *last*.

        Args:
            session: Whose; None: one that holds nothing before and after.
            inputs: ``release``, numbers of blocks; ``block``, a number that the session
                does not hold yet, and its bytes. Both int64, either may be missing.
            last: The session is over.

        Returns:
            ``held``: how many blocks the session has, and their bytes, before its end;
            and ns that the allocation took, 0 without one.

        Raises:
            RequestError: The inputs are something else, or there is no memory.
            Corrupted: Another block, or whoever wrote there, broke this session's.
        """
        told = {tensor.name: tensor for tensor in inputs}
        name = session or ""
        mine = self._of(name)
        took = 0
        try:
            if "release" in told:
                for number in _numbers(told, "release"):
                    self._free(name, mine, number)
            if "block" in told:
                number, nbytes = _pair(told)
                took = self._allocate(name, mine, number, nbytes)
            held = len(mine), sum(each.nbytes for each in mine.values())
        finally:
            if last or session is None:
                self._end(name, mine)
        return (Tensor("held", (_PAIR,), "int64", pack("<qq", *held)),), took

    def usage(self) -> dict[str, float]:
        """Return what is used, free and checked: bytes, counts and shares."""
        with self._lock:
            counts, blocks = dict(self._counts), len(self._ranges)
        found = self._allocator.usage()
        usage = {f"memory_{name}_bytes": value for name, value in found.items()}
        requested = usage["memory_requested_bytes"] = counts.pop("requested")
        usage |= {f"memory_{name}": value for name, value in counts.items()}
        usage |= {"memory_blocks": blocks, "memory_sessions": len(self._sessions)}
        if found.get("reserved"):
            usage["memory_utilisation"] = requested / found["reserved"]
        if found.get("free") and "largest_free" in found:
            left = 1 - found["largest_free"] / found["free"]
            usage["memory_fragmentation"] = left
        return usage

    def _of(self, session: str) -> dict[int, Held]:
        with self._lock:
            if session not in self._sessions and len(self._sessions) >= _MAX_SESSIONS:
                raise RequestError(f"quota exceeded: {_MAX_SESSIONS} sessions hold")
            return self._sessions.setdefault(session, {})

    def _allocate(
        self, session: str, mine: dict[int, Held], number: int, nbytes: int
    ) -> int:
        if number in mine or nbytes < 1:
            reason = "is held already" if number in mine else f"of {nbytes} bytes"
            raise RequestError(f"block {number} {reason}")
        if not self._ranges:
            self._allocator.idle()
        try:
            begun_ns = monotonic_ns()
            held = self._allocator.allocate(session, nbytes)
            took = monotonic_ns() - begun_ns
        except MemoryError as error:
            raise RequestError(f"memory quota exceeded: {error}") from error
        mine[number] = held
        self._enter(session, number, held)
        canary, ends = _canary(session, number, held)
        for at in ends:
            self._allocator.write(at, canary)
        return took

    def _free(self, session: str, mine: dict[int, Held], number: int) -> None:
        held = mine.pop(number, None)
        if held is None:
            raise RequestError(f"block {number} is not held")
        try:
            self._check(session, number, held)
        finally:
            self._leave(held)
            self._allocator.free(held)

    def _end(self, session: str, mine: dict[int, Held]) -> None:
        with self._lock:
            self._sessions.pop(session, None)
        try:
            for number, held in mine.items():
                self._check(session, number, held)
        finally:
            for held in mine.values():
                self._leave(held)
            self._allocator.free_session(session, tuple(mine.values()))

    def _enter(self, session: str, number: int, held: Held) -> None:
        """Take note of a block, and refuse one that overlaps another in use."""
        start, end = held.address, held.address + held.nbytes
        with self._lock:
            self._counts["allocations"] += 1
            self._counts["requested"] += held.nbytes
            at = bisect_left(self._ranges, (start, end))
            near = self._ranges[max(0, at - 1) : at + 1]
            insort(self._ranges, (start, end))
            overlaps = any(low < end and start < high for low, high in near)
            self._counts["corrupted"] += overlaps
        if overlaps:
            raise Corrupted(_told(session, number, "overlaps another block in use"))

    def _leave(self, held: Held) -> None:
        with self._lock:
            self._counts["requested"] -= held.nbytes
            each = (held.address, held.address + held.nbytes)
            del self._ranges[bisect_left(self._ranges, each)]

    def _check(self, session: str, number: int, held: Held) -> None:
        canary, ends = _canary(session, number, held)
        broken = [at for at in ends if self._allocator.read(at, len(canary)) != canary]
        with self._lock:
            self._counts["canaries_checked"] += len(ends)
            self._counts["corrupted"] += len(broken)
        if broken:
            where = "begins" if broken[0] == held.address else "ends"
            what = f"{where} with other bytes than were written"
            raise Corrupted(_told(session, number, what))


def _told(session: str, number: int, what: str) -> str:
    return f"{CORRUPTED}: block {number} of session {session} {what}"


def _canary(session: str, number: int, held: Held) -> tuple[bytes, tuple[int, ...]]:
    """Return what stands at both ends of a block, and where; of one byte nowhere."""
    size = min(_CANARY, held.nbytes // 2)
    canary = hashlib.sha512(f"{session} {number}".encode()).digest()[:size]
    ends = held.address, held.address + held.nbytes - size
    return canary, ends if size else ()


def _numbers(told: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    tensor = told[name]
    if tensor.dtype != "int64" or len(tensor.shape) != 1:
        raise RequestError(f"{name} must be int64 of one dimension")
    return unpack(f"<{tensor.shape[0]}q", tensor.data)


def _pair(told: Mapping[str, Tensor]) -> tuple[int, int]:
    found = _numbers(told, "block")
    if len(found) != _PAIR:
        raise RequestError("block is a number and its bytes")
    return found[0], found[1]
