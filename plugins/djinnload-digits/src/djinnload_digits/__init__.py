"""Workload ``digits`` for djinnload: handwritten digits and a model that reads them."""

from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from djinnload.spi import (
    Assets,
    Check,
    Reference,
    Reply,
    Request,
    Session,
    Tensor,
)

__all__ = ("Digits",)

_HERE = Path(__file__).resolve().parent
_BATCHES = 64  #: Prepared beforehand; a session draws one of them.

Array = np.ndarray[Any, np.dtype[Any]]


class DigitsOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the workload ``digits``.

    Attributes:
        batch: Images in one request.
    """

    batch: Annotated[int, Meta(ge=1, le=200)] = 8


class Digits:
    """One batch of images a session."""

    Options: type[Struct] = DigitsOptions
    unit = "images"

    def __init__(self, options: DigitsOptions, assets: Assets) -> None:
        model = assets.model(str(_HERE / "model"))
        with np.load(_HERE / "digits.npz") as shipped:
            images = _pixels(shipped["images"])
        draws = np.random.default_rng(assets.seed % 2**128)
        self._requests = [
            Request(
                model.name,
                {"pixel_values": Tensor.of("pixel_values", images[which])},
                step="classify",
                units=options.batch,
                needs=("logits",),
            )
            for which in (
                draws.choice(len(images), options.batch, replace=False)
                for _ in range(_BATCHES)
            )
        ]

    def session(self, session: Session) -> Generator[Request, Reply, None]:
        """Yield one request."""
        yield self._requests[session.rng.randrange(_BATCHES)]

    def verify(self, request: Request, reply: Reply, reference: Reference) -> Check:
        """Compare the logits with a local forward, and the digits that they name."""
        served = reply.outputs.get("logits")
        wanted = reference.forward(request.model, request.inputs)["logits"].numpy()
        if served is None or served.shape != wanted.shape:
            return Check(ok=False, reason="no logits of that shape")
        found = served.numpy()
        difference = float(np.abs(found - wanted).max())
        allowed = reference.tolerance(request.model) * float(wanted.std())
        if difference > allowed:
            reason = f"logits differ by {difference:.3g}"
            return Check(ok=False, max_abs_diff=difference, reason=reason)
        if (found.argmax(-1) != wanted.argmax(-1)).any():
            return Check(ok=False, max_abs_diff=difference, reason="another digit")
        return Check(ok=True, max_abs_diff=difference)


def _pixels(images: Array) -> Array:
    """Return images of 8 × 8, 0 to 16, as the model takes them: 32 × 32, −1 to 1."""
    large = images.repeat(4, axis=1).repeat(4, axis=2).astype(np.float32)
    return np.ascontiguousarray(large[:, None] / 8 - 1)
