"""The local copy of a model that answers are compared with; one torch thread."""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from djinnload.errors import HostError
from djinnload.models import build
from djinnload.models.tolerance import tolerance
from djinnload.spi import Model, Tensor

if TYPE_CHECKING:
    import torch

__all__ = ("LocalReference",)

_MODELS = 4  #: In memory at once, in a process that checks.


class LocalReference:
    """Implements ``spi.Reference`` for one session.

    Args:
        models: That the workload asked for, by name.
        device: Where it runs: ``cpu``, on one thread, or ``cuda`` …
    """

    def __init__(self, models: Mapping[str, Model], device: str = "cpu") -> None:
        self.state: dict[str, Any] = {}
        self._models = models
        self._device = device

    def forward(self, model: str, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run *inputs* through the local copy of *model*, nothing cached.

        Args:
            model: A name that the workload had from its assets.
            inputs: Arguments of the module's ``forward``; ``logits_to_keep``, the
                positions wanted, is left out where it takes none.

        Returns:
            The tensors that it gives, in float32 whatever the weights are.

        Raises:
            KeyError: The workload asked for no such model.
        """
        import torch

        module, _ = _ready(_key(self._models[model]), self._device)
        weight = next(module.parameters())
        given = {name: _to_torch(tensor, weight) for name, tensor in inputs.items()}
        taken = build.arguments(module)
        if "logits_to_keep" not in taken:
            given.pop("logits_to_keep", None)
        uncached = {"use_cache": False} if "use_cache" in taken else {}
        with torch.inference_mode():
            found = module(**given, **uncached)
        return {
            name: Tensor.of(name, value.float().cpu().numpy())
            for name, value in found.items()
            if isinstance(value, torch.Tensor)
        }

    def tolerance(self, model: str) -> float:
        """Return the largest |difference| ÷ std that is right for this model here.

        Raises:
            KeyError: The workload asked for no such model.
        """
        return _ready(_key(self._models[model]), self._device)[1]


def _key(model: Model) -> bytes:
    return msgspec.json.encode(model, order="deterministic")


@lru_cache(maxsize=_MODELS)
def _ready(key: bytes, device: str) -> "tuple[torch.nn.Module, float]":
    import torch

    torch.set_num_threads(1)  # the other cores are the server's
    model = msgspec.json.decode(key, type=Model)
    if device != "cpu" and not torch.cuda.is_available():
        reason = 'torch sees none here; use verify = { device = "cpu" }'
        raise HostError(f"answers cannot be checked on {device}: {reason}")
    module = build.build(model).to(device)
    return module, tolerance(model, module)


def _to_torch(tensor: Tensor, like: "torch.Tensor") -> "torch.Tensor":
    import torch

    dtype: torch.dtype = getattr(torch, tensor.dtype)
    flat = torch.frombuffer(bytearray(tensor.data), dtype=dtype)
    value = flat.reshape(tensor.shape)
    if value.is_floating_point():
        value = value.to(like.dtype)
    return value.to(like.device)
