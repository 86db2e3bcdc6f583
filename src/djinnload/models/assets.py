"""What a workload prepares itself with; remembers what it asked for."""

from collections.abc import Mapping
from types import MappingProxyType

from djinnload.errors import ScenarioError
from djinnload.models import catalog, checkpoint
from djinnload.spi import Model

__all__ = ("BUILT_IN", "ModelAssets")

#: What the reference server answers without any weights: the inputs, as they came;
#: and requests that are allocations.
BUILT_IN: Mapping[str, Model] = MappingProxyType(
    {name: Model(name, name, {}, "uint8", 0) for name in ("echo", "allocator")}
)


class ModelAssets:
    """The run's models; implements ``spi.Assets``.

    Attributes:
        seed: Of the weights, and of what a workload draws in its ``__init__``.
        used: The models asked for, by name, in the order of the asking.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.used: dict[str, Model] = {}

    def model(self, name: str, *, dtype: str = "float32") -> Model:
        """Return the named model; see ``catalog.find`` for names, and `BUILT_IN`.

        Raises:
            UnknownName: No such model or dtype.
            ScenarioError: A checkpoint that cannot be read, or two dtypes of one model:
                a server knows a model by its name alone.
        """
        if name in BUILT_IN:
            return self.used.setdefault(name, BUILT_IN[name])
        made = catalog.find(name, seed=self.seed, dtype=dtype)
        if made.source.startswith((checkpoint.PACKAGE, "/")):
            checkpoint.stamp(made.source)  # there are weights, before a run wants them
        known = self.used.setdefault(name, made)
        if known.dtype != dtype:
            reason = f"{name} is wanted as {known.dtype} and as {dtype}, choose one"
            raise ScenarioError("dtype", reason)
        return made
