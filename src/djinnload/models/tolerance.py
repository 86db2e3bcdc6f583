"""How far a right answer may be from a local one; imports torch.

A model's own figure is twice what two right ways of computing the same thing differ by:
with a KV cache and without; or else several inputs at once, and one after the other in
the next wider dtype.
"""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from djinnload.models import build, families
from djinnload.spi import Model

if TYPE_CHECKING:
    import torch

__all__ = ("calibrate", "probe", "tolerance", "usual")

_BATCH = 2
_TOKENS = 16
_WIDER = {"float32": "float64", "float16": "float32", "bfloat16": "float32"}


def usual(architecture: str, dtype: str) -> float:
    """Return max|Δ| ÷ std of an output that is right for *dtype* by experience."""
    return families.family(architecture).tolerance[dtype]


def tolerance(model: Model, module: "torch.nn.Module") -> float:
    """Return max|Δ| ÷ std that is right for this model on this machine.

    The usual one; where the model itself calls for more, that, but at most twice as
    much: a local fault must not make every answer right.
    """
    least = usual(model.architecture, model.dtype)
    return max(least, min(calibrate(model, module), 2 * least))


def calibrate(model: Model, module: "torch.nn.Module", *, seed: int = 0) -> float:
    """Return twice what two right ways of computing differ by, ÷ std of the output.

    Args:
        model: What *module* was built from.
        module: As built.
        seed: Of the inputs.
    """
    import torch

    family = families.family(model.architecture)
    with torch.inference_mode():
        if family.cached:
            return 2 * _cached_or_not(model, module, seed)
        inputs = probe(model, module, batch=_BATCH, length=_TOKENS, seed=seed)
        names = [port.name for port in family.outputs]
        found = module(**inputs)
        wide = copy.deepcopy(module).to(getattr(torch, _WIDER[model.dtype]))
        singles = [wide(**_one(inputs, i, _WIDER[model.dtype])) for i in range(_BATCH)]
        exact = {name: torch.cat([each[name] for each in singles]) for name in names}
        return 2 * max(_difference(found[name], exact[name]) for name in names)


def probe(
    model: Model,
    module: "torch.nn.Module",
    *,
    batch: int = 1,
    length: int = 1,
    seed: int = 0,
) -> dict[str, "torch.Tensor"]:
    """Return seeded arguments that *module* takes, on its device, none optional."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    weight = next(module.parameters())
    made: dict[str, torch.Tensor] = {}
    for port in families.family(model.architecture).inputs:
        if not port.required:
            continue
        shape = families.shape(port, model.config, batch=batch, length=length)
        if port.below:
            below = int(families.read(model.config, port.below))
            value = torch.randint(below, shape, generator=generator)
        else:
            value = torch.randn(shape, generator=generator).to(weight.dtype)
        made[port.name] = value.to(weight.device)
    return made


def _cached_or_not(model: Model, module: "torch.nn.Module", seed: int) -> float:
    import torch

    inputs = probe(model, module, length=_TOKENS, seed=seed)
    ports = families.family(model.architecture).inputs
    ids = next(port.name for port in ports if port.below)
    first = _TOKENS // 2
    cache = build.cache_name(module)
    whole = module(**inputs, use_cache=False).logits
    fed = inputs.pop(ids)
    out = module(**inputs, **{ids: fed[:, :first]}, use_cache=True)
    parts = [out.logits]
    for i in range(first, _TOKENS):
        kept: dict[str, Any] = {cache: out[cache], ids: fed[:, i : i + 1]}
        if "encoder_last_hidden_state" in out:
            kept["encoder_outputs"] = (out["encoder_last_hidden_state"],)
        out = module(**kept, use_cache=True)
        parts.append(out.logits)
    return _difference(torch.cat(parts, dim=1), whole)


def _one(
    inputs: Mapping[str, "torch.Tensor"], index: int, dtype: str
) -> dict[str, "torch.Tensor"]:
    import torch

    wide: torch.dtype = getattr(torch, dtype)
    parts = {name: value[index : index + 1] for name, value in inputs.items()}
    return {n: v.to(wide) if v.is_floating_point() else v for n, v in parts.items()}


def _difference(one: "torch.Tensor", other: "torch.Tensor") -> float:
    reference = other.double()
    return float((one.double() - reference).abs().max() / reference.std())
