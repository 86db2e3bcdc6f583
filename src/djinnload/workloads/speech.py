"""Workload ``speech``: windows of audio, heard by Whisper as they come or all at once.

A turn is one window: it is heard and the first token is made (``encode``), then a token
at a time (``decode``), with what was heard and said kept on the server.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from djinnload.errors import ScenarioError
from djinnload.models import audio
from djinnload.models.catalog import ready_for
from djinnload.models.families import read
from djinnload.spi import (
    Assets,
    Check,
    Duration,
    Model,
    Outcome,
    Reference,
    Reply,
    Request,
    Session,
    Tensor,
)
from djinnload.workloads import generation
from djinnload.workloads.one_request import compare, travelling

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]
    Ids = np.ndarray[Any, np.dtype[np.int64]]

__all__ = ("Speech",)

_SECOND = 1_000_000_000
_LONGEST_NS = 30 * _SECOND  #: That a Whisper hears at once.
_USUAL_NS = 30 * _SECOND
_POOL_COUNT = 16
_POOL_STEPS = 2**13
_FEATURE_BYTES = 512 * 2**20
_IDS, _FEATURES = "decoder_input_ids", "input_features"


class SpeechOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the workload ``speech``.

    Attributes:
        model: Name in the catalog, or a checkpoint.
        audio: A WAV file of 16 kHz, its channels averaged; ``espeak-ng``: words that it
            says; empty: seeded sounds built as speech is.
        length: Of the audio; left out: 30 s, or all of a file.
        mode: ``streaming``: window k is due when it has been heard, ``window`` + k ×
            ``stride`` after the session; ``back_to_back``: as soon as the one before it
            is done; ``batch``: one turn a session, of ``batch`` windows at once.
        window: Of audio, in one turn; 30 s at most.
        stride: From the start of one window to that of the next.
        tokens: Made of each window: one by ``encode``, the others by ``decode``.
        decode: Tokens fed back: ``forced``, given beforehand; ``greedy``, as served.
        batch: Windows in one request, of ``mode = "batch"``.
        stop_after: Turns of a session at most, the first ones of all: for arms in which
            all would take too long; None: all.
        dtype: Of the weights; features are sent in 16 bits for ``float16``.
    """

    model: str
    audio: str = ""
    length: Duration | None = None
    mode: Literal["streaming", "back_to_back", "batch"] = "streaming"
    window: Duration = Duration(5 * _SECOND)
    stride: Duration = Duration(_SECOND)
    tokens: Annotated[int, Meta(ge=1)] = 64
    decode: Literal["forced", "greedy"] = "forced"
    batch: Annotated[int, Meta(ge=1, le=1024)] = 1
    stop_after: Annotated[int, Meta(ge=1)] | None = None
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"


