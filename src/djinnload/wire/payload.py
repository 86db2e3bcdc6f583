"""What Djinn's payloads are made of: JSON objects, strings and tensors, bounds checked.

Reading copies no tensor: all are views of the payload. Only RemoteProtocolError comes
out of hostile bytes.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import prod
from struct import Struct as Packing
from struct import error as unreadable
from typing import Any

import msgspec

from djinnload.errors import LocalProtocolError, RemoteProtocolError
from djinnload.spi import Tensor
from djinnload.wire.frames import Buffer

U32 = Packing(">I")
U64 = Packing(">Q")
_u32, _u64 = U32.unpack_from, U64.unpack_from

MAX_JSON = 10 * 2**20
#: More dimensions than any array has, and numpy's own limit.
MAX_DIMS = 64
MAX_DIM = 2**63
_SHORT = 4096

ITEMSIZE: Mapping[str, int] = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "float16": 2,
    "bfloat16": 2,
    "float32": 4,
    "float64": 8,
}

_shape = msgspec.json.Decoder(list[int])
_object = msgspec.json.Decoder(dict[str, Any])


def dumps(fields: Mapping[str, Any]) -> bytes:
    """Return *fields* as Python's ``json.dumps`` writes them, which is Djinn's way.

    Raises:
        LocalProtocolError: They are not JSON, or too long.
    """
    try:
        document = json.dumps(fields, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise LocalProtocolError(f"cannot be sent as JSON: {error}") from error
    if len(document) > MAX_JSON:
        raise LocalProtocolError(f"{len(document)} bytes of JSON are over {MAX_JSON}")
    return document


def loads(document: Buffer) -> dict[str, Any]:
    """Return the JSON object in *document*.

    Raises:
        RemoteProtocolError: It is something else, or nested too deeply.
    """
    try:
        return _object.decode(document)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RemoteProtocolError(f"not a JSON object: {error}") from error


class Cursor:
    """Reads a payload from its start; every length is checked before it is used."""

    __slots__ = ("at", "end", "payload")

    def __init__(self, payload: Buffer) -> None:
        self.payload = memoryview(payload)
        self.end = len(self.payload)
        self.at = 0

    @property
    def left(self) -> int:
        """Return the bytes not read yet."""
        return self.end - self.at

    def take(self, n: int, what: str) -> memoryview:
        """Return the next *n* bytes."""
        at = self.at
        self.at = end = at + n
        if end > self.end:
            raise self._over(n, what)
        return self.payload[at:end]

    def u8(self, what: str) -> int:
        """Return the next byte."""
        at = self.at
        self.at = end = at + 1
        if end > self.end:
            raise self._over(1, what)
        return self.payload[at]

    def u32(self, what: str) -> int:
        """Return the next 4 bytes as a number."""
        at = self.at
        self.at = end = at + 4
        if end > self.end:
            raise self._over(4, what)
        value: int = _u32(self.payload, at)[0]
        return value

    def u64(self, what: str) -> int:
        """Return the next 8 bytes as a number."""
        at = self.at
        self.at = end = at + 8
        if end > self.end:
            raise self._over(8, what)
        value: int = _u64(self.payload, at)[0]
        return value

    def _over(self, n: int, what: str) -> RemoteProtocolError:
        left = self.end - self.at + n
        self.at -= n
        return RemoteProtocolError(
            f"{what} needs {n} bytes at {self.at}, {left} are left"
        )

    def document(self, length: int) -> memoryview:
        """Return the JSON document of *length* bytes."""
        if length > MAX_JSON:
            raise RemoteProtocolError(f"{length} bytes of JSON are over {MAX_JSON}")
        return self.take(length, "JSON")

    def text(self, what: str) -> str:
        """Return a string with its length before it."""
        raw = self.short(what)
        try:
            return str(raw, "utf-8")
        except UnicodeError as error:
            raise RemoteProtocolError(f"{what} is not UTF-8") from error

    def short(self, what: str) -> bytes:
        """Return the bytes of a short string with its length before it."""
        length = self.u32(what)
        if length > _SHORT:
            raise RemoteProtocolError(f"{what} of {length} bytes is over {_SHORT}")
        return bytes(self.take(length, what))

    def data(self, name: str, expected: int) -> memoryview:
        """Return a tensor's bytes, with their length before them."""
        nbytes = self.u64("length of a tensor")
        if nbytes != expected:
            raise _unlike(name, nbytes, expected)
        return self.take(nbytes, "tensor")

    def tensor(self, name: str) -> Tensor:
        """Return a tensor with shape (as JSON text) and dtype before it."""
        shape, dtype, nbytes = _heading(self.short("shape"), self.short("dtype"))
        return Tensor(name, shape, dtype, self.data(name, nbytes))

    def named(self) -> Tensor:
        """Return a tensor with name, shape (as JSON text) and dtype before it."""
        payload, at = self.payload, self.at
        try:
            shape_at = at + 4 + _u32(payload, at)[0]
            dtype_at = shape_at + 4 + _u32(payload, shape_at)[0]
            data_at = dtype_at + 12 + _u32(payload, dtype_at)[0]
        except unreadable:
            data_at = self.end + 1
        if data_at > self.end or data_at - at > _SHORT:
            return self.tensor(sys.intern(self.text("name of a tensor")))
        name, shape, dtype, nbytes = _lead(bytes(payload[at:data_at]))
        self.at = data_at
        return Tensor(name, shape, dtype, self.take(nbytes, "tensor"))

    def weight(self) -> Tensor:
        """Return a named tensor with binary shape, as in a weights blob."""
        name = self.text("name of a weight")
        ndim = self.u32(f"dimensions of {name!r}")
        if ndim > MAX_DIMS:
            raise RemoteProtocolError(f"weight {name!r} has {ndim} dimensions")
        shape = tuple(self.u32(f"shape of {name!r}") for _ in range(ndim))
        dtype = plain(self.text(f"dtype of {name!r}"))
        return Tensor(name, shape, dtype, self.data(name, size(shape, dtype)))


