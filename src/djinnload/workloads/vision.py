"""Workload ``vision``: batches of images in, a score for each class out."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from djinnload.models import images
from djinnload.models.catalog import ready_for
from djinnload.spi import Assets, Model, Request, Tensor
from djinnload.workloads.one_request import OneRequest, pool_size, travelling

__all__ = ("Vision", "batches")

_NEEDS = ("logits",)


class VisionOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the workload ``vision``.

    Attributes:
        model: Name in the catalog, or a checkpoint.
        images: A file or a folder; ``scikit-image``: photographs in that package;
            empty: seeded pictures. The model's image processor makes them ready.
        batch: Images in one request.
        dtype: Of the weights; pixels are sent in 16 bits for ``float16``.
    """

    model: str
    images: str = ""
    batch: Annotated[int, Meta(ge=1, le=1024)] = 1
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"


class Vision(OneRequest):
    """One request a session."""

    Options: ClassVar[type[Struct]] = VisionOptions
    unit = "images"

    def __init__(self, options: VisionOptions, assets: Assets) -> None:
        model = assets.model(options.model, dtype=options.dtype)
        ready_for("vision", model)
        pool = (
            Request(
                options.model,
                {pixels.name: pixels},
                step="classify",
                units=options.batch,
                needs=_NEEDS,
            )
            for pixels in batches(model, options.images, options.batch, assets.seed)
        )
        super().__init__(model, pool)


def batches(model: Model, source: str, batch: int, seed: int) -> Iterator[Tensor]:
    """Yield ``pixel_values`` of *batch* images each, as many as a pool takes.

    Args:
        model: That is to take them.
        source: As the option ``images``.
        batch: Images in each; those of *source* come round again.
        seed: Of seeded pictures.

    Raises:
        ScenarioError: An image cannot be read.
        HostError: A package that is needed is not installed.
    """
    import numpy as np

    generator = np.random.default_rng(seed % 2**128)
    given = images.photographs(source) if source else images.seeded(generator, 8)
    ready = travelling(images.pixels(model, given), model.dtype)
    count = pool_size(batch * ready[0].nbytes)
    if source:  # each image as often as any other, and no request twice
        count = min(count, len(given))
    for number in range(count):
        # Not each batch the same: the pictures are few, their orders many.
        order = generator.integers(len(ready), size=batch)
        if source:
            order = (np.arange(batch) + number * batch) % len(ready)
        yield Tensor.of("pixel_values", ready[order])
