"""The outer layer of Djinn's payloads, for both sides: versions, JSON, fields."""

from collections.abc import Mapping, Sequence
from typing import Any

from djinnload.errors import RemoteProtocolError
from djinnload.wire.frames import Buffer, MessageType, frame, pads
from djinnload.wire.payload import U32, Cursor, dumps, loads

V1, V2 = 1, 2
#: Result types of an EXECUTE_MODEL's reply.
TENSOR, DICT, TUPLE, NONE = 1, 2, 3, 4


def joined(kind: MessageType, head: bytes, tail: Sequence[Buffer]) -> list[Buffer]:
    """Return the frame of *head* and *tail*, in as few buffers as copy no tensor."""
    if tail:
        return frame(kind, [head + tail[0], *tail[1:]])
    return frame(kind, [head])


def v1(
    kind: MessageType, fields: Mapping[str, Any], tail: Sequence[Buffer] = ()
) -> list[Buffer]:
    """Return a v1 message."""
    document = dumps(fields)
    document += pads(5 + len(document) + sum(len(part) for part in tail))
    return joined(kind, b"\x01" + U32.pack(len(document)) + document, tail)


def bare_json(fields: Mapping[str, Any]) -> list[Buffer]:
    """Return a CACHE_QUERY, or its reply: JSON and nothing else."""
    document = dumps(fields)
    return frame(MessageType.CACHE_QUERY, [document + pads(len(document))])


def version(cursor: Cursor, expected: int) -> None:
    """Read the payload's version and check it."""
    found = cursor.u8("version")
    if found != expected:
        raise RemoteProtocolError(f"payload version {found}, expected {expected}")


def fields(cursor: Cursor) -> dict[str, Any]:
    """Return the JSON object of a v1 payload."""
    version(cursor, V1)
    return loads(cursor.document(cursor.u32("JSON length")))


def string(fields: Mapping[str, Any], name: str) -> str:
    """Return the string that *fields* must have under *name*."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise RemoteProtocolError(f"{name} is missing or no string")
    return value


def strings(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the strings that *fields* must have under *name*."""
    values = fields.get(name)
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise RemoteProtocolError(f"{name} is missing or no list of strings")
    return tuple(values)
