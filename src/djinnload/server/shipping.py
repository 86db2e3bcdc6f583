"""What calls bring along, or have made anew: weights, state, the plan of the model.

All of it is done for real, and noted in ``Work.did`` where it is done, never before. A
"plan" is the module: what transformers makes of a configuration, without its weights.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock, local
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from djinnload.models import families
from djinnload.server.inputs import RequestError
from djinnload.server.loading import Loaded, content_sha256
from djinnload.server.sessions import Kept
from djinnload.spi import Tensor

if TYPE_CHECKING:
    import torch

__all__ = ("STATE", "WEIGHT", "Modules", "parted", "restored", "shipped")

#: What the names of shipped tensors begin with.
WEIGHT, STATE = "weight/", "state/"
_STATE = re.compile(r"state/(0|[1-9]\d*)\.(key|value)")
#: What an encoder made of the session's first request.
_ENCODED = "state/encoded"
_RANK = 4  # batch, heads, positions, size of a head
#: Integers as wide as numbers: equal bits, not equal values, make equal weights.
_BITS = {2: "int16", 4: "int32", 8: "int64"}


class _Scratch(Struct):
    """A module of one worker thread; between calls it holds no weights."""

    module: Any
    hollow: dict[str, Any]


class Modules:
    """Modules with the weights of one call, or made for one call.

    Args:
        device: Of the models.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._kept = local()
        # transformers promises nothing of building on two threads.
        self._building = Lock()

    @contextmanager
    def of(
        self, loaded: Loaded, weights: Sequence[Tensor], *, anew: bool
    ) -> Iterator[tuple[Loaded, str]]:
        """Give *loaded*, or one like it for this call, and the hash of its weights.

        Args:
            loaded: The resident model.
            weights: All of the model's, as sent; empty: the resident ones.
            anew: The module is built for this call, and dropped after it.

        Raises:
            RequestError: The weights do not fit the model.
        """
        if not weights and not anew:
            yield loaded, loaded.weights_sha256
            return
        from djinnload.models import build

        model, resident = loaded.model, loaded.module.state_dict()
        given = self._given(weights, resident) if weights else resident
        scratch = self._built(loaded) if anew else self._scratch(loaded)
        try:
            # The tensors become the module's, where they are: nothing is copied.
            build.fill(scratch.module, model.architecture, model.config, given)
        except ValueError as error:
            scratch.module.load_state_dict(scratch.hollow, strict=True, assign=True)
            raise RequestError(str(error)) from error
        module = scratch.module.to(self._device)
        sha256 = loaded.weights_sha256
        if weights and not _same(given, resident):
            sha256 = content_sha256(_bare(weights))
        try:
            yield replace(loaded, module=module), sha256
        finally:
            if not anew:
                # A frame may be gigabytes: it goes with the call.
                module.load_state_dict(scratch.hollow, strict=True, assign=True)

    def _given(
        self, weights: Sequence[Tensor], resident: Mapping[str, Any]
    ) -> dict[str, Any]:
        from djinnload.models import build

        try:
            given = {t.name: build.to_torch(t) for t in _bare(weights)}
        except ValueError as error:
            raise RequestError(str(error)) from error
        for name, value in given.items():
            if name in resident and value.dtype != resident[name].dtype:
                wanted = str(resident[name].dtype).removeprefix("torch.")
                raise RequestError(f"weight {name} is not {wanted} as the model's is")
        return {name: value.to(self._device) for name, value in given.items()}

    def _scratch(self, loaded: Loaded) -> _Scratch:
        kept = self._kept.__dict__.setdefault("models", {})
        # The model that an identity names is kept with it, so it names no other.
        if id(loaded) not in kept:
            kept[id(loaded)] = loaded, self._built(loaded)
        found: _Scratch = kept[id(loaded)][1]
        return found

    def _built(self, loaded: Loaded) -> _Scratch:
        from djinnload.models import build

        with self._building:
            module = build.hollow(loaded.model.architecture, loaded.model.config)
        return _Scratch(module, module.state_dict())


