"""Inputs of a request held against what the model takes, before it computes.

On a GPU an index out of range ends the process, and a wrong shape is told in words that
only torch understands.
"""

from collections.abc import Mapping
from typing import Any

from djinnload.models import families
from djinnload.models.families import Port
from djinnload.spi import Model

__all__ = ("RequestError", "check_inputs")


class RequestError(Exception):
    """A request cannot be served; the text is the reply's message."""


def check_inputs(model: Model, given: Mapping[str, Any], past: int) -> None:
    """Raise RequestError unless *model* can take these tensors.

    Args:
        model: That is asked.
        given: Tensors of torch, by name.
        past: Positions that its session already has.
    """
    family = families.family(model.architecture)
    ports = {port.name: port for port in family.inputs}
    if unknown := sorted(given.keys() - ports.keys()):
        raise RequestError(f"no input {unknown[0]!r}; there is: {', '.join(ports)}")
    batches = set()
    for name, port in ports.items():
        if name in given and port.once and past:
            raise RequestError(f"{name} is taken by a session's first request only")
        if name in given:
            _check_shape(model, port, given[name])
            _check_ids(model, port, given[name], past)
            batches.add(given[name].shape[0])
        elif port.required and not (port.once and past):
            raise RequestError(f"{name} of shape {_words(port)} is required")
    if len(batches) > 1:
        raise RequestError(f"inputs have batches of {sorted(batches)}, not one")


def _check_shape(model: Model, port: Port, value: Any) -> None:
    if value.ndim != len(port.shape):
        reason = f"{port.name} has shape {tuple(value.shape)}"
        raise RequestError(f"{port.name} of shape {_words(port)} is required; {reason}")
    wanted = families.shape(port, model.config, batch=1, length=1)
    for said, size, got in zip(port.shape, wanted, value.shape, strict=True):
        if said not in {"batch", "length"} and got != size:
            raise RequestError(
                f"{port.name} of shape {_words(port)} is required, "
                f"{said if isinstance(said, str) else 'that size'} is {size}, not {got}"
            )
    whole = port.dtype != "float"
    if whole and (value.is_floating_point() or value.dtype.itemsize == 1):
        raise RequestError(f"{port.name} must be int64 or int32")


def _check_ids(model: Model, port: Port, value: Any, past: int) -> None:
    if port.below:
        size = int(families.read(model.config, port.below))
        low, high = int(value.min()), int(value.max())
        if low < 0 or high >= size:
            reason = f"token ids {low} to {high} are not within 0 to {size - 1}"
            raise RequestError(reason)
    if port.room:
        room = int(families.read(model.config, port.room))
        if past + value.shape[1] > room:
            more = f"{past} positions and {value.shape[1]} more"
            raise RequestError(f"{more} exceed the model's {room}")


def _words(port: Port) -> str:
    sizes = (
        str(size).rpartition(".")[2].replace("length", "sequence")
        for size in port.shape
    )
    return f"[{', '.join(sizes)}]"
