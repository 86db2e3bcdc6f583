"""Populations + pacers + seed → one ordered stream of session starts; pure.

Offset 0 is the start of measure; warm-up starts have negative offsets and their own
seed stream, so that the measured schedule never depends on the warm-up.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from random import Random
from typing import NamedTuple

from msgspec import Struct, structs

from djinnload.scenarios.users import FOREVER, Level, first_stay, stays
from djinnload.spi import Arrival, Reply, Request, Session

__all__ = ("Closed", "Open", "Population", "Schedule", "Start", "following", "starts")

_NO_HINTS: Mapping[str, int] = {}


Follower = Callable[[int, int, int, int], "Start | None"]


class Population(Struct, frozen=True):
    """One population as the engine needs it: every name resolved.

    Attributes:
        session: The workload's bound ``session``.
        plugin: Whose it is, for errors: ``djinnload.workloads: llm``.
        deadline_ns: From due; told to the server, never enforced.
        timeout_ns: From due; the engine gives up then.
        retry_ns: Least pause of a closed user after a session that was not ok.
    """

    name: str
    session: Callable[[Session], Generator[Request, Reply, None]]
    plugin: str
    qos_class: str
    deadline_ns: int | None = None
    timeout_ns: int = 60_000_000_000
    retry_ns: int = 100_000_000
    behaviours: Mapping[str, str] = {}


class Open(Struct, frozen=True):
    """Sessions of one population that start whatever the server does.

    With *returning* it is partly open: who arrives is a user who, each time a session
    is done, comes back for another with that probability, after a pause.

    Source: Schroeder, Wierman, Harchol-Balter, "Open versus closed: a cautionary tale",
    NSDI (2006).

    Attributes:
        population: Index into the populations.
        users: 0: one stream without users; n: n independent streams (``per = "user"``).
        name: What its random numbers are drawn from; empty: its place in the schedule.
        returning: Probability of coming back, 0 ≤ p < 1; not with *users*.
        think: Draws the pause before that in ns; None: no pause.
    """

    population: int
    arrival: Arrival
    users: int = 0
    name: str = ""
    returning: float = 0.0
    think: Callable[[Random], int] | None = None


class Closed(Struct, frozen=True):
    """Users who each start the next session when the last is done and the pause over.

    Attributes:
        users: The most at once.
        mix: (population index, weight); each session's population is drawn by weight.
            One entry for an ordinary closed population, several in calibration.
        think: Draws the pause between sessions in ns; None: no pause.
        name: As of `Open`.
        levels: How many are there when; empty: all, always. Who has to leave finishes
            the session first.
        stagger_ns: That those who come at one instant are spread over evenly.
    """

    users: int
    mix: tuple[tuple[int, float], ...]
    think: Callable[[Random], int] | None = None
    name: str = ""
    levels: tuple[Level, ...] = ()
    stagger_ns: int = 0

    def when(self) -> tuple[Level, ...]:
        """Return *levels*, or the one that stands for all users, always."""
        return self.levels or (Level(0, FOREVER, self.users, self.users),)


class Schedule(Struct, frozen=True):
    """When sessions start: a pure function of this value.

    Attributes:
        seed: Of the repeat; equal in every arm.
        duration_ns: Of measure; no session starts at or after it. FOREVER with
            *sessions*.
        sessions: Of each user, or stream of arrivals, in measure; 0: as many as start
            in its time.
        warming: It is all warm-up: measure is another schedule.
    """

    seed: int
    sources: tuple[Open | Closed, ...]
    warmup_ns: int
    duration_ns: int
    sessions: int = 0
    warming: bool = False

    def warmup_of(self, sessions: int) -> "Schedule":
        """Return the warm-up of *sessions* of each user that goes before this one."""
        return structs.replace(
            self, warmup_ns=0, duration_ns=FOREVER, sessions=sessions, warming=True
        )


class Start(NamedTuple):
    """One session start.

    Attributes:
        offset_ns: After the start of measure; negative in warm-up.
        user: −1: of nobody. Who comes back has a number by arrival, from 0 on, in
            warm-up from −2 downwards.
        session: Number among those of its user, or of its source; −1 downwards in
            warm-up, but from 0 on if its user is below −1.
    """

    offset_ns: int
    source: int
    population: int
    user: int
    session: int
    hints: Mapping[str, int]


def starts(schedule: Schedule, *, shard: tuple[int, int] = (0, 1)) -> Iterator[Start]:
    """Yield the starts of shard i of n that wait for nothing, ordered by offset.

    Of each closed user that is the first; `following` has the later ones, in the same
    shard.

    The union over all shards is the stream of shard (0, 1). Nothing is computed before
    it is asked for; memory is constant.
    """
    streams = [_stream(schedule, i) for i in range(len(schedule.sources))]
    merged = _merged(streams)
    mine, all_ = shard
    return islice(merged, mine, None, all_) if all_ > 1 else merged


def following(
    schedule: Schedule,
    source: int,
    user: int,
    session: int,
    *,
    done_ns: int,
    retry_ns: int = 0,
) -> Start | None:
    """Return the next session of the user whose last one is done; None: no further one.

    Args:
        schedule: That both are of.
        source: Index of the last session's source.
        user: Of the last session.
        session: Number of the last session.
        done_ns: Its end, after the start of measure.
        retry_ns: Least pause.
    """
    found = schedule.sources[source]
    number = session - 1 if session < 0 else session + 1
    if _had_all(schedule, session):
        return None
    due = done_ns + retry_ns
    if found.think is not None or isinstance(found, Open):
        key = f"{found.name or source}/{user}/{number}"
        if isinstance(found, Open) and not _returns(schedule, found, key):
            return None
        due = done_ns + max(retry_ns, _pause(schedule, found, key))
    if isinstance(found, Closed) and found.levels:
        due = _there(schedule, found, user, due)
    if due >= schedule.duration_ns:
        return None
    number = 0 if number < 0 <= due and not schedule.warming else number
    if isinstance(found, Open):
        population = found.population
    elif len(found.mix) == 1:
        population = found.mix[0][0]
    else:
        population = _drawn(schedule, found, source, user, number)
    return Start(due, source, population, user, number, _NO_HINTS)


def follower(schedule: Schedule, source: int) -> Follower | None:
    """Return `following` for one source, ready to be called for every session.

    Called with user, session, done_ns and retry_ns. None: nobody ever comes back.
    """
    found = schedule.sources[source]
    if isinstance(found, Open) and not found.returning:
        return None
    if (
        isinstance(found, Open)
        or found.think
        or found.levels
        or len(found.mix) > 1
        or schedule.sessions
    ):
        return lambda user, session, done_ns, retry_ns: following(
            schedule, source, user, session, done_ns=done_ns, retry_ns=retry_ns
        )
    population, end = found.mix[0][0], schedule.duration_ns

    def at_once(user: int, session: int, done_ns: int, retry_ns: int) -> Start | None:
        due = done_ns + retry_ns
        if due >= end:
            return None
        number = session + 1 if session >= 0 else 0 if due >= 0 else session - 1
        return Start(due, source, population, user, number, _NO_HINTS)

    return at_once


def _had_all(schedule: Schedule, session: int) -> bool:
    """Return whether a user has had all sessions once the one of that number is done.

    Before measure any number of them may begin in a warm-up that is told as a time.
    """
    done = -session if schedule.warming else session + 1
    return 0 < schedule.sessions <= done


def _returns(schedule: Schedule, source: Open, key: str) -> bool:
    if not source.returning:
        return False
    return Random(f"{schedule.seed}/return/{key}").random() < source.returning


def _pause(schedule: Schedule, source: Open | Closed, key: str) -> int:
    if source.think is None:
        return 0
    return source.think(Random(f"{schedule.seed}/think/{key}"))


def _there(schedule: Schedule, source: Closed, user: int, due: int) -> int:
    """Return when *user* is there, *due* or the first time after it, maybe FOREVER."""
    times = stays(
        source.levels,
        user,
        lead_ns=schedule.warmup_ns,
        stagger_ns=source.stagger_ns,
    )
    return next((max(due, begin) for begin, end in times if due < end), FOREVER)


def _drawn(
    schedule: Schedule, source: Closed, index: int, user: int, session: int
) -> int:
    """Return the population of a closed user's session, drawn by the mix's weights."""
    if len(source.mix) == 1:
        return source.mix[0][0]
    rng = Random(f"{schedule.seed}/mix/{source.name or index}/{user}/{session}")
    populations, weights = zip(*source.mix, strict=True)
    found: int = rng.choices(populations, weights)[0]
    return found


def _order(start: Start) -> tuple[int, int, int]:
    return start.offset_ns, start.source, start.user


def _stream(schedule: Schedule, index: int) -> Iterator[Start]:
    source = schedule.sources[index]
    if isinstance(source, Closed):
        return _first_of_users(schedule, index, source)
    users = range(source.users) if source.users else (-1,)
    return _merged([_arrivals(schedule, index, source, u) for u in users])


def _merged(streams: Sequence[Iterator[Start]]) -> Iterator[Start]:
    """Merge by offset; a stream alone is passed on, which saves 1 µs a start."""
    return streams[0] if len(streams) == 1 else merge(*streams, key=_order)


def _first_of_users(schedule: Schedule, index: int, source: Closed) -> Iterator[Start]:
    lead, levels = schedule.warmup_ns, source.when()
    first = [
        first_stay(levels, user, lead_ns=lead, stagger_ns=source.stagger_ns)
        for user in range(source.users)
    ]
    came = sorted((at, user) for user, at in enumerate(first) if at is not None)
    for offset, user in came:
        if offset >= schedule.duration_ns:
            return
        session = -1 if offset < 0 or schedule.warming else 0
        population = _drawn(schedule, source, index, user, session)
        yield Start(offset, index, population, user, session, _NO_HINTS)


def _arrivals(
    schedule: Schedule, index: int, source: Open, user: int
) -> Iterator[Start]:
    lead, end = schedule.warmup_ns, schedule.duration_ns
    population, key = source.population, f"{source.name or index}/{user}"
    returning, most = source.returning > 0, schedule.sessions or None
    if lead or schedule.warming:
        # Numbers of its own: the measured sessions are the same whatever the warm-up.
        warmup = getattr(source.arrival, "warmup", source.arrival.offsets)
        rng = Random(f"{schedule.seed}/warmup/{key}")
        until, first = (end, most) if schedule.warming else (lead, None)
        for k, (offset, hints) in enumerate(islice(warmup(rng), first)):
            if offset >= until:
                break
            who, number = (-2 - k, 0) if returning else (user, -1 - k)
            yield Start(offset - lead, index, population, who, number, hints)
    if schedule.warming:
        return
    rng = Random(f"{schedule.seed}/arrivals/{key}")
    for k, (offset, hints) in enumerate(islice(source.arrival.offsets(rng), most)):
        if offset >= end:
            break
        who, number = (k, 0) if returning else (user, k)
        yield Start(offset, index, population, who, number, hints)
