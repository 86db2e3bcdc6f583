"""Populations + pacers + seed → one ordered stream of session starts; pure.

Offset 0 is the start of measure; warm-up starts have negative offsets and their own
seed stream, so that the measured schedule never depends on the warm-up.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from random import Random
from typing import NamedTuple

from msgspec import Struct

from djinnload.spi import Arrival, Reply, Request, Session

__all__ = ("Closed", "Open", "Population", "Schedule", "Start", "starts")


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

    The union over all shards is the stream of shard (0, 1).
    """
    raise NotImplementedError
