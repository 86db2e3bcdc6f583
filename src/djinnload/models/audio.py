"""Audio as Whisper takes it, its features made by transformers' own extractor.

Seeded sounds built as speech is, a WAV file, or seeded words spoken by espeak-ng.
"""

import hashlib
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from djinnload.errors import DjinnloadError, HostError, ScenarioError
from djinnload.models import checkpoint, families
from djinnload.spi import Model

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float32]]

__all__ = ("RATE", "SPOKEN", "features", "seeded", "spoken", "wav")

RATE: Final = 16_000  #: Samples/s that Whisper was trained on.
#: The word for what espeak-ng says.
SPOKEN: Final = "espeak-ng"
_TEXT: Final = (
    "the server waits for seven green boats while a slow river turns near our old "
    "house and nobody asks why winter brings fewer letters than early summer did when "
    "people spoke about music bread numbers mountains horses and what became of them"
)
_WORDS_PER_S: Final = 4  # more than are spoken
#: Hz of the first three resonances of a few vowels.
_VOWELS: Final = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
)
#: Features that are kept at most, and those; a checkpoint's extractor may change.
_KEPT_BYTES: Final = 64 * 2**20
_kept: "dict[bytes, Array]" = {}
_VOICED: Final = 0.75  # of all syllables
_PAUSED: Final = 0.2


def seeded(generator: "np.random.Generator", seconds: float) -> "Array":
    """Return samples of syllables: pulses or noise, resonances, pauses; no language."""
    import numpy as np

    wanted = round(seconds * RATE)
    parts: list[np.ndarray[Any, Any]] = []
    length = 0
    while length < wanted:
        parts.append(_syllable(generator))
        length += len(parts[-1])
    samples = np.concatenate(parts)[:wanted]
    samples *= 0.5 / np.abs(samples).max()
    return samples.astype(np.float32)


def spoken(generator: "np.random.Generator", seconds: float) -> "Array":
    """Return samples of words, drawn by *generator*, that espeak-ng says.

    Raises:
        ScenarioError: It is not installed.
        HostError: It failed.
    """
    if which(SPOKEN) is None:
        reason = f"{SPOKEN} is not installed: apt-get install espeak-ng, or leave out"
        raise ScenarioError("audio", f"{reason} audio for seeded sounds")
    words = generator.choice(_TEXT.split(), size=round(seconds * _WORDS_PER_S) + 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "spoken.wav")
        said = subprocess.run(
            [SPOKEN, "-w", str(path), " ".join(words)], capture_output=True, check=False
        )
        if said.returncode:
            reason = said.stderr.decode(errors="replace").strip()
            raise HostError(f"{SPOKEN} failed: {reason}")
        rate, samples = _read(path)
    from scipy.signal import resample_poly

    made: Array = resample_poly(samples, RATE, rate).astype("float32")
    return made[: round(seconds * RATE)]


def wav(path: str) -> "Array":
    """Return the samples of a WAV file within −1 to 1; channels are averaged.

    Raises:
        ScenarioError: It cannot be read, is empty or silent, or not of `RATE`.
    """
    rate, samples = _read(Path(path).expanduser())
    if rate != RATE:
        hint = f"ffmpeg -i {path} -ar {RATE} -ac 1 new.wav"
        reason = f"{path!r} has {rate} samples/s, {RATE} are wanted"
        raise ScenarioError("audio", f"{reason}; convert it first: {hint}")
    return samples


def features(model: Model, windows: "Sequence[Array]") -> "Array":
    """Return ``input_features`` [windows, mel bands, 3000] of float32.

    Made by a child process: transformers brings torch with it, which has no place in
    the process that makes the load. As that takes seconds to import, the last ones are
    kept: the points of a sweep mostly hear the same.

    Args:
        model: Its checkpoint's extractor is used, if it has one.
        windows: Samples of each, 30 s at most; shorter ones are filled with silence.

    Raises:
        ScenarioError: The checkpoint's extractor makes other sizes than its model has.
        HostError: transformers is not installed, or failed.
    """
    import numpy as np

    asked = msgspec.msgpack.encode((model, [each.tobytes() for each in windows]))
    digest = hashlib.sha256(asked).digest()
    if digest in _kept:
        return _kept[digest]
    made = _made(asked)
    port = families.family(model.architecture).inputs[0]
    wanted = families.shape(port, model.config, batch=len(windows), length=1)
    if made.shape != wanted:
        reason = f"its feature extractor makes {made.shape}, the model takes {wanted}"
        raise ScenarioError("model", reason)
    found = np.frombuffer(made.data, np.float32).reshape(made.shape)
    _kept.clear()
    if found.nbytes <= _KEPT_BYTES and model.source == "random":
        _kept[digest] = found
    return found


