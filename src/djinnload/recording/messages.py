"""What a recorder and the process that writes say to each other, as msgpack frames.

A frame is its length (4 bytes, little-endian) and one message. Plain data only.
"""

import struct
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from djinnload.recording.live import Live
from djinnload.sample import Header

__all__ = (
    "Close",
    "Open",
    "Order",
    "Report",
    "Rows",
    "decode_order",
    "decode_report",
    "encode",
    "frames",
)

_LENGTH = struct.Struct("<I")


class _Tagged(Struct, frozen=True, tag=str.lower, array_like=True):
    channel: int


class Open(_Tagged, frozen=True):
    """The first order of a channel; it is answered.

    Attributes:
        channel: Number of the recording, unique in its process.
        directory: Of the cell.
        name: Of the probes' file; empty: samples.
        header: Of samples.
    """

    directory: str
    name: str
    header: Header | None
    rotate_bytes: int


class Rows(_Tagged, frozen=True):
    """Rows to write, in order; not answered."""

    rows: list[Any]


class Close(_Tagged, frozen=True):
    """The last order of a channel; it is answered once the disk has confirmed it."""


Order = Open | Rows | Close


class Report(Struct, frozen=True, omit_defaults=True):
    """How a channel does.

    Attributes:
        answer: Whether an order is answered by it.
        errno: Of what stopped the writing, if it was an OSError.
        error: What stopped the writing; empty: nothing.
        live: Counts by population.
        readings: The newest, by ``device/name``; of probes.
        echoes: See `Recorder.echoes`; in the last report alone.
    """

    channel: int
    answer: bool = False
    errno: int | None = None
    error: str = ""
    live: dict[str, Live] = {}
    readings: dict[str, float] = {}
    echoes: list[dict[str, Any]] = []


def _plain(value: Any) -> Any:
    """Return what is the same in plain data; a plugin's reply may hold anything."""
    if isinstance(value, Mapping):
        return dict(value)
    item = getattr(value, "item", None)
    if item is None:
        raise TypeError(f"cannot record a {type(value).__name__}")
    return item()


_encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode
decode_order = msgspec.msgpack.Decoder(Order).decode
decode_report = msgspec.msgpack.Decoder(Report).decode


def encode(message: Order | Report) -> bytes:
    """Return the frame of *message*.

    Raises:
        TypeError: It holds what is no plain data.
    """
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


def frames(received: bytearray) -> list[bytes]:
    """Take the whole frames off the front of *received*; return their messages."""
    found, at, size = [], 0, _LENGTH.size
    while len(received) - at >= size:
        end = at + size + _LENGTH.unpack_from(received, at)[0]
        if end > len(received):
            break
        found.append(bytes(received[at + size : end]))
        at = end
    del received[:at]
    return found
