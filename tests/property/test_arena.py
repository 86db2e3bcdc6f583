"""The arena held against a map of bytes, whatever is allocated and freed in any order."""

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from djinnload.server.arena import Arena, ArenaFull

CAPACITY, ALIGNMENT = 2048, 64
UNITS = CAPACITY // ALIGNMENT


class Map(RuleBasedStateMachine):
    """A cell an alignment: whose it is; None: free."""

    def __init__(self):
        super().__init__()
        # Bytes beyond the last multiple are never used.
        self.arena = Arena(CAPACITY + 63, alignment=ALIGNMENT)
        self.cells = [None] * UNITS
        self.blocks = []

    def runs(self):
        """Lengths of free ranges, in cells, with their starts."""
        found, start = [], None
        for at, cell in enumerate([*self.cells, "end"]):
            if cell is None and start is None:
                start = at
            elif cell is not None and start is not None:
                found.append((at - start, start))
                start = None
        return found

    @rule(session=st.sampled_from("abc"), nbytes=st.integers(1, CAPACITY + 1))
    def allocate(self, session, nbytes):
        wanted = -(-nbytes // ALIGNMENT)
        fitting = sorted(run for run in self.runs() if run[0] >= wanted)
        if not fitting:
            with pytest.raises(ArenaFull, match=f"no room for {wanted * ALIGNMENT}"):
                self.arena.allocate(session, nbytes)
            return
        block = self.arena.allocate(session, nbytes)
        first = block.start // ALIGNMENT
        assert block.start % ALIGNMENT == 0
        assert (block.nbytes, block.size) == (nbytes, wanted * ALIGNMENT)
        # Best fit, the lowest of several: and nobody else's.
        assert first == fitting[0][1]
        self.cells[first : first + wanted] = [block] * wanted
        self.blocks.append(block)

    @precondition(lambda self: self.blocks)
    @rule(data=st.data())
    def free(self, data):
        block = self.blocks.pop(data.draw(st.integers(0, len(self.blocks) - 1)))
        self.arena.free(block)
        self.cells = [None if cell is block else cell for cell in self.cells]
        with pytest.raises(ValueError, match="not in use"):
            self.arena.free(block)

    @rule(session=st.sampled_from("abc"))
    def free_session(self, session):
        mine = [block for block in self.blocks if block.session == session]
        assert list(self.arena.of_session(session)) == mine
        assert list(self.arena.free_session(session)) == mine
        self.blocks = [block for block in self.blocks if block.session != session]
        self.cells = [None if cell in mine else cell for cell in self.cells]

    @invariant()
    def adds_up(self):
        usage, runs = self.arena.usage(), self.runs()
        assert usage.capacity == CAPACITY
        assert usage.requested == sum(block.nbytes for block in self.blocks)
        assert usage.allocated == sum(block.size for block in self.blocks)
        assert usage.free == ALIGNMENT * self.cells.count(None)
        assert usage.largest_free == ALIGNMENT * max(runs, default=(0, 0))[0]
        assert usage.free_blocks == len(runs)  # neighbours are merged
        assert usage.blocks == len(self.blocks)
        assert usage.sessions == len({block.session for block in self.blocks})


TestMap = Map.TestCase
TestMap.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize(("capacity", "alignment"), [(100, 3), (63, 64), (0, 1)])
def test_an_arena_without_room_or_with_an_odd_alignment(capacity, alignment):
    with pytest.raises(ValueError, match=r"no power of two|hold no block"):
        Arena(capacity, alignment=alignment)


def test_a_block_of_nothing():
    with pytest.raises(ValueError, match="is none"):
        Arena(64, alignment=64).allocate("a", 0)


def test_a_block_of_another_arena():
    one, other = Arena(128, alignment=64), Arena(128, alignment=64)
    block = one.allocate("a", 1)
    other.allocate("a", 1)
    with pytest.raises(ValueError, match="not in use"):
        other.free(block)
    assert one.usage().blocks == other.usage().blocks == 1
