"""How many users a closed population has over time, and when each of them is there.

Users are numbered; of n there are users 0 to n − 1, so who came last leaves first.
Times are ns after the start of measure.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from djinnload.scenarios.population import UserRamp, UserStage

__all__ = ("FOREVER", "Level", "first_stay", "levels", "most", "stays")

#: ns after every end.
FOREVER = 1 << 62


class Level(NamedTuple):
    """A part of the time in which the number of users stays, or changes evenly.

    Attributes:
        begin_ns: The first level begins at 0 and covers warm-up too.
        end_ns: Where the next one begins.
        low: Users at its begin.
        high: Users from its end on; other than *low*, it is reached in equal steps, the
            k-th of n after k ÷ n of the time.
    """

    begin_ns: int
    end_ns: int
    low: int
    high: int


def levels(users: UserRamp | Sequence[UserStage]) -> tuple[Level, ...]:
    """Return what ``users`` says, if it is more than a number."""
    if isinstance(users, UserRamp):
        low, high, over = users.start, users.end, int(users.over)
        return Level(0, over, low, high), Level(over, FOREVER, high, high)
    times = pairwise(accumulate((int(stage.time) for stage in users), initial=0))
    return tuple(
        Level(begin, end, stage.users, stage.users)
        for (begin, end), stage in zip(times, users, strict=True)
    )


def most(levels: Iterable[Level]) -> int:
    """Return the most users that are ever there."""
    return max(max(each.low, each.high) for each in levels)


def stays(
    levels: Sequence[Level], user: int, *, lead_ns: int = 0, stagger_ns: int = 0
) -> Iterator[tuple[int, int]]:
    """Yield (from, until) of each time that *user* is there, in order.

    Args:
        levels: One after the other, from 0.
        user: From 0 on.
        lead_ns: Length of warm-up: who is there at 0 comes at its beginning.
        stagger_ns: The k-th of n users who come at one instant comes k ÷ n of it later.
            Who would have to leave by then does not come.
    """
    came: int | None = None
    before = left = 0
    for level in levels:
        begin, end = _within(level, user)
        if came is not None and begin != left:
            if came < left:
                yield came, left
            came = None
        if came is None and begin < end:
            came = begin
            if before <= user < level.low:  # one of those who come together
                came += stagger_ns * (user - before) // (level.low - before)
                came -= 0 if level.begin_ns else lead_ns
        before, left = level.high, end
    if came is not None and came < left:
        yield came, left


def first_stay(
    levels: Sequence[Level], user: int, *, lead_ns: int, stagger_ns: int
) -> int | None:
    """Return when *user* comes for the first time; None: never. As `stays`."""
    found = stays(levels, user, lead_ns=lead_ns, stagger_ns=stagger_ns)
    return next((begin for begin, _ in found), None)


def _within(level: Level, user: int) -> tuple[int, int]:
    """Return from when to when *user* is there in *level*; equal: not at all."""
    begin, end, low, high = level
    if user < min(low, high):
        return begin, end
    if user >= max(low, high):
        return end, end
    if low < high:
        return begin + (end - begin) * (user + 1 - low) // (high - low), end
    return begin, begin + (end - begin) * (low - user) // (low - high)
