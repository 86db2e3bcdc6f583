"""Seeded weights: the same numbers on every machine, at a scale that lets signals pass.

Right for measuring, not for meaning: every tensor is drawn from its own numpy stream.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import Any, Final

from djinnload.models import checkpoint
from djinnload.spi import Model, Tensor

__all__ = ("seeded",)

#: Vectors that are no constants, by the last part of their names.
_DRAWN: Final = ("class_embedding",)
_CONSTANT: Final[Mapping[str, float]] = {
    "bias": 0.0,
    "running_mean": 0.0,
    # As trained ConvNeXts have it; its initial 1e-6 would switch the blocks off.
    "layer_scale_parameter": 0.1,
    "logit_scale": 2.6592,
}
_CONVOLUTION: Final = 3  # dimensions, at least
#: Of convolutions before an activation that halves what is small, else 1: with 1, an
#: EfficientNet answers 1e-8 to everything; with 1.6, it overflows 16 bits.
_GAINS: Final[Mapping[str, float]] = {"swish": 1.45}
_USUAL: Final = 0.02


def seeded(model: Model, name: str, shape: tuple[int, ...]) -> Tensor:
    """Return one tensor of *model*; no other tensor has a say in it."""
    import numpy as np

    values: np.ndarray[Any, np.dtype[np.float32]]
    last = name.rpartition(".")[2]
    if len(shape) <= 1 and last not in _DRAWN:
        # Norms are 1, and leave the running variance of a norm at 1.
        fill = 0.0 if name.endswith("bias") else _CONSTANT.get(last, 1.0)
        values = np.full(shape, fill, dtype=np.float32)
    else:
        # A stream of its own: no tensor depends on which were made before it.
        key = hashlib.sha256(f"{model.seed} {name}".encode()).digest()[:16]
        generator = np.random.Generator(np.random.Philox(key=int.from_bytes(key)))
        values = generator.standard_normal(shape, dtype=np.float32)
        values *= np.float32(_std(model.config, name, shape))
    return Tensor(name, shape, model.dtype, checkpoint.cast(values, model.dtype))


def _std(config: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> float:
    if len(shape) >= _CONVOLUTION and shape[0] > 1:
        gain = _GAINS.get(config.get("hidden_act", ""), 1.0)
        return gain / math.sqrt(math.prod(shape[1:]))
    std = float(config.get("initializer_range", config.get("init_std", _USUAL)))
    # GPT-2 scales what is added to the residual stream by the number of additions.
    return std / math.sqrt(2 * config["n_layer"]) if "c_proj." in name else std
