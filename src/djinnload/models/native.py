"""PyTorch in a process of its own: requests in by a pipe, answers out, no network.

The other side is ``djinnload.targets.local``. What a request holds and what comes back
is the same as of a server; state and weights stay here.
"""

import os
import struct
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

import msgspec
from msgspec import Struct

from djinnload.clock import monotonic_ns
from djinnload.errors import DjinnloadError
from djinnload.models import build, families, weights
from djinnload.models.replay import Plain
from djinnload.models.tolerance import probe
from djinnload.spi import Model, Tensor

__all__ = ("LENGTH", "Asked", "Native", "Ready", "Said", "Setup")

LENGTH: Final = struct.Struct("!Q")  #: Before each message.


class Setup(Struct, frozen=True, array_like=True):
    """The first message: what is run, and how; answered with `Ready`."""

    models: tuple[Model, ...]
    device: str
    threads: int
    nice: int


class Ready(Struct, frozen=True, array_like=True):
    """Hashes of the weights, by model; *error* if any model cannot be had."""

    weights: dict[str, str]
    error: str = ""


class Asked(Struct, frozen=True, array_like=True):
    """A request.

    Attributes:
        session: Whose state it begins or continues; empty: none.
        last: The state is needed no more.
    """

    number: int
    model: str
    inputs: tuple[Plain, ...]
    session: str
    continues: bool
    last: bool
    needs: tuple[str, ...]


class Said(Struct, frozen=True, array_like=True):
    """What came of it; times are of the host's monotonic clock."""

    number: int
    outputs: tuple[Plain, ...] = ()
    reused: int = 0
    begun_ns: int = 0
    done_ns: int = 0
    error: str = ""


class _Kept(Struct):
    cache: Any
    tokens: int
    encoded: Any


class Native:
    """The models, and the state of sessions.

    Args:
        setup: Models, device, threads.
    """

    def __init__(self, setup: Setup) -> None:
        import torch

        torch.set_num_threads(setup.threads)
        torch.backends.cudnn.allow_tf32 = False
        self._device = setup.device
        self._sessions: dict[str, _Kept] = {}
        self._modules: dict[str, tuple[Model, Any]] = {}
        for model in setup.models:
            module = build.build(model).to(setup.device)
            self._modules[model.name] = model, module
            with torch.inference_mode():  # no request pays for the first time
                module(**probe(model, module))

    def run(self, asked: Asked) -> Said:
        """Answer a request; whatever is wrong with it is said."""
        begun_ns = monotonic_ns()
        try:
            outputs, reused = self._forward(asked)
        except Exception as error:  # noqa: BLE001 - it is the answer
            self._sessions.pop(asked.session, None)
            return Said(asked.number, error=f"{type(error).__name__}: {error}")
        return Said(asked.number, outputs, reused, begun_ns, monotonic_ns())

    def _forward(self, asked: Asked) -> tuple[tuple[Plain, ...], int]:
        import torch

        model, module = self._modules[asked.model]
        weight = next(module.parameters())
        given = {each.name: _to_torch(each, weight) for each in asked.inputs}
        kept = self._sessions.pop(asked.session) if asked.continues else None
        cached = families.family(model.architecture).cached
        name = build.cache_name(module)
        if kept is not None:
            given[name] = kept.cache
            if kept.encoded is not None:
                given["encoder_outputs"] = (kept.encoded,)
        keeps = bool(cached and asked.session)
        if "use_cache" in build.arguments(module):
            given["use_cache"] = keeps
        with torch.inference_mode():
            found = module(**given)
        past = 0 if kept is None else kept.tokens
        if keeps and not asked.last:
            encoded = found.get("encoder_last_hidden_state")
            tokens = past + _fed(model, given)
            self._sessions[asked.session] = _Kept(found[name], tokens, encoded)
        return tuple(_needed(found, asked.needs)), past


def main() -> None:
    """Be the child, until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    asked = sys.stdin.buffer
    setup = msgspec.msgpack.decode(_read(asked), type=Setup)
    os.nice(max(0, setup.nice - os.nice(0)))
    try:
        native = Native(setup)
        hashes = {model.name: weights.sha256(model) for model in setup.models}
    except (DjinnloadError, RuntimeError, ValueError) as error:
        _write(answers, Ready({}, str(error)))
        return
    _write(answers, Ready(hashes))
    decoder = msgspec.msgpack.Decoder(Asked)
    while payload := _read(asked):
        _write(answers, native.run(decoder.decode(payload)))


def _read(stream: BinaryIO) -> bytes:
    header = stream.read(LENGTH.size)
    return stream.read(*LENGTH.unpack(header)) if len(header) == LENGTH.size else b""


def _write(stream: BinaryIO, message: Struct) -> None:
    payload = msgspec.msgpack.encode(message)
    stream.write(LENGTH.pack(len(payload)) + payload)
    stream.flush()


def _fed(model: Model, given: Mapping[str, Any]) -> int:
    ports = families.family(model.architecture).inputs
    ids = next(port.name for port in ports if port.below)
    return int(given[ids].shape[1])


def _needed(found: Mapping[str, Any], needs: tuple[str, ...]) -> Any:
    import torch

    tensors = {k: v for k, v in found.items() if isinstance(v, torch.Tensor)}
    for need in needs or tuple(tensors):
        name, last, _ = need.partition("[")
        value = tensors[name][:, -1:] if last else tensors[name]
        if value.dtype == torch.bfloat16:  # numpy has no such type
            value = value.float()
        made = Tensor.of(name, value.contiguous().cpu().numpy())
        yield Plain(made.name, made.shape, made.dtype, bytes(made.data))


def _to_torch(plain: Plain, like: Any) -> Any:
    import torch

    flat = torch.frombuffer(bytearray(plain.data), dtype=getattr(torch, plain.dtype))
    value = flat.reshape(plain.shape)
    if value.is_floating_point():
        value = value.to(like.dtype)
    return value.to(like.device)


if __name__ == "__main__":
    main()
