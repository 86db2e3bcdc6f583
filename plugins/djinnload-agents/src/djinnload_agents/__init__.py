"""Workload ``agents`` for djinnload: reason, act, reflect."""

from collections.abc import Generator, Iterator
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import replace

from djinnload.spi import (
    Assets,
    Check,
    Duration,
    Outcome,
    Reference,
    Reply,
    Request,
    Session,
    Tensor,
)

__all__ = ("Agents",)

_SCRIPTS = 16  #: Agents told beforehand; a session draws one of them.
_SECOND = 1_000_000_000
_NEEDS = ("logits[-1]",)

Ids = np.ndarray[Any, np.dtype[np.int64]]
AtLeast1 = Annotated[int, Meta(ge=1)]


class AgentsOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the workload ``agents``.

    Attributes:
        model: Name in the catalog, or a checkpoint, of the GPT-2 kind.
        prompt_tokens: That an agent starts from.
        observation_tokens: That an action brings back.
        new_tokens: Of every turn.
        cycles: Reason, act, reflect.
        act: ns of pause while an action runs, at least.
        act_most: ns of pause at most; None: as *act*.
        dtype: Of the weights.
    """

    model: str
    prompt_tokens: AtLeast1 = 32
    observation_tokens: AtLeast1 = 16
    new_tokens: AtLeast1 = 50
    cycles: AtLeast1 = 1
    act: Duration = Duration(10 * _SECOND)
    act_most: Duration | None = None
    dtype: Literal["float32", "float16"] = "float32"


class Agents:
    """One agent a session; a turn to reason and one to reflect in each cycle."""

    Options: type[Struct] = AgentsOptions
    unit = "tokens"

    def __init__(self, options: AgentsOptions, assets: Assets) -> None:
        model = assets.model(options.model, dtype=options.dtype)
        self._options = options
        self._act = (int(options.act), int(options.act_most or options.act))
        if self._act[0] > self._act[1]:
            raise ValueError("act_most must not be below act")
        fed = options.prompt_tokens + 2 * options.cycles * options.new_tokens
        fed += (2 * options.cycles - 1) * options.observation_tokens
        positions = model.config.get("n_positions", 0)
        if fed > positions:
            raise ValueError(
                f"an agent feeds {fed} tokens, {options.model} has {positions} "
                "positions; lower cycles, new_tokens or observation_tokens"
            )
        draws = np.random.default_rng(assets.seed % 2**128)
        vocabulary = int(model.config["vocab_size"])
        self._scripts = [
            tuple(self._script(draws.integers(vocabulary, size=fed)))
            for _ in range(_SCRIPTS)
        ]

    def session(self, session: Session) -> Generator[Request, Reply, None]:
        """Yield the requests of one agent; it gives up at the first that fails."""
        script = self._scripts[session.rng.randrange(_SCRIPTS)]
        turn = 0
        for prepared in script:
            wakes = prepared.turn > turn and prepared.turn % 2 == 1
            turn = prepared.turn
            pause = session.rng.randint(*self._act) if wakes else 0
            reply = yield replace(prepared, think_ns=pause) if pause else prepared
            if reply.outcome is not Outcome.OK:
                return

    def verify(self, request: Request, reply: Reply, reference: Reference) -> Check:
        """Compare the last logits with a local forward over all tokens fed so far."""
        fed = request.inputs["input_ids"].numpy()
        before = reference.state.get("ids")
        ids = fed if before is None else np.concatenate([before, fed], axis=1)
        reference.state["ids"] = ids
        served = reply.outputs.get("logits")
        if served is None:
            return Check(ok=False, reason="no output logits")
        local = reference.forward(
            request.model, {"input_ids": Tensor.of("input_ids", ids)}
        )
        wanted = local["logits"].numpy()[:, -1].astype(np.float32)
        found = served.numpy()[:, -1].astype(np.float32)
        if found.shape != wanted.shape:
            return Check(
                ok=False, reason=f"logits of {found.shape}, not {wanted.shape}"
            )
        difference = float(np.abs(found - wanted).max())
        allowed = reference.tolerance(request.model) * float(wanted.std())
        reason = "" if difference <= allowed else f"logits differ by {difference:.3g}"
        return Check(ok=not reason, max_abs_diff=difference, reason=reason)

    def _script(self, ids: Ids) -> Iterator[Request]:
        options, at = self._options, 0
        for turn in range(2 * options.cycles):
            first = options.observation_tokens if turn else options.prompt_tokens
            for step in range(options.new_tokens):
                size = 1 if step else first
                fed = ids[None, at : at + size]
                at += size
                last = turn == 2 * options.cycles - 1 and step == options.new_tokens - 1
                yield Request(
                    options.model,
                    {"input_ids": Tensor.of("input_ids", fed)},
                    # Whatever follows the prompt continues the agent's state.
                    step="decode" if at > options.prompt_tokens else "prefill",
                    turn=turn,
                    state="kv",
                    last=last,
                    needs=_NEEDS,
                )
