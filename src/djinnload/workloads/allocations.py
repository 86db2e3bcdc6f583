"""Workload ``allocations``: sessions take memory on the server, hold and free it."""

import math
from collections import deque
from collections.abc import Generator
from random import Random
from struct import pack, unpack
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from djinnload.errors import ScenarioError
from djinnload.spi import (
    Assets,
    Check,
    Duration,
    Outcome,
    Reference,
    Reply,
    Request,
    Session,
    Share,
    Size,
    Tensor,
)

__all__ = ("Allocations",)

_MODEL = "allocator"
_STEP = "allocate"
#: Name of the session's memory on the server.
_STATE = "blocks"


class AllocationsOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the workload ``allocations``.

    Attributes:
        allocations: In one session.
        smallest: Bytes of a block at least, > 0; between the two log-uniform.
        largest: Bytes of a block at most.
        reuse: Probability that a block has the size of an earlier one of its session.
        hold: Between a reply and the session's next request.
        blocks: That a session holds between two requests: each is freed when so many
            younger ones have been asked for.
    """

    allocations: Annotated[int, Meta(ge=1)] = 100
    smallest: Size = Size(256 * 2**10)
    largest: Size = Size(16 * 2**20)
    reuse: Share = Share(0.3)
    hold: Duration = Duration(5_000_000)
    blocks: Annotated[int, Meta(ge=1)] = 1


class Allocations:
    """One allocation a request; the session's last frees all that it still has.

    What is asked for follows from the session's seed alone, never from a reply: the
    same in every arm.
    """

    Options: ClassVar[type[Struct]] = AllocationsOptions
    unit = "allocations"

    def __init__(self, options: AllocationsOptions, assets: Assets) -> None:
        assets.model(_MODEL)
        low, high = int(options.smallest), int(options.largest)
        if not 0 < low <= high:
            reason = f"{low} bytes must be 1B or more, and no more than largest, {high}"
            raise ScenarioError("smallest", reason)
        self._options = options
        self._logs = math.log(low), math.log(high)

    def session(self, session: Session) -> Generator[Request, Reply, None]:
        """Yield ``allocations`` requests; after one that failed, one that frees all."""
        options, drawn = self._options, list[int]()
        held: deque[int] = deque()
        for number in range(options.allocations):
            drawn.append(self._size(session.rng, drawn))
            released = [held.popleft()] if len(held) == options.blocks else []
            held.append(number)
            last = number == options.allocations - 1
            hold_ns = options.hold if number else 0
            reply = yield _request(number, drawn[-1], released, hold_ns, last=last)
            if reply.outcome is not Outcome.OK:
                if not last:
                    yield _request(number, 0, [], 0, last=True)
                return

    def verify(self, request: Request, reply: Reply, reference: Reference) -> Check:
        """Compare what the server says that the session holds with what it must."""
        state = reference.state.setdefault(_STATE, {})
        for number in _numbers(request.inputs.get("release")):
            state.pop(number, None)
        if block := _numbers(request.inputs.get("block")):
            state[block[0]] = block[1]
        wanted = len(state), sum(state.values())
        got = _numbers(reply.outputs.get("held"))
        return Check(ok=got == wanted, reason=f"holds {got}, not {wanted}")

    def _size(self, rng: Random, drawn: list[int]) -> int:
        # Both are always drawn: what comes later does not depend on the choice.
        again, fresh = rng.random(), round(math.exp(rng.uniform(*self._logs)))
        if drawn and again < self._options.reuse:
            return drawn[int(again / self._options.reuse * len(drawn))]
        return fresh


def _request(
    number: int, nbytes: int, released: list[int], hold_ns: int, *, last: bool
) -> Request:
    inputs = {}
    if nbytes:
        inputs["block"] = _tensor("block", number, nbytes)
    if released:
        inputs["release"] = _tensor("release", *released)
    return Request(
        _MODEL,
        inputs,
        step=_STEP if nbytes else "free",
        turn=number,
        think_ns=hold_ns,
        state=_STATE,
        last=last,
    )


def _tensor(name: str, *numbers: int) -> Tensor:
    data = pack(f"<{len(numbers)}q", *numbers)
    return Tensor(name, (len(numbers),), "int64", data)


def _numbers(tensor: Tensor | None) -> tuple[int, ...]:
    return () if tensor is None else unpack(f"<{tensor.shape[0]}q", tensor.data)
