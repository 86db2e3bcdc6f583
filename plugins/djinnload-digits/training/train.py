"""Train the model that this package ships, and pick the images; once, not at install.

Needs scikit-learn (its copy of the Optical Recognition of Handwritten Digits data, UCI,
CC BY 4.0) beside torch and transformers. Writes into ``src/djinnload_digits``.
"""

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from transformers import ResNetConfig, ResNetForImageClassification

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "djinnload_digits"
SHIPPED = 200  #: Images, of those not trained on.
EPOCHS = 12


def main() -> None:
    """Train for some seconds on a CPU and print the accuracy on unseen images."""
    torch.manual_seed(7)
    data = load_digits()
    images = data.images.astype(np.uint8)  # 0 to 16
    order = np.random.default_rng(7).permutation(len(images))
    held, seen = order[:400], order[400:]
    config = ResNetConfig(
        num_channels=1,
        embedding_size=8,
        hidden_sizes=[16, 32],
        depths=[1, 1],
        layer_type="basic",
        num_labels=10,
        image_size=32,  # not transformers' own: servers check inputs by it
    )
    model = ResNetForImageClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(EPOCHS):
        model.train()
        for batch in torch.randperm(len(seen)).split(32):
            which = seen[batch.numpy()]
            found = model(
                pixel_values=pixels(images[which]),
                labels=torch.from_numpy(data.target[which]),
            )
            optimizer.zero_grad()
            found.loss.backward()
            optimizer.step()
    model.eval()
    with torch.inference_mode():
        logits = model(pixel_values=pixels(images[held])).logits
    right = (logits.argmax(-1).numpy() == data.target[held]).mean()
    print(f"{right:.1%} of {len(held)} unseen images right")  # noqa: T201 - a script
    model.save_pretrained(PACKAGE / "model")
    some = held[:SHIPPED]
    np.savez_compressed(
        PACKAGE / "digits.npz",
        images=images[some],
        labels=data.target[some].astype(np.uint8),
    )


def pixels(images: np.ndarray) -> torch.Tensor:
    """Return images of 8 × 8 as the model takes them: 32 × 32, −1 to 1."""
    large = images.repeat(4, axis=1).repeat(4, axis=2).astype(np.float32)
    return torch.from_numpy(large[:, None] / 8 - 1)


if __name__ == "__main__":
    main()