def parted(
    inputs: Sequence[Tensor],
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return what a forward takes, the weights, and the state, of a call's tensors."""
    weights = tuple(t for t in inputs if t.name.startswith(WEIGHT))
    state = tuple(t for t in inputs if t.name.startswith(STATE))
    rest = tuple(t for t in inputs if not t.name.startswith((WEIGHT, STATE)))
    return rest, weights, state


def restored(
    loaded: Loaded, state: Sequence[Tensor], device: str, dtype: "torch.dtype"
) -> Kept:
    """Return the session that *state* is: what `shipped` made of it.

    Raises:
        RequestError: It is not a state of this model.
    """
    _refuse_stateless(loaded)
    from transformers import DynamicCache, EncoderDecoderCache

    sent = {tensor.name: tensor for tensor in state}
    heard = sent.pop(_ENCODED, None)
    layers = _layered(loaded, sent.values(), device, dtype)
    cache: Any = DynamicCache()
    for index in sorted(layers):
        cache.update(layers[index]["key"], layers[index]["value"], index)
    first = layers[0]["key"]
    kept = Kept(loaded.name, cache, int(first.shape[2]), sum(t.nbytes for t in state))
    if port := families.family(loaded.model.architecture).encoded:
        batch = int(first.shape[0])
        wanted = families.shape(port, loaded.model.config, batch=batch, length=1)
        if heard is None or heard.shape != wanted:
            got = "is missing" if heard is None else f"has {list(heard.shape)}"
            raise RequestError(f"{_ENCODED} of shape {list(wanted)} {got}")
        kept.encoded = _to_torch(heard, device, dtype)
        # Keys and values of it are made anew: in a large, they are 64 times as much.
        kept.cache = EncoderDecoderCache(cache, DynamicCache())
    elif heard is not None:
        raise RequestError(f"{loaded.name} has no encoder, and takes no {_ENCODED}")
    return kept


def _layered(
    loaded: Loaded, sent: Collection[Tensor], device: str, dtype: "torch.dtype"
) -> dict[int, dict[str, "torch.Tensor"]]:
    """Return the key and the value of each layer.

    Raises:
        RequestError: Any is missing, one too many, or unlike the others.
    """
    layers: dict[int, dict[str, torch.Tensor]] = {}
    for tensor in sent:
        match = _STATE.fullmatch(tensor.name)
        if match is None or len(tensor.shape) != _RANK or not tensor.nbytes:
            raise RequestError(f"{tensor.name} {list(tensor.shape)} is no state")
        value = _to_torch(tensor, device, dtype)
        layers.setdefault(int(match[1]), {})[match[2]] = value
    shapes = {
        tuple(v.shape[i] for i in (0, 2)) for d in layers.values() for v in d.values()
    }
    whole = all(len(each) == 2 for each in layers.values())  # noqa: PLR2004 - key, value
    if sorted(layers) != list(range(_layers(loaded))) or not whole or len(shapes) != 1:
        raise RequestError(
            f"the state has {len(sent)} tensors, the model's is one key and one value "
            f"for each of {_layers(loaded)} layers, all of one batch and length"
        )
    return layers


def _to_torch(tensor: Tensor, device: str, dtype: "torch.dtype") -> "torch.Tensor":
    from djinnload.models import build

    try:
        return build.to_torch(tensor).to(device, dtype)
    except ValueError as error:
        raise RequestError(str(error)) from error


def shipped(loaded: Loaded, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors by which `restored` makes a session again.

    The least that determine it: of a model with an encoder, what that made, not the
    keys and values that each layer makes of it.

    Args:
        loaded: The model.
        found: What its forward gave, cache included.

    Raises:
        RequestError: Nothing is kept for this model.
    """
    _refuse_stateless(loaded)
    cache = found[loaded.cache_name]
    made = {
        f"{STATE}{i}.{kind}": value
        for i, layer in enumerate(getattr(cache, "self_attention_cache", cache).layers)
        for kind, value in (("key", layer.keys), ("value", layer.values))
    }
    if port := families.family(loaded.model.architecture).encoded:
        made[_ENCODED] = found[port.name]
    return made


def _refuse_stateless(loaded: Loaded) -> None:
    if not families.family(loaded.model.architecture).cached:
        raise RequestError(f"{loaded.name} keeps nothing between requests")


def _layers(loaded: Loaded) -> int:
    """Return how many layers keep keys and values: the last that a family counts."""
    family = families.family(loaded.model.architecture)
    return int(families.read(loaded.model.config, family.layers[-1]))


def _bare(weights: Sequence[Tensor]) -> list[Tensor]:
    return [replace(t, name=t.name.removeprefix(WEIGHT)) for t in weights]


def _same(given: Mapping[str, Any], resident: Mapping[str, Any]) -> bool:
    """Return whether these are the resident weights, bit for bit: far less than a hash.

    Numbers that are only counted were not sent.
    """
    import torch

    return given.keys() <= resident.keys() and all(
        value.shape == resident[name].shape
        and torch.equal(_bits(value), _bits(resident[name]))
        for name, value in given.items()
    )


def _bits(value: "torch.Tensor") -> "torch.Tensor":
    import torch

    return value.view(getattr(torch, _BITS[value.dtype.itemsize]))
