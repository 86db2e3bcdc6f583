"""Workload ``multimodal``: pairs of an image and a text, matched or continued."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from djinnload.models import texts
from djinnload.models.catalog import ready_for
from djinnload.spi import Assets, Model, Request, Tensor
from djinnload.workloads.one_request import OneRequest
from djinnload.workloads.vision import batches

__all__ = ("Multimodal",)


class MultimodalOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the workload ``multimodal``.

    Attributes:
        model: Name in the catalog, or a checkpoint.
        images: As of the workload ``vision``.
        texts: File with one text a line, instead of seeded ids; the model must have a
            tokenizer.
        tokens: Of each seeded text.
        batch: Pairs in one request.
        dtype: Of the weights; pixels are sent in 16 bits for ``float16``.
    """

    model: str
    images: str = ""
    texts: str = ""
    tokens: int = 16
    batch: Annotated[int, Meta(ge=1, le=1024)] = 1
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"


class Multimodal(OneRequest):
    """One request a session: both embeddings of CLIP, the next token of BLIP."""

    Options: ClassVar[type[Struct]] = MultimodalOptions
    unit = "pairs"

    def __init__(self, options: MultimodalOptions, assets: Assets) -> None:
        model = assets.model(options.model, dtype=options.dtype)
        family = ready_for("multimodal", model)
        needs = tuple(
            f"{port.name}[-1]" if port.name == "logits" else port.name
            for port in family.outputs
        )
        told = list(_texts(model, options, assets.seed))
        seen = batches(model, options.images, options.batch, assets.seed)
        pool = (
            Request(
                options.model,
                {pixels.name: pixels, **told[i % len(told)]},
                step="forward",
                units=options.batch,
                needs=needs,
            )
            for i, pixels in enumerate(seen)
        )
        super().__init__(model, pool)


def _texts(
    model: Model, options: MultimodalOptions, seed: int
) -> Iterator[Mapping[str, Tensor]]:
    import numpy as np

    if options.texts:
        yield from texts.tokenized(model, options.texts, options.batch)
        return
    texts.check_length(model, options.tokens, "tokens")
    generator = np.random.default_rng([seed % 2**128, 1])
    for _ in range(64):
        ids = texts.seeded_ids(model, generator, options.batch, options.tokens)
        yield {"input_ids": Tensor.of("input_ids", ids)}
