"""Blocks of given size, built here and not in transformers; imports torch.

Each takes ``x`` and gives ``y``: shapes in ``models.families``.
"""

from collections.abc import Mapping

import torch
from torch import nn

__all__ = ("SyntheticCNN", "SyntheticHybrid", "SyntheticTransformer")

_PATCH = 8  #: Pixels a side of what becomes one position of the hybrid.


class SyntheticTransformer(nn.Module):
    """Pre-norm attention blocks over given vectors; no embedding and no head."""

    def __init__(self, config: Mapping[str, int]) -> None:
        super().__init__()
        self.blocks = _blocks(config)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return ``y`` [batch, sequence, hidden] of *x* of the same shape."""
        return {"y": self.blocks(x)}


class SyntheticCNN(nn.Module):
    """Convolutions 3 × 3, each of stride 2 up to four times; mean; one matrix."""

    def __init__(self, config: Mapping[str, int]) -> None:
        super().__init__()
        width, taken = config["channels"], 3
        parts: list[nn.Module] = []
        for layer in range(config["layers"]):
            stride = 2 if layer < 4 else 1  # noqa: PLR2004 - 16 times smaller at most
            parts += [
                nn.Conv2d(taken, width, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            taken = width
        self.features = nn.Sequential(*parts)
        self.head = nn.Linear(width, config["classes"])

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return ``y`` [batch, classes] of *x* [batch, 3, image_size, image_size]."""
        return {"y": self.head(self.features(x).mean(dim=(2, 3)))}


class SyntheticHybrid(nn.Module):
    """Convolutions make patches, attention blocks mix them; mean; one matrix."""

    def __init__(self, config: Mapping[str, int]) -> None:
        super().__init__()
        width, hidden = config["channels"], config["hidden"]
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, hidden, _PATCH, _PATCH),
        )
        self.blocks = _blocks(config)
        self.head = nn.Linear(hidden, config["classes"])

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return ``y`` [batch, classes] of *x* [batch, 3, image_size, image_size]."""
        patches = self.stem(x).flatten(2).transpose(1, 2)
        return {"y": self.head(self.blocks(patches).mean(dim=1))}


def _blocks(config: Mapping[str, int]) -> nn.Sequential:
    return nn.Sequential(
        *(
            nn.TransformerEncoderLayer(
                config["hidden"],
                config["heads"],
                config["ff"],
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config["layers"])
        )
    )
