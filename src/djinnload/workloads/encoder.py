"""Workload ``encoder``: texts in, a vector for each token out, as for embeddings."""

from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from djinnload.errors import ScenarioError
from djinnload.models import texts
from djinnload.models.catalog import ready_for
from djinnload.spi import Assets, Reply, Request, Session, Tensor
from djinnload.workloads.one_request import OneRequest, pool_size

if TYPE_CHECKING:
    import numpy as np

__all__ = ("Encoder",)

_NEEDS = ("last_hidden_state",)


class EncoderOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the workload ``encoder``.

    Attributes:
        model: Name in the catalog, or a checkpoint.
        tokens: Of each sequence: a number, or the least and the most, drawn evenly;
            unless a trace says otherwise.
        texts: File with one text a line, instead of seeded ids; the model must have a
            tokenizer.
        batch: Sequences in one request; all are of one length, or padded to one.
        dtype: Of the weights.
        too_long: A session whose hints are no length that the model can take: an
            ``error``, at plan if a trace is known to have one, or ``clip``.
    """

    model: str
    tokens: int | tuple[int, int] = 128
    texts: str = ""
    batch: Annotated[int, Meta(ge=1, le=1024)] = 1
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    too_long: Literal["error", "clip"] = "error"


class Encoder(OneRequest):
    """One request a session."""

    Options: ClassVar[type[Struct]] = EncoderOptions
    unit = "tokens"

    def __init__(self, options: EncoderOptions, assets: Assets) -> None:
        import numpy as np

        self._options = options
        self._model = assets.model(options.model, dtype=options.dtype)
        ready_for("encoder", self._model)
        self._generator = np.random.default_rng(assets.seed % 2**128)
        self._limit = texts.limit(self._model)
        super().__init__(self._model, self._prepared())
        self._longest = self._ids(self._limit)

    def session(self, session: Session) -> Generator[Request, Reply, None]:
        """Yield one request; the hint ``prompt_tokens`` stands in for ``tokens``."""
        if "prompt_tokens" in session.hints:
            length = self._length(session.hints)
            yield self._request({"input_ids": self._longest[:, :length]})
        else:
            yield from super().session(session)

    def accepts(self, hints: Mapping[str, int]) -> None:
        """Raise ScenarioError if a session with *hints* could not be told."""
        self._length(hints)

    def _length(self, hints: Mapping[str, int]) -> int:
        length = hints.get("prompt_tokens", 1)
        if self._options.too_long == "clip":
            return max(1, min(length, self._limit))
        try:
            texts.check_length(self._model, length, "tokens")
        except ScenarioError as error:
            reason = f'{error.reason}; too_long = "clip" takes what fits'
            raise ScenarioError(error.path, reason) from None
        return length

    def _prepared(self) -> Iterator[Request]:
        options = self._options
        if options.texts:
            yield from map(
                self._told, texts.tokenized(self._model, options.texts, options.batch)
            )
            return
        given = options.tokens
        least, most = given if isinstance(given, tuple) else (given, given)
        for each in (least, most):
            texts.check_length(self._model, each, "tokens")
        if least > most:
            raise ScenarioError("tokens", f"[{least}, {most}] is not [least, most]")
        for _ in range(pool_size(8 * options.batch * most)):
            length = int(self._generator.integers(least, most + 1))
            yield self._request({"input_ids": self._ids(length)})

    def _ids(self, length: int) -> "np.ndarray[Any, Any]":
        batch = self._options.batch
        return texts.seeded_ids(self._model, self._generator, batch, length)

    def _request(self, arrays: "Mapping[str, np.ndarray[Any, Any]]") -> Request:
        return self._told({name: Tensor.of(name, a) for name, a in arrays.items()})

    def _told(self, inputs: Mapping[str, Tensor]) -> Request:
        batch, length = inputs["input_ids"].shape
        return Request(
            self._options.model,
            inputs,
            step="encode",
            units=batch * length,
            needs=_NEEDS,
        )
