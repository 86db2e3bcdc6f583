"""What the original's models and implementations are here: workload tables; pure."""

from typing import Any

from djinnload.errors import UnknownName
from djinnload.legacy.source import Source
from djinnload.units import MS

__all__ = ("llm", "model", "span", "table", "workload")

#: Names of a hub → the same shape in the catalog, with weights made of a seed.
_SHAPES = {
    "meta-llama/llama-2-7b-hf": "llama-2-7b",
    "meta-llama/llama-2-13b-hf": "llama-2-13b",
    "eleutherai/gpt-j-6b": "gpt-j-6b",
    "gpt2": "gpt2",
    "gpt2-medium": "gpt2-medium",
    "sshleifer/tiny-gpt2": "gpt2-tiny",
    "bert-base-uncased": "bert-base",
    "bert-large-uncased": "bert-large",
    "openai/whisper-large-v2": "whisper-large-v2",
    "openai/whisper-large-v3": "whisper-large-v3",
    "openai/whisper-tiny": "whisper-tiny",
    "microsoft/resnet-50": "resnet-50",
    "resnet50": "resnet-50",
    "google/vit-base-patch16-224": "vit-base",
    "google/vit-base-patch16-224-in21k": "vit-base",
    "google/efficientnet-b0": "efficientnet-b0",
    "openai/clip-vit-base-patch32": "clip-vit-b-32",
    "salesforce/blip-image-captioning-base": "blip-base",
    "facebook/wav2vec2-base": "wav2vec2-base",
}
_SEEDED = "inputs are made of the seed, so that every run and arm is asked the same"
_FORCED = "decoding is forced: each arm is fed the same tokens"
_FIXED = "the model has one size of image, and its inputs are of that"
_SIZES = {
    "hidden_size": "hidden",
    "num_layers": "layers",
    "num_heads": "heads",
    "ff_size": "ff",
    "sequence_length": "sequence",
    "image_size": "image_size",
    "num_classes": "classes",
}


def span(ms: float) -> str:
    """Return a duration of a scenario file: ``250ms``, ``10s``."""
    ns = round(ms * MS)
    for unit, size in (("s", 1000 * MS), ("ms", MS), ("us", MS // 1000)):
        if ns % size == 0 and ns:
            return f"{ns // size}{unit}"
    return f"{ns}ns"


def model(source: Source, key: str = "model_id") -> str:
    """Return the catalog's name of a model; a hub's that it has not, as it is."""
    name = str(source.take(key))
    return _SHAPES.get(name.lower(), name)


def workload(source: Source, dtype: str) -> dict[str, Any]:
    """Return the workload of an ``implementation`` with its ``params``.

    Raises:
        UnknownName: There is no such implementation.
    """
    name, params = str(source.take("implementation")), source.into("params")
    params.leave("workloads name their unit themselves", "unit_name")
    params.leave(_SEEDED, "prompt_text")
    params.leave(_FORCED, "generation")
    if name not in _IMPLEMENTATIONS:
        at = f"{source.path}.implementation"
        raise UnknownName(at, "implementation", name, _IMPLEMENTATIONS)
    made: dict[str, Any] = _IMPLEMENTATIONS[name](params)
    batch = params.take("batch_size", 1)
    return made | ({"batch": batch} if batch != 1 else {}) | _typed(dtype)


def table(source: Source, dtype: str = "float32") -> dict[str, Any]:
    """Return the workload of a table that says ``type`` and its own sizes."""
    kind = source.take("type")
    source.leave("a comment", "description")
    if kind == "llm":
        return llm(source, source) | _typed(dtype)
    source.leave("the batch, and the model's own size of image", "input_shape")
    made = {"use": "vision", "model": model(source)}
    return made | {"batch": source.take("batch_size", 1)} | _typed(dtype)


def llm(source: Source, sizes: Source) -> dict[str, Any]:
    """Return the workload of one answer; its prompt may be called either name."""
    prompt = "prompt_length" if sizes.has("prompt_length") else "prompt_tokens"
    made = {
        "use": "llm",
        "model": model(source),
        "prompt_tokens": sizes.take(prompt, 16),
        "new_tokens": sizes.take("new_tokens", 1),
    }
    batch = sizes.take("batch_size", 1)
    return made | ({"batch": batch} if batch != 1 else {})


def _typed(dtype: str) -> dict[str, Any]:
    return {} if dtype == "float32" else {"dtype": dtype}


def _causal(params: Source) -> dict[str, Any]:
    return llm(params, params)


def _vision(params: Source) -> dict[str, Any]:
    params.leave(_FIXED, "image_size")
    return {"use": "vision", "model": model(params)}


def _multimodal(params: Source) -> dict[str, Any]:
    params.leave(_FIXED, "image_size")
    params.leave("the model decides what it answers", "execution_mode")
    made = {"use": "multimodal", "model": model(params)}
    return made | (
        {"tokens": params.take("text_length")} if params.has("text_length") else {}
    )


def _block(kind: str) -> Any:
    def made(params: Source) -> dict[str, Any]:
        params.leave("images have three colours", "in_channels")
        found: dict[str, Any] = {"use": "synthetic", "block": kind}
        found |= {to: params.take(key) for key, to in _SIZES.items() if params.has(key)}
        if params.has("channels"):
            # One width throughout: the largest, as many blocks as there were widths.
            widths = params.take("channels")
            found["channels"] = max(widths)
            found.setdefault("layers", len(widths))
        return found

    return made


_IMPLEMENTATIONS = {
    "hf_causal_lm": _causal,
    "hf_vision": _vision,
    "hf_multimodal": _multimodal,
    "synthetic_transformer": _block("transformer"),
    "synthetic_cnn": _block("cnn"),
    "synthetic_hybrid": _block("hybrid"),
}
