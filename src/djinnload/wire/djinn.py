"""Djinn's wire protocol, both sides, without I/O.

Encoders return buffers to write in order; tensors are never copied. Decoders return
views of the payload they were given, and raise only RemoteProtocolError. Model code and
pickles are neither sent nor read: a registration's `architecture_data` is always empty.
"""

from djinnload.wire.client import (
    ExecuteReply,
    cache_query,
    decode_bare,
    decode_execute_reply,
    decode_v1,
    execute_request,
    model_class,
    register_by_id,
    register_with_weights,
    tensor_fields,
    v2_request,
    warmup,
)
from djinnload.wire.frames import (
    FORBIDDEN,
    HEADER,
    MAX_PAYLOAD,
    Buffer,
    Frame,
    FrameReader,
    MessageType,
    Spare,
    frame,
)
from djinnload.wire.server import (
    CacheQuery,
    ExecuteRequest,
    InitRequest,
    OtherRequest,
    RegisterRequest,
    Request,
    WarmupRequest,
    cache_reply,
    decode_request,
    error_reply,
    execute_reply,
    v1_reply,
)

__all__ = (
    "FORBIDDEN",
    "HEADER",
    "MAX_PAYLOAD",
    "Buffer",
    "CacheQuery",
    "ExecuteReply",
    "ExecuteRequest",
    "Frame",
    "FrameReader",
    "InitRequest",
    "MessageType",
    "OtherRequest",
    "RegisterRequest",
    "Request",
    "Spare",
    "WarmupRequest",
    "cache_query",
    "cache_reply",
    "decode_bare",
    "decode_execute_reply",
    "decode_request",
    "decode_v1",
    "error_reply",
    "execute_reply",
    "execute_request",
    "frame",
    "model_class",
    "register_by_id",
    "register_with_weights",
    "tensor_fields",
    "v1_reply",
    "v2_request",
    "warmup",
)