def plain(dtype: object) -> str:
    """Return *dtype* without ``torch.``."""
    name = dtype.removeprefix("torch.") if isinstance(dtype, str) else ""
    if name not in ITEMSIZE:
        raise RemoteProtocolError(f"no dtype named {str(dtype)[:40]!r}")
    return name


def size(shape: Sequence[int], dtype: str) -> int:
    """Return the bytes of a tensor."""
    return prod(shape) * ITEMSIZE[dtype]


def dims(shape: object) -> tuple[int, ...]:
    """Return *shape*, from JSON, if it can be a shape."""
    if not isinstance(shape, list) or len(shape) > MAX_DIMS:
        raise RemoteProtocolError(f"not a shape: {str(shape)[:80]}")
    for n in shape:
        if type(n) is not int or not 0 <= n < MAX_DIM:
            raise RemoteProtocolError(f"not a shape: {str(shape)[:80]}")
    return tuple(shape)


@lru_cache(maxsize=1024)
def _heading(shape: bytes, dtype: bytes) -> tuple[tuple[int, ...], str, int]:
    # Replies repeat a handful of headings: parsed once, checked once.
    try:
        found = dims(_shape.decode(shape))
        name = plain(dtype.decode())
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RemoteProtocolError(f"not a tensor's heading: {error}") from error
    return found, name, size(found, name)


@lru_cache(maxsize=1024)
def _lead(raw: bytes) -> tuple[str, tuple[int, ...], str, int]:
    # As of headings: all that stands before a tensor's bytes, taken as one.
    cursor = Cursor(raw)
    name = sys.intern(cursor.text("name of a tensor"))
    shape, dtype, nbytes = _heading(cursor.short("shape"), cursor.short("dtype"))
    said = cursor.u64("length of a tensor")
    if said != nbytes:
        raise _unlike(name, said, nbytes)
    return name, shape, dtype, nbytes


def _unlike(name: str, nbytes: int, expected: int) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"tensor {name!r} has {nbytes} bytes, its shape says {expected}"
    )


def view(tensor: Tensor) -> Buffer:
    """Return the tensor's bytes as a flat view, checked against its shape.

    Raises:
        LocalProtocolError: Length, shape and dtype do not agree.
    """
    data = memoryview(tensor.data)
    if not data.c_contiguous:
        raise LocalProtocolError(f"tensor {tensor.name!r} is not contiguous")
    itemsize = ITEMSIZE.get(tensor.dtype)
    if itemsize is None or prod(tensor.shape) * itemsize != data.nbytes:
        raise LocalProtocolError(
            f"tensor {tensor.name!r} of {tensor.dtype} {list(tensor.shape)} has "
            f"{data.nbytes} bytes"
        )
    if not data.nbytes:
        return b""  # a view with a 0 in its shape cannot be cast
    return data if data.format == "B" and data.ndim == 1 else data.cast("B")


def named(text: str) -> bytes:
    """Return *text* with its length before it."""
    try:
        raw = text.encode()
    except UnicodeError as error:
        raise LocalProtocolError(f"{text!r} cannot be sent as UTF-8") from error
    return U32.pack(len(raw)) + raw


def bare(tensor: Tensor, data: Buffer) -> bytes:
    """Return what stands before a reply tensor's *data*."""
    shape = named(str(list(tensor.shape)))
    return shape + named(f"torch.{tensor.dtype}") + U64.pack(memoryview(data).nbytes)
