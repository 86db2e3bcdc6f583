"""Modules from configurations and weights; torch and transformers are imported here.

Built on the meta device and given the weights afterwards, so that nothing is in memory
twice. Nothing is ever unpickled.
"""

import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from djinnload.errors import HostError
from djinnload.models import families, weights
from djinnload.spi import Model, Tensor

if TYPE_CHECKING:
    import torch

__all__ = (
    "arguments",
    "build",
    "cache_name",
    "fill",
    "from_config",
    "hollow",
    "shapes",
    "to_torch",
)

_LARGEST: Final = 2**20  #: Of any number of a configuration: none has more.


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
    family = families.family(architecture)
    state = {tensor.name: to_torch(tensor) for tensor in tensors}
    # More layers than tensors never fit; without this, a number could cost hours.
    if families.layers(family, {**family.defaults, **config}) > len(state):
        raise ValueError(f"{len(state)} weights do not fit {architecture}")
    module = hollow(architecture, config)
    fill(module, architecture, config, state)
    return module


def hollow(architecture: str, config: Mapping[str, Any]) -> "torch.nn.Module":
    """Return the module in eval mode, its weights on the meta device.

    Raises:
        HostError: torch or transformers is not installed.
        ValueError: The architecture is not allowed, or the configuration is not right.
    """
    module = _module(architecture, config)
    return module.requires_grad_(requires_grad=False).eval()


def fill(
    module: "torch.nn.Module",
    architecture: str,
    config: Mapping[str, Any],
    state: Mapping[str, "torch.Tensor"],
) -> None:
    """Give *module* exactly these weights; they become its own, none is copied.

    Raises:
        ValueError: They do not fit it.
    """
    family = families.family(architecture)
    given = dict(state)
    if family.tied is not None and config.get("tie_word_embeddings", True):
        output, embedding = family.tied
        if embedding in given:
            given.setdefault(output, given[embedding])
    # How often a norm was trained is of no use; nothing else is a whole number.
    given |= {n: v for n, v in module.state_dict().items() if _counts(v)}
    try:
        module.load_state_dict(given, strict=True, assign=True)
    except RuntimeError as error:
        raise ValueError(f"weights do not fit {architecture}: {error}") from error


def shapes(architecture: str, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of the state dict, by its name.

    Raises:
        HostError: torch or transformers is not installed.
        ValueError: The architecture is not allowed, or the configuration is not right.
    """
    found = _module(architecture, config).state_dict()
    return {name: tuple(v.shape) for name, v in found.items() if not _counts(v)}


def cache_name(module: "torch.nn.Module") -> str:
    """Return what ``forward`` calls a KV cache, as argument and as output.

    transformers renamed it in release 5.
    """
    return "cache" if "cache" in arguments(module) else "past_key_values"


def arguments(module: "torch.nn.Module") -> frozenset[str]:
    """Return the names of the arguments that ``forward`` takes."""
    return frozenset(inspect.signature(module.forward).parameters)


def _module(architecture: str, config: Mapping[str, Any]) -> "torch.nn.Module":
    """Return the module with no memory for its weights; what it computes is there."""
    family = families.family(architecture)
    kept = _known(family.defaults, config)
    kept.pop("model_type", None)
    try:
        import torch
        import transformers
    except ImportError as error:
        reason = "models need torch and transformers: pip install 'djinnload[models]'"
        raise HostError(f"{reason} ({error})") from error
    from torch.overrides import TorchFunctionMode

    class Hollow(TorchFunctionMode):
        """Layers get their weights from ``empty``; tables are computed otherwise."""

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            given = dict(kwargs or {})
            if func is torch.empty:
                given["device"] = "meta"
            return func(*args, **given)

    try:
        with Hollow():
            module: torch.nn.Module
            if family.config_class:
                made = getattr(transformers, family.config_class)(**kept)
                module = getattr(transformers, architecture)(made)
            else:
                from djinnload.models import synthetic

                module = getattr(synthetic, architecture)({**family.defaults, **kept})
    except (
        ArithmeticError,
        AssertionError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(f"no {architecture} from this config: {error}") from error
    return module


def _known(defaults: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the family's own keys: others can make transformers fetch code.

    Raises:
        ValueError: A number is beyond all reason, or a part is none.
    """
    kept: dict[str, Any] = {}
    for key in defaults.keys() & config.keys():
        value, usual = config[key], defaults[key]
        if isinstance(usual, Mapping):
            if not isinstance(value, Mapping):
                reason = f"{key} of the configuration has no keys"
                raise ValueError(reason)  # noqa: TRY004 - whoever sent it is wrong
            value = _known(usual, value)
        numbers = value if isinstance(value, list | tuple) else (value,)
        for number in numbers:
            if isinstance(number, int | float) and not -_LARGEST <= number <= _LARGEST:
                raise ValueError(f"{key} = {number} of the configuration is too large")
        kept[key] = value
    return kept


def _counts(value: "torch.Tensor") -> bool:
    return not value.is_floating_point()


def to_torch(tensor: Tensor) -> "torch.Tensor":
    """Return *tensor* for torch, over its own memory if that is writable.

    Raises:
        ValueError: It is not of floating point, or its bytes are not of its shape.
    """
    import torch

    if tensor.dtype not in families.DTYPES:
        raise ValueError(f"weight {tensor.name} is {tensor.dtype}, not floating point")
    dtype: torch.dtype = getattr(torch, tensor.dtype)
    data = memoryview(tensor.data)
    # What is read-only belongs to someone else, such as a frame: torch gets a copy.
    own = bytearray(data) if data.readonly else data
    try:
        return torch.frombuffer(own, dtype=dtype).reshape(tensor.shape)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"weight {tensor.name}: {error}") from error
