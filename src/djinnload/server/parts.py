"""Calls that come in several frames: their tensors, kept until the last one is here."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from djinnload.server.inputs import RequestError
from djinnload.spi import Tensor

__all__ = ("Parts",)

#: A client that has sent no next part for so long will not.
STALE_NS = 120_000_000_000
_LONGEST_NAME = 1024


class _Begun(Struct):
    count: int
    seen: int = 0
    tensors: list[Tensor] = field(default_factory=list)
    nbytes: int = 0
    touched_ns: int = 0


class Parts:
    """The calls that are not whole yet.

    Args:
        limit: Bytes that all together may hold; more are refused.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begun: dict[str, _Begun] = {}

    @property
    def nbytes(self) -> int:
        """Return the bytes of all that is kept."""
        return sum(each.nbytes for each in self._begun.values())

    def add(
        self, ours: Mapping[str, Any], tensors: tuple[Tensor, ...], now_ns: int
    ) -> tuple[Tensor, ...] | None:
        """Return all tensors of the call with its last part; None: it is kept.

        Args:
            ours: ``part``, number (from 1) and count, and ``call``, the call's name.
            tensors: Of this part.
            now_ns: When it came.

        Raises:
            RequestError: It is no part, not the next one, or too much.
        """
        index, count, name = _read(ours)
        self._forget(now_ns)
        begun = self._begun.pop(name, None)
        if begun is None or index == 1:
            begun = _Begun(count)
        if index != begun.seen + 1 or count != begun.count:
            raise RequestError(
                f"part {index} of {count} where {begun.seen + 1} of {begun.count} is "
                "next; begin the call anew"
            )
        begun.tensors += tensors
        if index == count:
            return tuple(begun.tensors)
        nbytes = sum(tensor.nbytes for tensor in tensors)
        if self.nbytes + begun.nbytes + nbytes > self._limit:
            raise RequestError(f"parts of calls are over {self._limit} bytes")
        begun.seen, begun.touched_ns = index, now_ns
        begun.nbytes += nbytes
        self._begun[name] = begun
        return None

    def _forget(self, now_ns: int) -> None:
        for name, each in list(self._begun.items()):
            if now_ns - each.touched_ns > STALE_NS:
                del self._begun[name]


def _read(ours: Mapping[str, Any]) -> tuple[int, int, str]:
    part, name = ours.get("part"), ours.get("call")
    numbers = isinstance(part, list) and [type(each) for each in part] == [int, int]
    if not numbers or not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
        raise RequestError("a part needs part: [number, count] and call: its name")
    assert isinstance(part, list)  # noqa: S101 - looked at above
    index, count = part
    if not 1 <= index <= count:
        raise RequestError(f"there is no part {index} of {count}")
    return index, count, name
