"""Workload ``synthetic``: blocks of given size, for load of a known kind."""

import math
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from djinnload.errors import ScenarioError
from djinnload.models import families
from djinnload.models.catalog import ready_for
from djinnload.spi import Assets, Model, Request, Tensor
from djinnload.workloads.one_request import OneRequest, pool_size, travelling

__all__ = ("Synthetic",)

_NEEDS = ("y",)
_SIZES = (
    *("hidden", "layers", "heads", "ff", "sequence"),
    *("channels", "image_size", "classes"),
)

_Size = Annotated[int, Meta(ge=1, le=999_999)]


class SyntheticOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the workload ``synthetic``; a size left out is the block's usual one.

    Attributes:
        block: ``transformer``: hidden, layers, heads, ff, sequence. ``cnn``: channels,
            layers, image_size, classes. ``hybrid``: all but sequence.
        hidden: Numbers that stand for one position; a multiple of heads.
        layers: Attention blocks, or convolutions.
        heads: Of each attention block.
        ff: Width of each block's inner layer.
        sequence: Positions.
        channels: Of each convolution.
        image_size: Pixels a side, of three colours.
        classes: Numbers that come out.
        batch: Items in one request.
        dtype: Of the weights.
    """

    block: Literal["transformer", "cnn", "hybrid"]
    hidden: _Size | None = None
    layers: _Size | None = None
    heads: _Size | None = None
    ff: _Size | None = None
    sequence: _Size | None = None
    channels: _Size | None = None
    image_size: _Size | None = None
    classes: _Size | None = None
    batch: Annotated[int, Meta(ge=1, le=1024)] = 1
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"


class Synthetic(OneRequest):
    """One request a session."""

    Options: ClassVar[type[Struct]] = SyntheticOptions
    unit = "items"

    def __init__(self, options: SyntheticOptions, assets: Assets) -> None:
        model = assets.model(_name(options), dtype=options.dtype)
        ready_for("synthetic", model)
        _check(model)
        super().__init__(model, _requests(model, options.batch, assets.seed))


def _name(options: SyntheticOptions) -> str:
    """Return the model's name: the sizes are part of it, for the server builds it."""
    sizes = {name: getattr(options, name) for name in _SIZES}
    given = ",".join(f"{name}={size}" for name, size in sizes.items() if size)
    name = f"synthetic-{options.block}"
    return f"{name}:{given}" if given else name


def _check(model: Model) -> None:
    config = model.config
    hidden, heads = config.get("hidden", 1), config.get("heads", 1)
    if hidden % heads:
        reason = f"{hidden} is not a multiple of {heads}, the number of heads"
        raise ScenarioError("hidden", reason)
    if "hidden" in config and config.get("image_size", 8) % 8:
        reason = f"{config['image_size']} is not a multiple of 8, the side of a patch"
        raise ScenarioError("image_size", reason)


def _requests(model: Model, batch: int, seed: int) -> Iterator[Request]:
    import numpy as np

    generator = np.random.default_rng(seed % 2**128)
    (port,) = families.family(model.architecture).inputs
    shape = families.shape(port, model.config, batch=batch, length=1)
    for _ in range(pool_size(4 * math.prod(shape))):
        values = generator.standard_normal(shape, dtype=np.float32)
        given = Tensor.of(port.name, travelling(values, model.dtype))
        yield Request(
            model.name,
            {port.name: given},
            step="forward",
            units=batch,
            needs=_NEEDS,
        )
