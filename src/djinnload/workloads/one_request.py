"""What workloads share whose sessions are one request each, without state.

Everything is prepared beforehand: at due time a request is picked from a pool.
"""

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

from djinnload.models.checkpoint import to_float32
from djinnload.spi import Check, Model, Reference, Reply, Request, Session, Tensor

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float32]]

__all__ = ("OneRequest", "compare", "pool_size", "travelling")

_POOL_COUNT = 64
_POOL_BYTES = 64 * 2**20


class OneRequest:
    """A session is one request of a pool; its outputs are held against local ones."""

    def __init__(self, model: Model, pool: Iterable[Request]) -> None:
        self._dtype = model.dtype
        self._pool = tuple(pool)

    def session(self, session: Session) -> Generator[Request, Reply, None]:
        """Yield one request."""
        yield self._pool[int(session.rng.random() * len(self._pool))]

    def verify(self, request: Request, reply: Reply, reference: Reference) -> Check:
        """Compare every output that is needed with a local forward."""
        return compare(request, reply, reference, self._dtype)


def pool_size(nbytes: int) -> int:
    """Return how many requests of *nbytes* to prepare: 2 to 64, of 64 MiB at best."""
    return max(2, min(_POOL_COUNT, _POOL_BYTES // max(1, nbytes)))


def travelling(values: "np.ndarray[Any, Any]", dtype: str) -> "np.ndarray[Any, Any]":
    """Return floats as they are sent to weights of *dtype*: 16 bits, else 32."""
    # The wire has no bfloat16; the server rounds.
    return values.astype("float16" if dtype == "float16" else "float32")


def compare(request: Request, reply: Reply, reference: Reference, dtype: str) -> Check:
    """Return whether all outputs in ``request.needs`` are those of a local forward.

    Each may be off by the model's tolerance × its standard deviation, anywhere.

    Args:
        request: As sent; ``NAME[-1]`` needs the last position only.
        reply: All positions may have come all the same.
        reference: The local copy.
        dtype: Of the weights.
    """
    import numpy as np

    local = reference.forward(request.model, request.inputs)
    tolerance = reference.tolerance(request.model)
    largest = 0.0
    for need in request.needs:
        name, last, _ = need.partition("[")
        wanted = to_float32(local[name])
        served, reason = _served(reply, name, wanted.shape, dtype, last=bool(last))
        if served is None:
            return Check(ok=False, reason=reason)
        if last:
            wanted, served = wanted[:, -1:], served[:, -1:]
        difference = float(np.abs(served - wanted).max())
        allowed = tolerance * float(wanted.std())
        largest = max(largest, difference)
        if not difference <= allowed:
            reason = (
                f"{name} differs by {difference:.3g} at most, allowed {allowed:.3g}"
            )
            return Check(ok=False, max_abs_diff=difference, reason=reason)
    return Check(ok=True, max_abs_diff=largest)


def _served(
    reply: Reply, name: str, shape: tuple[int, ...], dtype: str, *, last: bool
) -> "tuple[Floats | None, str]":
    """Return an output, or None and what is wrong with it."""
    import numpy as np

    tensor: Tensor | None = reply.outputs.get(name)
    if tensor is None:
        return None, f"no output {name} (there is: {', '.join(reply.outputs)})"
    # A server may widen its 16 bits, for numpy has no bfloat16.
    if tensor.dtype not in {dtype, "float32"}:
        return None, f"{name} is {tensor.dtype}, not {dtype}"
    shapes = {shape, (shape[0], 1, *shape[2:])} if last else {shape}
    if tensor.shape not in shapes:
        any_of = " or ".join(map(str, sorted(shapes)))
        return None, f"{name} has shape {tensor.shape}, not {any_of}"
    try:
        served = to_float32(tensor)
    except ValueError:
        return None, f"{name} is {tensor.nbytes} bytes, not {tensor.shape}"
    if not np.isfinite(served).all():
        return None, f"{name} holds NaN or infinity"
    return served, ""
