"""One session told outside the engine, watched for what a workload must not do."""

import math
import sys
import time  # noqa: TID251 - not to read it, to see who sleeps
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Any

import numpy as np
from msgspec import Struct

from djinnload.spi import Reply, Request, Session, Tensor, Workload

__all__ = ("Told", "malformed", "tell")

#: Audit events (PEP 578) of what takes time that nobody can foresee.
_SLOW = {
    "open": "opens a file",
    "import": "imports a module",
    "time.sleep": "sleeps",
    "socket.connect": "connects a socket",
    "socket.getaddrinfo": "looks up a host",
    "subprocess.Popen": "starts a process",
    "os.system": "starts a shell",
    "os.listdir": "lists a folder",
}
_watched: list[str] | None = None
_hooked = False


class Told(Struct):
    """A session as it was told.

    Attributes:
        problems: Breaches of the contract, for people.
    """

    index: int
    requests: list[Request]
    problems: list[str]


def tell(
    workload: Workload,
    answer: Callable[[Request], Reply],
    seed: int,
    index: int,
    hints: Mapping[str, int],
    *,
    most: int,
) -> Told:
    """Tell session *index* to its end, or to *most* requests."""
    told = Told(index, [], [])
    # Named as the engine names it, so that it draws the same numbers.
    session = Session(Random(f"{seed}/input/checked/-1/{index}"), -1, index, hints)
    with _watching() as seen:
        try:
            _all(workload, session, answer, told, most)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            told.problems.append(f"session raises {type(error).__name__}: {error}")
    told.problems += [f"session {each}; prepare that in __init__" for each in seen]
    return told


def _all(
    workload: Workload,
    session: Session,
    answer: Callable[[Request], Reply],
    told: Told,
    most: int,
) -> None:
    generator = workload.session(session)
    try:
        request = next(generator)
        while True:
            if not isinstance(request, Request):
                # mypy believes the plugin; we do not.
                kind = type(request).__name__  # type: ignore[unreachable]
                told.problems.append(f"session yields {kind}, not a Request")
                break
            told.requests.append(request)
            if len(told.requests) == most:
                told.problems.append(f"session asks {most} requests and does not end")
                break
            request = generator.send(answer(request))
    except StopIteration:
        return
    generator.close()


def malformed(request: Request) -> Iterator[str]:
    """Yield what is wrong with a request's tensors."""
    for table in (request.inputs, request.full or {}):
        for name, tensor in table.items():
            if wrong := _wrong(name, tensor):
                yield f"input {name!r} of step {request.step!r} {wrong}"


def _wrong(name: str, tensor: Any) -> str:
    if not isinstance(tensor, Tensor):
        return f"is {type(tensor).__name__}, not a Tensor"
    if tensor.name != name:
        return f"calls itself {tensor.name!r}"
    try:
        size = 2 if tensor.dtype == "bfloat16" else np.dtype(tensor.dtype).itemsize
    except TypeError:
        return f"has the unknown dtype {tensor.dtype!r}"
    wanted = math.prod(tensor.shape) * size
    if tensor.nbytes != wanted:
        return f"has {tensor.nbytes} bytes; {tensor.shape} {tensor.dtype} is {wanted}"
    return ""


@contextmanager
def _watching() -> Iterator[list[str]]:
    """Collect what is slow while it happens; hooks cannot be removed, so one stays."""
    global _watched, _hooked  # noqa: PLW0603 - an audit hook is global
    if not _hooked:
        sys.addaudithook(_on_event)
        _hooked = True
    seen: list[str] = []
    _watched = seen
    sleep = time.sleep
    # Python raises an event for it from 3.13 on.
    time.sleep = lambda _: _on_event("time.sleep", ())
    try:
        yield seen
    finally:
        time.sleep = sleep
        _watched = None


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched is None or event not in _SLOW:
        return
    what = f"{_SLOW[event]} ({arguments[0]!r})" if arguments else _SLOW[event]
    if what not in _watched:
        _watched.append(what)
