"""Models by name: configurations only, no weights and no torch.

A new model is a row in ``_CATALOG``; a new family is a row in ``_FAMILIES`` too, with
the family's complete default configuration, and one in ``build``'s allow-list.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
from msgspec import Struct

from djinnload.errors import ScenarioError, UnknownName
from djinnload.spi import Model

__all__ = ("DTYPES", "config_defaults", "find", "names", "parse_id")

#: Weight dtypes, with the bytes of one number.
DTYPES: Final[Mapping[str, int]] = MappingProxyType(
    {"float32": 4, "float16": 2, "bfloat16": 2}
)

_GPT2: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": 50257,
        "n_positions": 1024,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_inner": None,
        "activation_function": "gelu_new",
        "resid_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "attn_pdrop": 0.1,
        "layer_norm_epsilon": 1e-05,
        "initializer_range": 0.02,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "summary_activation": None,
        "summary_proj_to_labels": True,
        "summary_first_dropout": 0.1,
        "scale_attn_weights": True,
        "use_cache": True,
        "bos_token_id": 50256,
        "eos_token_id": 50256,
        "pad_token_id": None,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "add_cross_attention": False,
        # Untied: every tensor of the state dict is then sent and hashed by itself.
        "tie_word_embeddings": False,
    }
)
# Token ids outside a small vocabulary make transformers complain.
_NO_SPECIAL: Final = {"bos_token_id": None, "eos_token_id": None}

_FAMILIES: Final[Mapping[str, Mapping[str, Any]]] = {"GPT2LMHeadModel": _GPT2}


class _Entry(Struct, frozen=True):
    architecture: str
    changes: Mapping[str, Any]


_CATALOG: Final[Mapping[str, _Entry]] = {
    "gpt2": _Entry("GPT2LMHeadModel", {}),
    "gpt2-medium": _Entry(
        "GPT2LMHeadModel", {"n_embd": 1024, "n_layer": 24, "n_head": 16}
    ),
    # Width 320 makes one forward of 16 tokens 7 ms on one slow core: long enough to
    # queue for, short enough for tests.
    "gpt2-small-4l": _Entry(
        "GPT2LMHeadModel",
        {"n_embd": 320, "n_layer": 4, "n_head": 5, "vocab_size": 8192, **_NO_SPECIAL},
    ),
    "gpt2-tiny": _Entry(
        "GPT2LMHeadModel",
        {
            "n_embd": 64,
            "n_layer": 2,
            "n_head": 2,
            "vocab_size": 512,
            "n_positions": 256,
            **_NO_SPECIAL,
        },
    ),
}

_ID = re.compile(r"djinnload:([^?&/]+)\?seed=(-?[0-9]{1,20})&dtype=([a-z0-9]+)")
_HUB = re.compile(r"[\w.-]+/[\w.-]+")


def names() -> tuple[str, ...]:
    """Return the names of the catalog, sorted."""
    return tuple(sorted(_CATALOG))


def config_defaults(architecture: str) -> Mapping[str, Any]:
    """Return the complete default configuration of *architecture*.

    Raises:
        ValueError: An architecture that is not known here.
    """
    if architecture not in _FAMILIES:
        known = ", ".join(_FAMILIES)
        raise ValueError(
            f"architecture {architecture!r} is not allowed (there is: {known})"
        )
    return _FAMILIES[architecture]


def find(name: str, *, seed: int, dtype: str = "float32") -> Model:
    """Return the model that *name* stands for.

    Args:
        name: In the catalog; or a directory with a transformers checkpoint, which
            begins with ``/``, ``./``, ``../`` or ``~``; or a hub id, ``owner/name``.
        seed: Of the weights; a checkpoint's do not depend on it.
        dtype: Of the weights: ``float32``, ``float16`` or ``bfloat16``.

    Raises:
        UnknownName: Nothing of that name, or no such dtype.
        ScenarioError: A checkpoint that cannot be read or is of another architecture.
    """
    if name in _CATALOG:
        return _seeded(name, seed=seed, dtype=dtype)
    if name.startswith(("/", "./", "../", "~")):
        directory = Path(name).expanduser().resolve()
        return _checkpoint(name, str(directory), directory / "config.json", seed, dtype)
    if _HUB.fullmatch(name):
        return _checkpoint(name, name, _hub_config(name), seed, dtype)
    raise _unknown(name)


def parse_id(model_id: str) -> Model:
    """Return the catalog's model that a ``Model.model_id`` names.

    Never a checkpoint: ids come from whoever can connect to the server.

    Raises:
        UnknownName: No such name in the catalog, or no such dtype.
        ScenarioError: Not of the form ``djinnload:NAME?seed=N&dtype=D``.
    """
    found = _ID.fullmatch(model_id)
    if found is None:
        raise ScenarioError(
            "model", f"{model_id!r} is not like djinnload:NAME?seed=N&dtype=float32"
        )
    name, seed, dtype = found.groups()
    if name not in _CATALOG:
        raise _unknown(name)
    return _seeded(name, seed=int(seed), dtype=dtype)


def _unknown(name: str) -> UnknownName:
    hint = "a checkpoint is a path from /, ./ or ~, or a hub id owner/name"
    return UnknownName("model", "model", name, _CATALOG, hint=hint)


def _seeded(name: str, *, seed: int, dtype: str) -> Model:
    _check_dtype(dtype)
    entry = _CATALOG[name]
    config = {**config_defaults(entry.architecture), **entry.changes}
    return Model(name, entry.architecture, config, dtype, seed)


def _check_dtype(dtype: str) -> None:
    if dtype not in DTYPES:
        raise UnknownName("dtype", "dtype of weights", dtype, DTYPES)


def _checkpoint(name: str, source: str, config: Path, seed: int, dtype: str) -> Model:
    _check_dtype(dtype)
    try:
        given: dict[str, Any] = msgspec.json.decode(config.read_bytes(), type=dict)
        architecture = (given.get("architectures") or ["none"])[0]
        defaults = config_defaults(architecture)
    except (OSError, ValueError) as error:
        raise ScenarioError("model", f"no checkpoint at {name!r}: {error}") from error
    known = {key: given[key] for key in defaults.keys() & given.keys()}
    # ``weights`` gives tied checkpoints an output matrix of their own.
    merged = {**defaults, **known, "tie_word_embeddings": False}
    return Model(name, architecture, merged, dtype, seed, source)


def _hub_config(name: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(name, "config.json"))
    except (ImportError, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ScenarioError("model", f"cannot read hub id {name!r}: {reason}") from None