class Speech:
    """A session hears the whole audio, one turn a window; or one batch of windows."""

    Options: ClassVar[type[Struct]] = SpeechOptions
    unit = "audio_seconds"

    def __init__(self, options: SpeechOptions, assets: Assets) -> None:
        import numpy as np

        self._options = options
        self._model: Model = assets.model(options.model, dtype=options.dtype)
        _, ids = ready_for("speech", self._model).inputs
        self._vocabulary = int(read(self._model.config, ids.below))
        _check(options, int(read(self._model.config, ids.room)))
        generator = np.random.default_rng(assets.seed % 2**128)
        heard = list(self._heard(_sound(options, generator)))
        self._sessions = list(self._drawn(heard, generator))
        self._scripts = [
            tuple(tuple(self._turn(k, *each)) for k, each in enumerate(turns))
            for turns in self._sessions
        ]

    def session(self, session: Session) -> Generator[Request, Reply, None]:
        """Yield the requests of every turn; of one that fails, no more of that turn.

        What is paced by the clock goes on all the same; else the session is over.
        """
        which = int(session.rng.random() * len(self._scripts))
        asked = self._scripts[which][: self._options.stop_after]
        for k, prepared in enumerate(asked):
            if self._options.decode == "greedy":
                right = yield from self._greedy(k, *self._sessions[which][k])
            else:
                right = yield from _all_right(prepared)
            if not right and self._options.mode != "streaming":
                return

    def verify(self, request: Request, reply: Reply, reference: Reference) -> Check:
        """Compare with a local forward over the window and all tokens fed so far.

        Teacher-forced, as in `generation.check_logits`. What the local encoder made of
        the window is kept in the state of *reference*: it is most of the work.
        """
        import numpy as np

        state = reference.state
        fed = request.inputs[_IDS].numpy()
        if request.step == "encode":
            state["said"], known = fed, dict(request.inputs)
        else:
            state["said"] = np.concatenate([state["said"], fed], axis=1)
            known = {"encoder_outputs": state["encoded"]}
        known[_IDS] = Tensor.of(_IDS, state["said"])
        asked = replace(request, inputs=known)
        return compare(asked, reply, _Hearing(reference), self._model.dtype)

    @property
    def _paced(self) -> bool:
        """Whether a session hears all windows, one after the other."""
        return self._options.mode != "batch"

    def _heard(self, samples: "Array") -> Iterator[Tensor]:
        """Yield the features of each window, or of each batch of them."""
        import numpy as np

        options = self._options
        starts = range(0, _to_ns(len(samples)) - options.window + 1, options.stride)
        bands = int(self._model.config["num_mel_bins"])
        if len(starts) * bands * 3000 * 4 > _FEATURE_BYTES:
            reason = f"{len(starts)} windows of {options.length or 'the file'}"
            hint = f"take {_FEATURE_BYTES >> 20} MiB at most; lower it or raise stride"
            raise ScenarioError("length", f"{reason} are too many: they {hint}")
        count = _to_samples(options.window)
        firsts = map(_to_samples, starts)
        windows = [samples[first : first + count] for first in firsts]
        values = travelling(audio.features(self._model, windows), options.dtype)
        size = options.batch
        for first in range(0, len(values), size):
            # The last batch begins again with the first windows.
            rows = np.arange(first, first + size) % len(values)
            made = values[first : first + size] if size == 1 else values[rows]
            yield Tensor.of(_FEATURES, made)

    def _drawn(
        self, heard: Sequence[Tensor], generator: "np.random.Generator"
    ) -> "Iterator[tuple[tuple[Tensor, Ids], ...]]":
        """Yield sessions: of each turn, what it hears and the tokens that are fed."""
        import numpy as np

        options = self._options
        turns = len(heard) if self._paced else 1
        count = max(2, min(_POOL_COUNT, _POOL_STEPS // (turns * options.tokens)))
        if not self._paced:
            count = max(count, len(heard))
        size = (count, turns, options.batch, options.tokens)
        said = generator.integers(self._vocabulary, size=size, dtype=np.int64)
        said[..., 0] = self._model.config["decoder_start_token_id"]
        for i, ids in enumerate(said):
            of_turns = heard if self._paced else (heard[i % len(heard)],)
            yield tuple(zip(of_turns, ids, strict=True))

    def _turn(self, number: int, heard: Tensor, ids: "Ids") -> Iterator[Request]:
        """Yield the requests of one window, which feed *ids* [batch, tokens]."""
        options = self._options
        seconds = options.window / _SECOND * options.batch
        if self._paced and number:  # the rest of it was in the window before
            seconds = options.stride / _SECOND
        due = None
        if options.mode == "streaming":
            due = options.window + number * options.stride
        for end in range(1, options.tokens + 1):
            so_far = {_FEATURES: heard, _IDS: Tensor.of(_IDS, ids[:, :end])}
            fed = {_IDS: Tensor.of(_IDS, ids[:, end - 1 : end])}
            yield Request(
                options.model,
                so_far if end == 1 else fed,
                step="encode" if end == 1 else "decode",
                turn=number,
                units=seconds / options.tokens,
                due_offset_ns=due if end == 1 else None,
                state="heard",
                last=end == options.tokens,
                full=None if end == 1 else so_far,
                needs=generation.NEEDS,
            )

    def _greedy(
        self, number: int, heard: Tensor, ids: "Ids"
    ) -> Generator[Request, Reply, bool]:
        """Yield the requests of one window; return whether all were answered."""
        ids, end = ids.copy(), 1
        for request in self._turn(number, heard, ids):
            reply = yield request
            if reply.outcome is not Outcome.OK:
                return False
            if not request.last:
                chosen = generation.chosen(
                    reply, self._options.dtype, self._options.batch, self._vocabulary
                )
                if chosen is None:
                    return False
                # The turn is a generator: it reads this when it is asked next.
                ids[:, end] = chosen
                end += 1
        return True


class _Hearing:
    """A reference that keeps what the encoder made of a window."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self.state = reference.state
        self.tolerance = reference.tolerance

    def forward(self, model: str, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        found = self._reference.forward(model, inputs)
        if _FEATURES in inputs:
            encoded = found["encoder_last_hidden_state"]
            # transformers takes it as the first of several things.
            self.state["encoded"] = replace(
                encoded, name="encoder_outputs", shape=(1, *encoded.shape)
            )
        return found


def _all_right(requests: Sequence[Request]) -> Generator[Request, Reply, bool]:
    """Yield *requests* up to the first that fails; return whether none did."""
    for request in requests:
        reply = yield request
        if reply.outcome is not Outcome.OK:
            return False
    return True


def _check(options: SpeechOptions, room: int) -> None:
    """Raise ScenarioError if *options* contradict each other or the model."""
    window, stride = options.window, options.stride
    if not 0 < window <= _LONGEST_NS:
        reason = f"{window / _SECOND:g} s is not above 0 and at most 30 s"
        raise ScenarioError("window", f"{reason}, which is all that a Whisper hears")
    if not 0 < stride <= window:
        reason = f"{stride / _SECOND:g} s is not above 0 and at most the window's"
        raise ScenarioError(
            "stride", f"{reason} {window / _SECOND:g} s: audio would go unheard"
        )
    if options.tokens > room:
        reason = f"{options.tokens} is over {room}, the positions of {options.model}"
        raise ScenarioError("tokens", reason)
    if options.batch > 1 and options.mode != "batch":
        reason = f'{options.batch} windows at once are for mode = "batch"'
        raise ScenarioError("batch", f"{reason}; for more streams, raise users")


def _sound(options: SpeechOptions, generator: "np.random.Generator") -> "Array":
    """Return the samples that sessions hear, at least one window.

    Raises:
        ScenarioError: There are fewer than the options want.
    """
    length = options.length
    if options.audio in {"", audio.SPOKEN}:
        make = audio.spoken if options.audio else audio.seeded
        samples = make(generator, (length or _USUAL_NS) / _SECOND)
    else:
        samples = audio.wav(options.audio)
    wanted = _to_samples(length) if length is not None else len(samples)
    if len(samples) < wanted or _to_ns(wanted) < options.window:
        there = f"there are {min(len(samples), wanted) / audio.RATE:g} s of audio"
        least = max(length or 0, options.window) / _SECOND
        raise ScenarioError("length", f"{there}, {least:g} s are wanted")
    return samples[:wanted]


def _to_samples(ns: int) -> int:
    return ns * audio.RATE // _SECOND


def _to_ns(samples: int) -> int:
    return samples * _SECOND // audio.RATE
