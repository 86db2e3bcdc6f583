"""Workload ``echo``: bytes there and back, no model; the path without the computing."""

import math
from collections.abc import Generator
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
    Size,
    Tensor,
)

__all__ = ("Echo",)

_POOL_BYTES = 64 * 2**20
_POOL_COUNT = 64


class EchoOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the workload ``echo``.

    Attributes:
        payload: Bytes of each request, > 0.
        shape: Of the payload as uint8; default: one dimension.
        units: Work done by one request.
        requests: In one session.
        think: Pause before each request of a session but the first.
    """

    payload: Size = Size(64)
    shape: tuple[Annotated[int, Meta(ge=1)], ...] | None = None
    units: Annotated[float, Meta(gt=0)] = 1.0
    requests: Annotated[int, Meta(ge=1)] = 1
    think: Duration = Duration(0)


class Echo:
    """Sends random bytes and checks that they come back as they were.

    Payloads are of a pool made beforehand, in turn.
    """

    Options: ClassVar[type[Struct]] = EchoOptions
    unit = "requests"

    def __init__(self, options: EchoOptions, assets: Assets) -> None:
        assets.model("echo")
        size = int(options.payload)
        if size < 1:
            raise ScenarioError("payload", f"{size} bytes are nothing to send, use 1B")
        shape = options.shape or (size,)
        if math.prod(shape) != size:
            reason = f"{shape} are {math.prod(shape)} bytes, but payload is {size}"
            raise ScenarioError("shape", reason)
        count = max(1, min(_POOL_COUNT, _POOL_BYTES // size))
        payloads = (_payload(assets.seed, i, shape) for i in range(count))
        self._requests = options.requests
        self._pool = [_pair(payload, options) for payload in payloads]

    def session(self, session: Session) -> Generator[Request, Reply, None]:
        """Yield ``requests`` requests; give up at the first that fails."""
        # By number, not drawn: random numbers of its own cost a session 5 µs.
        pool, first = self._pool, session.user + session.index * self._requests
        for i in range(self._requests):
            reply = yield pool[(first + i) % len(pool)][i > 0]
            if reply.outcome is not Outcome.OK:
                return

    def verify(self, request: Request, reply: Reply, reference: Reference) -> Check:
        """Compare outputs with inputs, byte for byte."""
        for name, sent in request.inputs.items():
            got = reply.outputs.get(name)
            if got is None:
                return Check(ok=False, reason=f"no output {name}")
            if (got.shape, got.dtype) != (sent.shape, sent.dtype):
                reason = f"{name} came back as {got.dtype} {got.shape}"
                return Check(ok=False, reason=reason)
            if memoryview(got.data) != memoryview(sent.data):
                return Check(ok=False, reason=f"{name} came back with other bytes")
        return Check(ok=True)


def _payload(seed: int, number: int, shape: tuple[int, ...]) -> Tensor:
    import numpy as np

    # numpy takes no negative seeds; which 128 bits stand for one does not matter.
    generator = np.random.default_rng([seed % 2**128, number])
    return Tensor("payload", shape, "uint8", generator.bytes(math.prod(shape)))


def _pair(payload: Tensor, options: EchoOptions) -> tuple[Request, Request]:
    """Return the request as the first of a session, and as a later one."""
    first = Request("echo", {payload.name: payload}, step="echo", units=options.units)
    later = Request(
        "echo",
        first.inputs,
        step="echo",
        units=options.units,
        think_ns=int(options.think),
    )
    return first, later
