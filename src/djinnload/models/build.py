"""Modules from configurations and weights; torch and transformers are imported here.

Built on the meta device and given the weights afterwards, so that nothing is in memory
twice. Nothing is ever unpickled.
"""

import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from djinnload.errors import HostError
from djinnload.models import catalog, weights
from djinnload.spi import Model, Tensor

if TYPE_CHECKING:
    import torch

__all__ = (
    "arguments",
    "build",
    "cache_name",
    "calibrate",
    "from_config",
    "shapes",
    "tolerance",
)

#: Class of the model → class of its configuration, both in transformers.
_ALLOWED: Final[Mapping[str, str]] = {"GPT2LMHeadModel": "GPT2Config"}
_TOLERANCE: Final[Mapping[str, float]] = {
    "float32": 1e-3,
    "float16": 0.08,
    "bfloat16": 0.5,
}
_TIED: Final = ("lm_head.weight", "transformer.wte.weight")


def build(model: Model) -> "torch.nn.Module":
    """Return *model* on the CPU, in eval mode, its weights memory-mapped.

    Raises:
        HostError: The cache of weights cannot be written, or torch is not installed.
        ScenarioError: The model's checkpoint cannot be read, or does not fit.
    """
    return from_config(model.architecture, model.config, weights.tensors(model))


def from_config(
    architecture: str, config: Mapping[str, Any], tensors: Iterable[Tensor]
) -> "torch.nn.Module":
    """Return a module with exactly these weights, on the CPU, in eval mode.

    Args:
        architecture: ``transformers`` class name; only allowed ones.
        config: Keys that the family does not have are ignored.
        tensors: The whole state dict; their memory is used as it is if writable.

    Raises:
        HostError: torch or transformers is not installed.
        ValueError: The architecture is not allowed, the configuration makes no model,
            or the weights do not fit it.
    """
    state = {tensor.name: _to_torch(tensor) for tensor in tensors}
    output, embedding = _TIED
    if config.get("tie_word_embeddings", True) and embedding in state:
        state.setdefault(output, state[embedding])
    # More layers than tensors never fit; without this, a number could cost hours.
    if int(config.get("n_layer", 0)) > len(state):
        raise ValueError(f"{len(state)} weights do not fit {architecture}")
    module = _module(architecture, config, device="meta")
    if any(buffer.is_meta for buffer in module.buffers()):
        # Older transformers compute buffers on construction: meta would lose them.
        module = _module(architecture, config, device="cpu")
    try:
        module.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise ValueError(f"weights do not fit {architecture}: {error}") from error
    return module.requires_grad_(requires_grad=False).eval()


def shapes(architecture: str, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of the state dict, by its name.

    Raises:
        HostError: torch or transformers is not installed.
        ValueError: The architecture is not allowed, or the configuration is not right.
    """
    module = _module(architecture, config, device="meta")
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def tolerance(dtype: str) -> float:
    """Return the largest max|Δlogit| ÷ std(logits) that counts as right for *dtype*."""
    return _TOLERANCE[dtype]


def calibrate(module: "torch.nn.Module", *, tokens: int = 16, seed: int = 0) -> float:
    """Return twice what decoding with a KV cache differs from computing it all anew.

    Args:
        module: As built here.
        tokens: Length of the sequence, of which the second half is decoded.
        seed: Of the token ids.

    Returns:
        max|Δlogit| ÷ std of the recomputed logits, × 2.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    vocabulary = int(module.get_parameter("lm_head.weight").shape[0])
    ids = torch.randint(vocabulary, (1, tokens), generator=generator)
    first = tokens // 2
    name = cache_name(module)
    with torch.inference_mode():
        whole = module(input_ids=ids, use_cache=False).logits.float()
        out = module(input_ids=ids[:, :first], use_cache=True)
        parts = [out.logits]
        for i in range(first, tokens):
            kept = {name: out[name]}
            out = module(input_ids=ids[:, i : i + 1], use_cache=True, **kept)
            parts.append(out.logits)
    difference = (torch.cat(parts, dim=1).float() - whole).abs().max()
    return 2 * float(difference / whole.std())


def cache_name(module: "torch.nn.Module") -> str:
    """Return what ``forward`` calls a KV cache, as argument and as output.

    transformers renamed it in release 5.
    """
    return "cache" if "cache" in arguments(module) else "past_key_values"


def arguments(module: "torch.nn.Module") -> frozenset[str]:
    """Return the names of the arguments that ``forward`` takes."""
    return frozenset(inspect.signature(module.forward).parameters)


def _module(
    architecture: str, config: Mapping[str, Any], *, device: str
) -> "torch.nn.Module":
    known = catalog.config_defaults(architecture)
    try:
        import torch
        import transformers
    except ImportError as error:
        reason = "models need torch and transformers: pip install 'djinnload[models]'"
        raise HostError(f"{reason} ({error})") from error

    # Only the family's own keys: others can make transformers fetch code.
    kept = {key: config[key] for key in known.keys() & config.keys()}
    kept.pop("model_type", None)
    try:
        made = getattr(transformers, _ALLOWED[architecture])(**kept)
        with torch.device(device):
            module: torch.nn.Module = getattr(transformers, architecture)(made)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"no {architecture} from this config: {error}") from error
    return module


def _to_torch(tensor: Tensor) -> "torch.Tensor":
    import torch

    if tensor.dtype not in catalog.DTYPES:
        raise ValueError(f"weight {tensor.name} is {tensor.dtype}, not floating point")
    dtype: torch.dtype = getattr(torch, tensor.dtype)
    data = memoryview(tensor.data)
    # What is read-only belongs to someone else, such as a frame: torch gets a copy.
    own = bytearray(data) if data.readonly else data
    try:
        return torch.frombuffer(own, dtype=dtype).reshape(tensor.shape)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"weight {tensor.name}: {error}") from error
