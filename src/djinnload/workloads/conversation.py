"""Workload ``conversation``: a user and a language model take turns; history grows."""

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from djinnload.errors import ScenarioError
from djinnload.spi import (
    Assets,
    Duration,
    Outcome,
    Reply,
    Request,
    Session,
)
from djinnload.workloads import generation

if TYPE_CHECKING:
    import numpy as np

    Ids = np.ndarray[Any, np.dtype[np.int64]]

__all__ = ("Conversation",)

#: Of token ids prepared beforehand, and of what recomputing servers are sent.
_POOL_BYTES = 64 * 2**20
_POOL_COUNT = 16


class ConversationOptions(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Options of the workload ``conversation``.

    Attributes:
        model: Name in the catalog, or a checkpoint.
        turns: Of one session.
        message_tokens: That the user says in each turn.
        new_tokens: That the model answers in each turn.
        history: ``kept`` on the server, which is sent a turn's own tokens only;
            ``resent``, every turn begins with a prefill of all before it.
        stop_after: Turns of a session at most, the first ones of all: for arms in which
            all would take too long; None: all.
        think: ns of pause before each turn but the first, the mean of it.
        think_distribution: Of the pause.
        dtype: Of the weights.
    """

    model: str
    turns: Annotated[int, Meta(ge=1)] = 10
    message_tokens: Annotated[int, Meta(ge=1)] = 16
    new_tokens: Annotated[int, Meta(ge=1)] = 64
    history: Literal["kept", "resent"] = "kept"
    stop_after: Annotated[int, Meta(ge=1)] | None = None
    think: Duration = Duration(0)
    think_distribution: Literal["constant", "exponential"] = "exponential"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"


class Conversation(generation.Generates):
    """One dialogue a session: in each turn a message is read, then tokens are made.

    The tokens are given beforehand, so that every arm does equal work.
    """

    Options: ClassVar[type[Struct]] = ConversationOptions
    unit = "tokens"

    def __init__(self, options: ConversationOptions, assets: Assets) -> None:
        import numpy as np

        self._options = options
        super().__init__(options.model, options.dtype, assets)
        self._turn = options.message_tokens + options.new_tokens
        said = options.turns * self._turn
        if said > self._limit:
            reason = (
                f"{options.turns} of {self._turn} tokens are {said}, and "
                f"{options.model} has {self._limit} positions; "
                "lower it, or a turn's tokens"
            )
            raise ScenarioError("turns", reason)
        # A request for a server without state holds all tokens so far.
        each = 8 * said * options.turns * (options.new_tokens + 1)
        count = max(2, min(_POOL_COUNT, _POOL_BYTES // each))
        draws = np.random.default_rng(assets.seed % 2**128)
        shape = (count, 1, said)
        pool = draws.integers(self._vocabulary, size=shape, dtype=np.int64)
        self._scripts = [tuple(self._script(ids)) for ids in pool]

    def session(self, session: Session) -> Generator[Request, Reply, None]:
        """Yield the requests of one dialogue; give up at the first that fails."""
        which = int(session.rng.random() * len(self._scripts))
        turn = 0
        for prepared in self._scripts[which]:
            asked = prepared
            if prepared.turn > turn:
                turn = prepared.turn
                asked = replace(prepared, think_ns=self._pause(session))
            reply = yield asked
            if reply.outcome is not Outcome.OK:
                return

    def _pause(self, session: Session) -> int:
        mean = int(self._options.think)
        if self._options.think_distribution == "constant" or not mean:
            return mean
        return round(session.rng.expovariate(1 / mean))

    def _script(self, ids: "Ids") -> Iterator[Request]:
        """Yield the requests of a dialogue that feeds *ids*.

        The answer's last token is never fed by itself: it comes with what is said next.
        """
        options, fed_to = self._options, 0
        kept = options.history == "kept"
        turns = min(options.turns, options.stop_after or options.turns)
        for turn in range(turns):
            message_end = turn * self._turn + options.message_tokens
            turn_end = message_end + options.new_tokens - 1
            over = not kept or turn == turns - 1
            for end in range(message_end, turn_end + 1):
                anew = end == message_end and (turn == 0 or not kept)
                so_far = ids[:, :end]
                yield generation.request(
                    options.model,
                    "prefill" if anew else "decode",
                    so_far if anew else ids[:, fed_to:end],
                    None if anew else so_far,
                    turn=turn,
                    last=over and end == turn_end,
                )
                fed_to = end
