"""Models from registrations: by id, or with the weights sent; never from a pickle.

Runs in the server's loading thread; torch and transformers are imported on first use.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from djinnload.spi import Model, Tensor

__all__ = ("Loaded", "Recipe", "load")

_SCHEME = "djinnload:"


class Recipe(Struct, frozen=True):
    """What a registration says of a model.

    Attributes:
        model_id: ``djinnload:NAME?seed=N&dtype=D``; unused where weights are sent.
        architecture: Class name, with or without its module path.
        weights: As sent; None: by id.
    """

    model_id: str
    architecture: str
    config: Mapping[str, Any]
    weights: tuple[Tensor, ...] | None


class Loaded(Struct, frozen=True):
    """A model that is ready to run.

    Attributes:
        module: A ``torch.nn.Module`` in eval mode, on its device.
        name: The model id, or the class name where weights were sent.
        weights_sha256: Hex, of what it was built from.
        model: Its architecture and configuration.
        cache_name: What its ``forward`` calls a KV cache; empty: it takes none.
    """

    module: Any
    name: str
    weights_sha256: str
    model: Model
    cache_name: str = ""

    @property
    def weights_bytes(self) -> int:
        """Return the bytes of its parameters and buffers."""
        every = (*self.module.parameters(), *self.module.buffers())
        return sum(each.nbytes for each in every)


def load(recipe: Recipe, *, device: str) -> Loaded:
    """Return the model that *recipe* describes, on *device*.

    Raises:
        ScenarioError: No such model, or an id that is not ours.
        ValueError: An architecture that is not allowed, or weights that do not fit it.
    """
    from djinnload.models import build

    made = _by_id(recipe) if recipe.weights is None else _sent(recipe, recipe.weights)
    cached = "use_cache" in build.arguments(made.module)
    name = build.cache_name(made.module) if cached else ""
    return replace(made, module=made.module.to(device), cache_name=name)


def _by_id(recipe: Recipe) -> Loaded:
    from djinnload.models import build, catalog, weights

    # Never a hub id or a path: whoever can connect could have it read any file.
    if not recipe.model_id.startswith(_SCHEME):
        example = f"{_SCHEME}NAME?seed=N&dtype=float32"
        raise ValueError(
            f"model id {recipe.model_id!r} is not one that this server builds; "
            f"send {example}, or the weights"
        )
    model = catalog.parse_id(recipe.model_id)
    return Loaded(build.build(model), recipe.model_id, weights.sha256(model), model)


def _sent(recipe: Recipe, tensors: tuple[Tensor, ...]) -> Loaded:
    from djinnload.models import build, families

    architecture = recipe.architecture.rpartition(".")[2]
    module = build.from_config(architecture, recipe.config, tensors)
    defaults = families.family(architecture).defaults
    config = families.merged(defaults, recipe.config)
    dtype = str(next(module.parameters()).dtype).removeprefix("torch.")
    model = Model(architecture, architecture, config, dtype, 0)
    return Loaded(module, architecture, content_sha256(tensors), model)


def content_sha256(tensors: Iterable[Tensor]) -> str:
    """Return the hash of names, shapes, dtypes and bytes, in the order of names."""
    digest = hashlib.sha256()
    for tensor in sorted(tensors, key=lambda tensor: tensor.name):
        digest.update(f"{tensor.name} {tensor.dtype} {tensor.shape}\n".encode())
        digest.update(tensor.data)
    return digest.hexdigest()
