"""Workload ``llm``: a prompt, then one token at a time, as a language model is served.

By default the tokens are given beforehand (``decode = "forced"``): every arm does equal
work, and the answers can be checked by one local forward over the same tokens.
"""

from collections.abc import Generator, Iterator, Mapping
from random import Random
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from djinnload.errors import ScenarioError
from djinnload.spi import (
    Assets,
    Outcome,
    Reply,
    Request,
    Session,
)
from djinnload.workloads import generation

if TYPE_CHECKING:
    import numpy as np

    Ids = np.ndarray[Any, np.dtype[np.int64]]

__all__ = ("Llm",)

_POOL_COUNT = 64
_POOL_STEPS = 2**15  #: Bounds the memory that prepared requests take.
_POOL_BYTES = 64 * 2**20


class LlmOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the workload ``llm``.

    Attributes:
        model: Name in the catalog, or a checkpoint.
        prompt_tokens: Tokens of the prompt: a number, or the least and the most, drawn
            evenly; unless a trace says otherwise.
        new_tokens: Tokens produced, as *prompt_tokens*: one by the prefill, the others
            by decodes.
        decode: Tokens fed back: ``forced``, given beforehand; ``greedy``, as served.
        dtype: Of the weights.
        batch: Sequences in one request.
        too_long: A session whose hints are no lengths that the model can take: an
            ``error``, at plan if a trace is known to have one, or ``clip``.
    """

    model: str
    # Without bounds: msgspec 0.22 mixes up those of an int and a tuple's length.
    prompt_tokens: int | tuple[int, int] = 16
    new_tokens: int | tuple[int, int] = 1
    decode: Literal["forced", "greedy"] = "forced"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    batch: Annotated[int, Meta(ge=1, le=1024)] = 1
    too_long: Literal["error", "clip"] = "error"


class Llm(generation.Generates):
    """One turn a session: a prefill, then ``new_tokens`` − 1 decodes."""

    Options: ClassVar[type[Struct]] = LlmOptions
    unit = "tokens"

    def __init__(self, options: LlmOptions, assets: Assets) -> None:
        self._options = options
        super().__init__(options.model, options.dtype, assets)
        self._prompt = _range("prompt_tokens", options.prompt_tokens)
        self._new = _range("new_tokens", options.new_tokens)
        self._check_length(self._prompt[1], self._new[1])
        self._pool = self._draw(assets.seed)
        rng = Random(f"{assets.seed}/lengths")
        self._lengths_of = [
            {
                "prompt_tokens": rng.randint(*self._prompt),
                "new_tokens": rng.randint(*self._new),
            }
            for _ in self._pool
        ]
        told = zip(self._pool, self._lengths_of, strict=True)
        self._scripts = [tuple(self._script(ids, each)) for ids, each in told]

    def session(self, session: Session) -> Generator[Request, Reply, None]:
        """Yield the requests of one turn; give up at the first that fails.

        The hints ``prompt_tokens`` and ``new_tokens`` stand in for the options.

        Raises:
            ScenarioError: The hints are longer than the model's positions.
        """
        which = int(session.rng.random() * len(self._pool))
        if session.hints or self._options.decode == "greedy":
            hints = session.hints or self._lengths_of[which]
            yield from self._unprepared(self._pool[which], hints)
            return
        for request in self._scripts[which]:
            reply = yield request
            if reply.outcome is not Outcome.OK:
                return

    def accepts(self, hints: Mapping[str, int]) -> None:
        """Raise ScenarioError if a session with *hints* could not be told."""
        self._lengths(hints)

    def _check_length(self, prompt: int, new: int) -> None:
        if prompt < 1 or new < 1 or prompt + new > self._limit:
            raise ScenarioError(
                "prompt_tokens",
                f"{prompt} + new_tokens {new} must be 1 or more each and together at "
                f"most {self._limit}, the positions of {self._options.model}",
            )

    def _draw(self, seed: int) -> "list[Ids]":
        import numpy as np

        options = self._options
        steps = self._new[1]
        longest = 8 * options.batch * (self._prompt[1] + steps)
        # With a batch, every step has a copy of the tokens so far.
        size = longest * (steps if options.batch > 1 else 1)
        size = max(size, 8 * options.batch * self._limit)
        count = min(_POOL_COUNT, _POOL_STEPS // steps, _POOL_BYTES // size)
        # numpy takes no negative seeds; which 128 bits stand for one does not matter.
        generator = np.random.default_rng(seed % 2**128)
        shape = (max(2, count), options.batch, self._limit)
        return list(generator.integers(self._vocabulary, size=shape, dtype=np.int64))

    def _script(self, ids: "Ids", hints: Mapping[str, int]) -> Iterator[Request]:
        """Yield the requests of a turn that feeds *ids*."""
        prompt, new = self._lengths(hints)
        yield self._request("prefill", ids[:, :prompt], None, last=new == 1)
        final = prompt + new - 1
        for end in range(prompt + 1, final + 1):
            fed, so_far = ids[:, end - 1 : end], ids[:, :end]
            yield self._request("decode", fed, so_far, last=end == final)

    def _unprepared(
        self, ids: "Ids", hints: Mapping[str, int]
    ) -> Generator[Request, Reply, None]:
        greedy = self._options.decode == "greedy"
        ids = ids.copy() if greedy else ids
        end, _ = self._lengths(hints)
        for request in self._script(ids, hints):
            reply = yield request
            if reply.outcome is not Outcome.OK:
                return
            if greedy and not request.last:
                # The script is a generator: it reads this when it is asked next.
                chosen = generation.chosen(
                    reply, self._model.dtype, self._options.batch, self._vocabulary
                )
                if chosen is None:
                    return
                ids[:, end] = chosen
                end += 1

    def _lengths(self, hints: Mapping[str, int]) -> tuple[int, int]:
        options = self._options
        prompt = hints.get("prompt_tokens", self._prompt[1])
        new = hints.get("new_tokens", self._new[1])
        if hints and options.too_long == "clip":
            # Answers have half of the positions, and what the prompt leaves.
            limit = self._limit
            new = max(1, min(new, max(limit - prompt, limit // 2)))
            prompt = max(1, min(prompt, limit - new))
        elif hints:
            try:
                self._check_length(prompt, new)
            except ScenarioError as error:
                reason = f'{error.reason}; too_long = "clip" takes what fits'
                raise ScenarioError(error.path, reason) from None
        return prompt, new

    def _request(
        self, step: str, fed: "Ids", so_far: "Ids | None", *, last: bool
    ) -> Request:
        return generation.request(
            self._options.model,
            step,
            fed,
            so_far,
            units=self._options.batch,
            last=last,
        )


def _range(name: str, given: int | tuple[int, int]) -> tuple[int, int]:
    """Return the least and the most of a length."""
    least, most = given if isinstance(given, tuple) else (given, given)
    if not 1 <= least <= most:
        said = f"[{least}, {most}] must be 1 or more each, the least first"
        raise ScenarioError(name, said if least != most else f"{least} must be ≥ 1")
    return least, most