class _Made(Struct):
    shape: tuple[int, ...] = ()
    data: bytes = b""
    wrong: str = ""


def _made(asked: bytes) -> _Made:
    child = subprocess.run(
        [sys.executable, "-m", "djinnload.models.audio"],
        input=asked,
        capture_output=True,
        check=False,
    )
    if child.returncode:
        last = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise HostError(f"cannot make audio ready: {' '.join(last)}")
    made = msgspec.msgpack.decode(child.stdout, type=_Made)
    if made.wrong:
        raise HostError(made.wrong)
    return made


def main() -> None:
    """Be the child: a model and samples in, features out."""
    import numpy as np

    model, given = msgspec.msgpack.decode(
        sys.stdin.buffer.read(), type=tuple[Model, list[bytes]]
    )
    windows = [np.frombuffer(data, np.float32) for data in given]
    try:
        found = _extractor(model)(windows, sampling_rate=RATE, return_tensors="np")
        values = np.ascontiguousarray(found["input_features"], dtype=np.float32)
        made = _Made(values.shape, values.tobytes())
    except (DjinnloadError, ValueError) as error:
        made = _Made(wrong=str(error))
    sys.stdout.buffer.write(msgspec.msgpack.encode(made))


def _extractor(model: Model) -> Any:
    try:
        import torch
        import transformers

        kind: Any = transformers.WhisperFeatureExtractor
    except ImportError as error:
        reason = "audio needs transformers: pip install 'djinnload[models]'"
        raise HostError(f"{reason} ({error})") from error
    torch.set_num_threads(1)  # sums of more would differ with the number of cores
    if model.source != "random":
        folder = checkpoint.folder(model.source)
        if (folder / "preprocessor_config.json").exists():
            return kind.from_pretrained(str(folder), local_files_only=True)
    return kind(feature_size=int(model.config["num_mel_bins"]))


def _read(path: Path) -> "tuple[int, Array]":
    import numpy as np
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", wavfile.WavFileWarning)
            # What editors add to the sound, such as a title.
            warnings.filterwarnings("ignore", "Chunk .non-data. not understood")
            rate, values = wavfile.read(path)
    except (OSError, ValueError, wavfile.WavFileWarning) as error:
        raise ScenarioError("audio", f"cannot read {str(path)!r}: {error}") from error
    samples = values.astype(np.float32)
    if values.dtype.kind in "iu":
        middle = 128 if values.dtype.kind == "u" else 0
        samples = (samples - middle) / (2.0 ** (8 * values.dtype.itemsize - 1))
    mono: Array = samples if samples.ndim == 1 else samples.mean(axis=1)
    if not mono.size or not np.isfinite(mono).all() or not mono.any():
        what = "is empty" if not mono.size else "holds silence, or no numbers"
        raise ScenarioError("audio", f"{str(path)!r} {what}")
    return int(rate), np.ascontiguousarray(mono, dtype=np.float32)


def _syllable(generator: "np.random.Generator") -> "np.ndarray[Any, Any]":
    """Return 0.1 to 0.3 s of a sound, at times with a pause after it."""
    import numpy as np
    from scipy.signal import lfilter

    count = int(generator.uniform(0.1, 0.3) * RATE)
    noise = generator.standard_normal(count)
    resonances: tuple[float, ...]
    if generator.random() < _VOICED:
        source = np.zeros(count)
        source[:: int(RATE / generator.uniform(90, 220))] = 30.0
        resonances = _VOWELS[generator.integers(len(_VOWELS))]
    else:
        source, resonances = noise, (generator.uniform(3000, 6000),)
    sound = source + 0.02 * noise
    for frequency in resonances:
        pole = 0.97 * np.exp(2j * np.pi * frequency / RATE)
        sound = lfilter([1.0], [1.0, -2 * pole.real, abs(pole) ** 2], sound)
    sound *= np.hanning(count) / np.abs(sound).max()
    pause = generator.random() < _PAUSED
    return np.concatenate([sound, np.zeros(int(pause * 0.15 * RATE))])


if __name__ == "__main__":
    main()
