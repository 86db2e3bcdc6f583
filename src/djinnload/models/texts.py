"""Token ids for requests: seeded, or of texts by the checkpoint's own tokenizer."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from djinnload.errors import HostError, ScenarioError
from djinnload.models import checkpoint, families
from djinnload.models.families import Port
from djinnload.spi import Model, Tensor

if TYPE_CHECKING:
    import numpy as np

    Ids = np.ndarray[Any, np.dtype[np.int64]]

__all__ = ("check_length", "limit", "port", "seeded_ids", "tokenized")


def port(model: Model) -> Port:
    """Return the input of *model* that takes token ids."""
    inputs = families.family(model.architecture).inputs
    return next(each for each in inputs if each.below)


def limit(model: Model) -> int:
    """Return the positions of *model*."""
    return int(families.read(model.config, port(model).room))


def check_length(model: Model, tokens: int, path: str) -> None:
    """Raise ScenarioError, of *path*, unless *model* has positions for *tokens*."""
    room = limit(model)
    if not 1 <= tokens <= room:
        reason = f"{tokens} is not within 1 to {room}, the positions of {model.name}"
        raise ScenarioError(path, reason)


def seeded_ids(
    model: Model, generator: "np.random.Generator", batch: int, tokens: int
) -> "Ids":
    """Return ids [*batch*, *tokens*], the last of each the model's end of text."""
    import numpy as np

    below = port(model).below
    vocabulary = int(families.read(model.config, below))
    ids = generator.integers(vocabulary, size=(batch, tokens), dtype=np.int64)
    part = below.rpartition("vocab_size")[0]
    end = families.family(model.architecture).ends_with
    if end:
        # CLIP looks for this id, and takes what stands there for the whole text.
        last = int(families.read(model.config, part + end))
        ids[ids == last] = 0
        ids[:, -1] = last
    return ids


def tokenized(model: Model, path: str, batch: int) -> list[dict[str, Tensor]]:
    """Return the inputs of requests for the lines of a file, *batch* to a request.

    Padded to the longest text of the request, with a mask; cut to the positions of the
    model. The last request begins again with the first lines.

    Raises:
        ScenarioError: The file cannot be read, is empty, or *model* has no tokenizer.
        HostError: tokenizers is not installed.
    """
    import numpy as np

    texts = _lines(path)
    tokenizer = _tokenizer(model)
    tokenizer.enable_truncation(limit(model))
    tokenizer.enable_padding()
    made = []
    for start in range(0, len(texts), batch):
        some = [texts[i % len(texts)] for i in range(start, start + batch)]
        found = tokenizer.encode_batch(some)
        ids = np.array([each.ids for each in found], dtype=np.int64)
        mask = np.array([each.attention_mask for each in found], dtype=np.int64)
        tensors = Tensor.of("input_ids", ids), Tensor.of("attention_mask", mask)
        made.append({tensor.name: tensor for tensor in tensors})
    return made


def _lines(path: str) -> list[str]:
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ScenarioError("texts", f"cannot read {path!r}: {error}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ScenarioError(
            "texts", f"{path!r} has no text; one is wanted on each line"
        )
    return lines


def _tokenizer(model: Model) -> Any:
    if model.source == "random":
        reason = f"{model.name} has seeded weights and no tokenizer"
        raise ScenarioError("texts", f"{reason}; leave texts out, or name a checkpoint")
    try:
        import tokenizers
    except ImportError as error:
        reason = "texts need tokenizers: pip install 'djinnload[models]'"
        raise HostError(f"{reason} ({error})") from error
    path = checkpoint.folder(model.source) / "tokenizer.json"
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:
        raise ScenarioError("texts", f"no tokenizer at {path}: {error}") from error
