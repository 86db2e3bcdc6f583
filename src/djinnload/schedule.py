"""Populations + pacers + seed → one ordered stream of session starts; pure.

Offset 0 is the start of measure; warm-up starts have negative offsets and their own
seed stream, so that the measured schedule never depends on the warm-up.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from random import Random
from typing import NamedTuple

from msgspec import Struct

from djinnload.spi import Arrival, Reply, Request, Session

__all__ = (
    "Closed",
    "Open",
    "Population",
    "Schedule",
    "Start",
    "drawn",
    "pause",
    "starts",
)

_NO_HINTS: Mapping[str, int] = {}


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

    Attributes:
        population: Index into the populations.
        users: 0: one stream without users; n: n independent streams (``per = "user"``).
    """

    population: int
    arrival: Arrival
    users: int = 0


class Closed(Struct, frozen=True):
    """Users who each start the next session when the last is done and the pause over.

    Attributes:
        mix: (population index, weight); each session's population is drawn by weight.
            One entry for an ordinary closed population, several in calibration.
        think: Draws the pause between sessions in ns; None: no pause.
    """

    users: int
    mix: tuple[tuple[int, float], ...]
    think: Callable[[Random], int] | None = None


class Schedule(Struct, frozen=True):
    """When sessions start: a pure function of this value.

    Attributes:
        seed: Of the repeat; equal in every arm.
        duration_ns: Of measure; no session starts at or after it.
    """

    seed: int
    sources: tuple[Open | Closed, ...]
    warmup_ns: int
    duration_ns: int


class Start(NamedTuple):
    """One session start that does not wait for anything.

    For a closed source: each user's first; the engine arms the later ones.
    """

    offset_ns: int
    source: int
    population: int
    user: int
    session: int
    hints: Mapping[str, int]


def starts(schedule: Schedule, *, shard: tuple[int, int] = (0, 1)) -> Iterator[Start]:
    """Yield the starts of shard i of n, ordered by offset.

    The union over all shards is the stream of shard (0, 1). Nothing is computed before
    it is asked for; memory is constant.
    """
    streams = [_stream(schedule, i) for i in range(len(schedule.sources))]
    merged = _merged(streams)
    mine, all_ = shard
    return islice(merged, mine, None, all_) if all_ > 1 else merged


def drawn(schedule: Schedule, source: int, user: int, session: int) -> int:
    """Return the population of a closed user's session, drawn by the mix's weights."""
    mix = _closed(schedule, source).mix
    if len(mix) == 1:
        return mix[0][0]
    rng = Random(f"{schedule.seed}/mix/{source}/{user}/{session}")
    populations, weights = zip(*mix, strict=True)
    found: int = rng.choices(populations, weights)[0]
    return found


def pause(schedule: Schedule, source: int, user: int, session: int) -> int:
    """Return the ns that a closed user thinks before a session; 0 without thinking."""
    think = _closed(schedule, source).think
    if think is None:
        return 0
    return think(Random(f"{schedule.seed}/think/{source}/{user}/{session}"))


def _closed(schedule: Schedule, source: int) -> Closed:
    found = schedule.sources[source]
    assert isinstance(found, Closed)  # noqa: S101 - only closed users are asked for
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
    session = -1 if schedule.warmup_ns else 0
    for user in range(source.users):
        population = drawn(schedule, index, user, session)
        yield Start(-schedule.warmup_ns, index, population, user, session, _NO_HINTS)


def _arrivals(
    schedule: Schedule, index: int, source: Open, user: int
) -> Iterator[Start]:
    population = source.population
    lead = schedule.warmup_ns
    if lead:
        # Numbers of its own: the measured sessions are the same whatever the warm-up.
        rng = Random(f"{schedule.seed}/warmup/{index}/{user}")
        for k, (offset, hints) in enumerate(source.arrival.offsets(rng)):
            if offset >= lead:
                break
            yield Start(offset - lead, index, population, user, -1 - k, hints)
    rng = Random(f"{schedule.seed}/arrivals/{index}/{user}")
    end = schedule.duration_ns
    for k, (offset, hints) in enumerate(source.arrival.offsets(rng)):
        if offset >= end:
            break
        yield Start(offset, index, population, user, k, hints)
