"""Workload ``speech_encoder``: samples of speech in, a vector for each frame out."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from djinnload.errors import ScenarioError
from djinnload.models import audio
from djinnload.models.catalog import ready_for
from djinnload.spi import Assets, Request, Tensor
from djinnload.workloads.one_request import OneRequest, pool_size, travelling

__all__ = ("SpeechEncoder",)

_NEEDS = ("last_hidden_state",)
#: Windows that are cut out of seeded sounds.
_SEEDED = 8
_SMALL = 1e-7  #: Added to a variance, as the published extractor does.


class SpeechEncoderOptions(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """Options of the workload ``speech_encoder``.

    Attributes:
        model: Name in the catalog, or a checkpoint.
        audio: A WAV file of 16 kHz, its channels averaged, cut into windows of 5 s;
            empty: seeded sounds built as speech is.
        batch: Windows in one request.
        dtype: Of the weights; samples are sent in 16 bits for ``float16``.
    """

    model: str
    audio: str = ""
    batch: Annotated[int, Meta(ge=1, le=1024)] = 1
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"


class SpeechEncoder(OneRequest):
    """One request a session: windows of 5 s, heard at once."""

    Options: ClassVar[type[Struct]] = SpeechEncoderOptions
    unit = "audio_seconds"

    def __init__(self, options: SpeechEncoderOptions, assets: Assets) -> None:
        model = assets.model(options.model, dtype=options.dtype)
        (port,) = ready_for("speech_encoder", model).inputs
        length = int(port.shape[1])
        seconds = options.batch * length / audio.RATE
        pool = (
            Request(
                options.model,
                {port.name: Tensor.of(port.name, travelling(heard, model.dtype))},
                step="encode",
                units=seconds,
                needs=_NEEDS,
            )
            for heard in _batches(options, length, assets.seed)
        )
        super().__init__(model, pool)


def _batches(
    options: SpeechEncoderOptions, length: int, seed: int
) -> "Iterator[audio.Array]":
    """Yield windows as the model was trained on: of mean 0 and variance 1, each."""
    import numpy as np

    generator = np.random.default_rng(seed % 2**128)
    if options.audio:
        samples = audio.wav(options.audio)
    else:
        samples = audio.seeded(generator, _SEEDED * length / audio.RATE)
    count = len(samples) // length
    if not count:
        there = f"{len(samples) / audio.RATE:g} s are less than one window"
        raise ScenarioError("audio", f"{there} of {length / audio.RATE:g} s")
    windows = samples[: count * length].reshape(count, length)
    spread = np.sqrt(windows.var(axis=1, keepdims=True) + _SMALL)
    ready = ((windows - windows.mean(axis=1, keepdims=True)) / spread).astype("float32")
    for _ in range(pool_size(options.batch * ready[0].nbytes)):
        yield ready[generator.integers(count, size=options.batch)]
