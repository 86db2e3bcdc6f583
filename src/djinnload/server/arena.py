"""An allocator over one range of bytes: best fit, free neighbours merged at once; pure.

It deals in offsets alone: what lies there (host memory, a GPU's) is its owner's matter.
"""

from bisect import bisect_left, insort
from threading import Lock

from msgspec import Struct

__all__ = ("Arena", "ArenaFull", "Block", "Usage")


class ArenaFull(MemoryError):  # noqa: N818 - reads as what it says
    """No free block is large enough, whatever is free in all; the text says both."""


class Block(Struct, frozen=True):
    """A range that is in use.

    Attributes:
        start: Offset of its first byte, a multiple of the alignment.
        nbytes: As asked for, > 0.
        size: Taken for it: *nbytes* rounded up to the alignment.
        session: Whose it is.
    """

    start: int
    nbytes: int
    size: int
    session: str


class Usage(Struct, frozen=True):
    """What an arena holds; bytes unless said otherwise.

    Attributes:
        capacity: Of the range.
        requested: Of all blocks, as asked for.
        allocated: Of all blocks, with what rounding up took.
        largest_free: The largest block that could be had, exactly; 0: none.
        blocks, sessions, free_blocks: Counts; free blocks never touch each other.
    """

    capacity: int
    requested: int
    allocated: int
    largest_free: int
    blocks: int
    sessions: int
    free_blocks: int

    @property
    def free(self) -> int:
        """Return the bytes in no block."""
        return self.capacity - self.allocated


class Arena:
    """Blocks of *capacity* bytes, by session; thread-safe.

    The smallest free block that fits is taken, the lowest of several; what it has too
    much stays free.

    Args:
        capacity: > 0; what is beyond the last multiple of *alignment* is never used.
        alignment: Of starts and sizes, a power of two.

    Raises:
        ValueError: A capacity without room for a block, or no power of two.
    """

    def __init__(self, capacity: int, *, alignment: int = 256) -> None:
        if alignment < 1 or alignment & (alignment - 1):
            raise ValueError(f"alignment {alignment} is no power of two")
        self.capacity = capacity - capacity % alignment
        if self.capacity < alignment:
            raise ValueError(f"{capacity} bytes hold no block of {alignment}")
        self._alignment = alignment
        self._lock = Lock()
        self._sizes = [(self.capacity, 0)]  # of free blocks, with their starts, sorted
        self._starts = {0: self.capacity}  # of free blocks: size by start,
        self._ends = {self.capacity: 0}  # and start by end
        self._sessions: dict[str, dict[int, Block]] = {}
        self._blocks = self._requested = self._allocated = 0

    def allocate(self, session: str, nbytes: int) -> Block:
        """Return a block of at least *nbytes* for *session*.

        Raises:
            ArenaFull: Nothing free is as large.
            ValueError: *nbytes* is not positive.
        """
        if nbytes < 1:
            raise ValueError(f"a block of {nbytes} bytes is none")
        size = -(-nbytes // self._alignment) * self._alignment
        with self._lock:
            at = bisect_left(self._sizes, (size, 0))
            if at == len(self._sizes):
                raise ArenaFull(self._why(size))
            room, start = self._sizes[at]
            self._take(room, start)
            if room > size:
                self._give(room - size, start + size)
            block = Block(start, nbytes, size, session)
            self._sessions.setdefault(session, {})[start] = block
            self._count(block, 1)
        return block

    def free(self, block: Block) -> None:
        """Give *block* back, merged with the free ones on either side.

        Raises:
            ValueError: It is not in use: freed before, or another arena's.
        """
        with self._lock:
            mine = self._sessions.get(block.session, {})
            if mine.get(block.start) is not block:
                raise ValueError(f"block at {block.start} is not in use")
            del mine[block.start]
            if not mine:
                del self._sessions[block.session]
            self._release(block)

    def free_session(self, session: str) -> tuple[Block, ...]:
        """Give back all that *session* has, and return it; unknown ones have none."""
        with self._lock:
            blocks = tuple(self._sessions.pop(session, {}).values())
            for block in blocks:
                self._release(block)
        return blocks

    def of_session(self, session: str) -> tuple[Block, ...]:
        """Return the blocks of *session*, in the order of their allocation."""
        with self._lock:
            return tuple(self._sessions.get(session, {}).values())

    def usage(self) -> Usage:
        """Return what is used and free now."""
        with self._lock:
            return Usage(
                capacity=self.capacity,
                requested=self._requested,
                allocated=self._allocated,
                largest_free=self._sizes[-1][0] if self._sizes else 0,
                blocks=self._blocks,
                sessions=len(self._sessions),
                free_blocks=len(self._sizes),
            )

    def _release(self, block: Block) -> None:
        start, size = block.start, block.size
        self._count(block, -1)
        if (after := self._starts.get(start + size)) is not None:
            self._take(after, start + size)
            size += after
        if (before := self._ends.get(start)) is not None:
            self._take(start - before, before)
            start, size = before, size + start - before
        self._give(size, start)

    def _give(self, size: int, start: int) -> None:
        insort(self._sizes, (size, start))
        self._starts[start] = size
        self._ends[start + size] = start

    def _take(self, size: int, start: int) -> None:
        del self._sizes[bisect_left(self._sizes, (size, start))]
        del self._starts[start]
        del self._ends[start + size]

    def _count(self, block: Block, sign: int) -> None:
        self._blocks += sign
        self._requested += sign * block.nbytes
        self._allocated += sign * block.size

    def _why(self, size: int) -> str:
        free = self.capacity - self._allocated
        largest = self._sizes[-1][0] if self._sizes else 0
        return (
            f"no room for {size} bytes: {free} of {self.capacity} are free, "
            f"the largest block {largest}"
        )
