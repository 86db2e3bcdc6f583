"""sha256 of what sessions ask: the same in every run with the same seed and inputs."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from random import Random
from typing import Any

from msgspec import structs

from djinnload.schedule import Population, Schedule, Start, starts
from djinnload.spi import Outcome, Reply, Request, Session

__all__ = ("fingerprint", "inputs")

#: Of each population: enough to notice another input, few enough to take no time.
_SESSIONS = 32
_REQUESTS = 64
_BYTES = 32 * 2**20
#: Looked at for the first sessions of a population that comes seldom.
_STARTS = 5_000


def fingerprint(requests: Iterable[Request]) -> str:
    """Return the sha256, 64 hex digits, of all that *requests* ask."""
    found = hashlib.sha256()
    for request in requests:
        said = (
            request.model,
            request.step,
            request.turn,
            request.units,
            request.due_offset_ns,
            request.think_ns,
            request.state,
            request.last,
            request.verify,
            request.needs,
        )
        found.update(repr(said).encode())
        for table in (request.inputs, request.full or {}):
            for name, tensor in table.items():
                shape = (name, tensor.name, tensor.shape, tensor.dtype)
                found.update(repr(shape).encode())
                found.update(tensor.data)
    return found.hexdigest()


def inputs(
    schedule: Schedule, populations: Sequence[Population]
) -> dict[str, dict[str, Any]]:
    """Return what the first sessions of each population ask, by its name.

    Of each at most 32 sessions, of each session at most 64 requests, and 32 MiB in all;
    replies that would have outputs have none here, so a session that needs them ends.

    Args:
        schedule: Of a cell; sources are of these populations.
        populations: Of the cell.

    Returns:
        ``sessions``, ``requests``, ``bytes`` of their tensors, and ``sha256``.
    """
    # Without warm-up: measured sessions are the same, and closed ones begin at 0.
    measured = starts(structs.replace(schedule, warmup_ns=0))
    first: dict[int, list[Start]] = {}
    for start in islice(measured, _STARTS):
        several = first.setdefault(start.population, [])
        if len(several) < _SESSIONS:
            several.append(start)
    return {
        population.name: _asked(schedule.seed, population, first.get(index, []))
        for index, population in enumerate(populations)
    }


def _asked(seed: int, population: Population, begin: Sequence[Start]) -> dict[str, Any]:
    digest = hashlib.sha256()
    sessions = requests = nbytes = 0
    for start in begin:
        if nbytes >= _BYTES:
            break
        told = list(_session(seed, population, start))
        digest.update(f"{start.user}/{start.session}/{fingerprint(told)}\n".encode())
        sessions += 1
        requests += len(told)
        nbytes += sum(t.nbytes for r in told for t in _tensors(r))
    return {
        "sessions": sessions,
        "requests": requests,
        "bytes": nbytes,
        "sha256": digest.hexdigest(),
    }


def _tensors(request: Request) -> Iterator[Any]:
    tables: tuple[Mapping[str, Any], ...] = (request.inputs, request.full or {})
    return (tensor for table in tables for tensor in table.values())


def _session(seed: int, population: Population, start: Start) -> Iterator[Request]:
    """Yield what a session asks if all is ok; the engine gives it the same numbers."""
    key = f"{seed}/input/{population.name}/{start.user}/{start.session}"
    described = Session(
        Random(key), start.user, start.session, start.hints, population.behaviours
    )
    generator = population.session(described)
    try:
        request = next(generator)
        for _ in range(_REQUESTS):
            if not isinstance(request, Request):
                return  # type: ignore[unreachable] # mypy believes the plugin
            yield request
            request = generator.send(Reply(Outcome.OK))
    except Exception:  # noqa: BLE001 - its end, or it needs outputs that are not there
        return
    finally:
        generator.close()
