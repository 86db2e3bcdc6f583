"""Architectures that can be built: what each takes, gives, and is configured by.

The one list of what is allowed; nothing of another name is ever built. Numbers only: no
torch here. A new family is a row in ``FAMILIES`` (docs/architecture.md says how).
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct

from djinnload.models import configs
from djinnload.spi import Model

__all__ = (
    "DTYPES",
    "FAMILIES",
    "Family",
    "Port",
    "family",
    "layers",
    "merged",
    "read",
    "request_bytes",
    "shape",
)

#: Weight dtypes, with the bytes of one number.
DTYPES: Final[Mapping[str, int]] = MappingProxyType(
    {"float32": 4, "float16": 2, "bfloat16": 2}
)
#: Share of an output's std that a right answer may be off by: docs/workloads.md says
#: how they were found. Of a cache of keys and values, the error adds up with each step.
_CACHED: Final[Mapping[str, float]] = MappingProxyType(
    {"float32": 1e-3, "float16": 0.08, "bfloat16": 0.5}
)
_AT_ONCE: Final[Mapping[str, float]] = MappingProxyType(
    {"float32": 1e-3, "float16": 0.01, "bfloat16": 0.08}
)

#: Of a Whisper, whose cache is short; what it hears moves its answers by little.
_HEARD: Final[Mapping[str, float]] = MappingProxyType(
    {"float32": 1e-3, "float16": 0.03, "bfloat16": 0.2}
)

#: EfficientNet's squeezes multiply the signal, and its error, forty times over.
_SQUEEZED: Final[Mapping[str, float]] = MappingProxyType(
    {"float32": 1e-3, "float16": 0.06, "bfloat16": 0.2}
)

#: Names in transformers 5, and in the checkpoints of every release.
_WRITTEN_VIT: Final = (
    ("vit.layers.", "vit.encoder.layer."),
    (".attention.q_proj.", ".attention.attention.query."),
    (".attention.k_proj.", ".attention.attention.key."),
    (".attention.v_proj.", ".attention.attention.value."),
    (".attention.o_proj.", ".attention.output.dense."),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
)


class Port(Struct, frozen=True):
    """An input or output of a model.

    Attributes:
        shape: Sizes; text is ``batch``, ``length``, or a key of the configuration
            (``vision_config.image_size``).
        dtype: ``float``, the weights' own, or ``int64``.
        below: Key of the exclusive bound of token ids, at least 0; empty: no ids.
        room: Key of the largest ``length``; empty: none.
        required: Of an input.
        once: Only a session's first request takes it; those that continue do not.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str = "float"
    below: str = ""
    room: str = ""
    required: bool = True
    once: bool = False


class Family(Struct, frozen=True, kw_only=True):
    """How to build, ask and check every model of one architecture.

    Attributes:
        kind: The workload that asks it: ``llm``, ``encoder``, ``vision`` …
        config_class: In transformers; empty: built by ``models.synthetic``.
        defaults: Its complete configuration: keys that it does not have are ignored.
        inputs: Arguments of its ``forward``.
        outputs: The tensors that a client may need.
        layers: Keys that count its layers: numbers, or lists of them; after an
            encoder's, those of what keeps keys and values.
        cached: Keeps keys and values from one request of a session to the next; what
            its encoder made too, if it has one.
        encoded: The output that its encoder makes, which the later requests of a
            session need too; None: it has no encoder.
        tied: A weight that checkpoints may leave out, and the one that it equals.
        prefix: That checkpoints of it put before the names of weights, or leave out.
        written: Parts of names of weights here, and as other checkpoints write them.
        stands_for: Classes whose checkpoints hold this one's weights, and more.
        processor: Class of its image processor in transformers; empty: takes no images.
        ends_with: Key of the token id, next to that of its vocabulary, that must end
            every text; empty: any may.
        tolerance: By dtype: largest |difference| ÷ std of an output that is right.
    """

    kind: str
    config_class: str
    defaults: Mapping[str, Any]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    layers: tuple[str, ...]
    cached: bool = False
    encoded: Port | None = None
    tied: tuple[str, str] | None = None
    prefix: str = ""
    written: tuple[tuple[str, str], ...] = ()
    stands_for: tuple[str, ...] = ()
    processor: str = ""
    ends_with: str = ""
    tolerance: Mapping[str, float] = _AT_ONCE


def family(architecture: str) -> Family:
    """Return the family of a class name.

    Raises:
        ValueError: It is not allowed.
    """
    if architecture not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ValueError(
            f"architecture {architecture!r} is not allowed (there is: {known})"
        )
    return FAMILIES[architecture]


def merged(defaults: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return *defaults* with those of *changes* that it knows, part by part."""
    return {
        key: merged(usual, changes.get(key) or {})
        if isinstance(usual, Mapping)
        else changes.get(key, usual)
        for key, usual in defaults.items()
    }


def read(config: Mapping[str, Any], key: str) -> Any:
    """Return what *config* has at a key with dots.

    Raises:
        ValueError: There is nothing.
    """
    found: Any = config
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            raise ValueError(f"the configuration has no {key}")
        found = found[part]
    return found


def shape(
    port: Port, config: Mapping[str, Any], *, batch: int, length: int
) -> tuple[int, ...]:
    """Return the shape of an input or output in a request of *batch* × *length*."""
    named = {"batch": batch, "length": length}
    sizes = (
        size if isinstance(size, int) else named.get(size) or read(config, size)
        for size in port.shape
    )
    return tuple(int(size) for size in sizes)


def layers(found: Family, config: Mapping[str, Any]) -> int:
    """Return how many layers *config* asks for.

    Raises:
        ValueError: It does not say.
    """
    total = 0.0
    for key in found.layers:
        count = read(config, key)
        for each in count if isinstance(count, list | tuple) else (count,):
            if not isinstance(each, int):
                raise ValueError(f"{key} of the configuration is no number of layers")  # noqa: TRY004 - whoever sent it is wrong
            total += each
    return math.ceil(total * float(config.get("depth_coefficient", 1)))


def request_bytes(model: Model, *, batch: int = 1, length: int = 16) -> tuple[int, int]:
    """Return the tensor bytes of one request and of its reply, as workloads ask.

    Of outputs with a position for each token, language models give the last alone.
    """
    found = family(model.architecture)

    def nbytes(port: Port) -> int:
        size = 8 if port.dtype == "int64" else DTYPES[model.dtype]
        # bfloat16 travels as float32: the wire has no such type.
        size = 4 if (model.dtype, size) == ("bfloat16", 2) else size
        return size * math.prod(shape(port, model.config, batch=batch, length=length))

    sent = sum(nbytes(port) for port in found.inputs if port.required)
    return sent, sum(map(nbytes, found.outputs))


def _ids(room: str, name: str = "input_ids", part: str = "") -> Port:
    return Port(
        name, ("batch", "length"), "int64", f"{part}vocab_size", f"{part}{room}"
    )


def _mask(name: str = "attention_mask") -> Port:
    return Port(name, ("batch", "length"), "int64", required=False)


def _pixels(part: str = "", channels: int | str = "num_channels") -> Port:
    side = f"{part}image_size"
    return Port("pixel_values", ("batch", channels, side, side))


def _causal(config_class: str, defaults: Mapping[str, Any], room: str) -> Family:
    # Named after the two ways in which transformers call the same thing.
    count = "n_layer" if "n_layer" in defaults else "num_hidden_layers"
    stem = "transformer.wte" if count == "n_layer" else "model.embed_tokens"
    return Family(
        kind="llm",
        config_class=config_class,
        defaults=defaults,
        inputs=(_ids(room), _mask()),
        # Of every position; a workload needs the last one only.
        outputs=(Port("logits", ("batch", 1, "vocab_size")),),
        layers=(count,),
        cached=True,
        tied=("lm_head.weight", f"{stem}.weight"),
        prefix=f"{stem.partition('.')[0]}.",
        tolerance=_CACHED,
    )


def _classifier(
    config_class: str, defaults: Mapping[str, Any], layer_keys: tuple[str, ...]
) -> Family:
    name = config_class.removesuffix("Config")
    return Family(
        kind="vision",
        config_class=config_class,
        defaults=defaults,
        inputs=(_pixels(),),
        outputs=(Port("logits", ("batch", "num_labels")),),
        layers=layer_keys,
        prefix=f"{name.lower()}.",
        written=_WRITTEN_VIT if name == "ViT" else (),
        tolerance=_SQUEEZED if name == "EfficientNet" else _AT_ONCE,
        # ResNets are published with ConvNeXt's: resize, then cut out the middle.
        processor=f"{name.replace('ResNet', 'ConvNext')}ImageProcessor",
    )


def _synthetic(defaults: Mapping[str, Any], taken: tuple[int | str, ...]) -> Family:
    given = (
        ("batch", "sequence", "hidden") if "sequence" in taken else ("batch", "classes")
    )
    return Family(
        kind="synthetic",
        config_class="",
        defaults=defaults,
        inputs=(Port("x", taken),),
        outputs=(Port("y", given),),
        layers=("layers",),
    )


FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {
        "GPT2LMHeadModel": _causal("GPT2Config", configs.GPT2, "n_positions"),
        "GPTJForCausalLM": _causal("GPTJConfig", configs.GPTJ, "n_positions"),
        "LlamaForCausalLM": _causal(
            "LlamaConfig", configs.LLAMA, "max_position_embeddings"
        ),
        "BertModel": Family(
            kind="encoder",
            config_class="BertConfig",
            defaults=configs.BERT,
            inputs=(_ids("max_position_embeddings"), _mask()),
            outputs=(Port("last_hidden_state", ("batch", "length", "hidden_size")),),
            layers=("num_hidden_layers",),
            prefix="bert.",
            written=(
                ("LayerNorm.weight", "LayerNorm.gamma"),
                ("LayerNorm.bias", "LayerNorm.beta"),
            ),
            stands_for=("BertForMaskedLM", "BertForPreTraining"),
        ),
        "WhisperForConditionalGeneration": Family(
            kind="speech",
            config_class="WhisperConfig",
            defaults=configs.WHISPER,
            inputs=(
                # Two frames a position; 3,000 are 30 s.
                Port("input_features", ("batch", "num_mel_bins", 3000), once=True),
                _ids("max_target_positions", "decoder_input_ids"),
            ),
            outputs=(Port("logits", ("batch", 1, "vocab_size")),),
            layers=("encoder_layers", "decoder_layers"),
            cached=True,
            encoded=Port(
                "encoder_last_hidden_state",
                ("batch", "max_source_positions", "d_model"),
            ),
            tied=("proj_out.weight", "model.decoder.embed_tokens.weight"),
            prefix="model.",
            tolerance=_HEARD,
        ),
        "Wav2Vec2Model": Family(
            kind="speech_encoder",
            config_class="Wav2Vec2Config",
            defaults=configs.WAV2VEC2,
            # Samples of 5 s, of which its convolutions make 249 frames.
            inputs=(Port("input_values", ("batch", 80_000)),),
            outputs=(Port("last_hidden_state", ("batch", 249, "hidden_size")),),
            layers=("num_hidden_layers",),
            prefix="wav2vec2.",
        ),
        "ResNetForImageClassification": _classifier(
            "ResNetConfig", configs.RESNET, ("depths",)
        ),
        "ViTForImageClassification": _classifier(
            "ViTConfig", configs.VIT, ("num_hidden_layers",)
        ),
        "ConvNextForImageClassification": _classifier(
            "ConvNextConfig", configs.CONVNEXT, ("depths",)
        ),
        "EfficientNetForImageClassification": _classifier(
            "EfficientNetConfig", configs.EFFICIENTNET, ("num_block_repeats",)
        ),
        "CLIPModel": Family(
            kind="multimodal",
            config_class="CLIPConfig",
            defaults=configs.CLIP,
            inputs=(
                _ids("max_position_embeddings", part="text_config."),
                _pixels("vision_config.", "vision_config.num_channels"),
                _mask(),
            ),
            outputs=(
                Port("image_embeds", ("batch", "projection_dim")),
                Port("text_embeds", ("batch", "projection_dim")),
            ),
            layers=("text_config.num_hidden_layers", "vision_config.num_hidden_layers"),
            processor="CLIPImageProcessor",
            ends_with="eos_token_id",
        ),
        "BlipForConditionalGeneration": Family(
            kind="multimodal",
            config_class="BlipConfig",
            defaults=configs.BLIP,
            inputs=(
                _ids("max_position_embeddings", part="text_config."),
                _pixels("vision_config.", 3),
                _mask(),
            ),
            outputs=(Port("logits", ("batch", 1, "text_config.vocab_size")),),
            layers=("text_config.num_hidden_layers", "vision_config.num_hidden_layers"),
            tied=(
                "text_decoder.cls.predictions.decoder.weight",
                "text_decoder.bert.embeddings.word_embeddings.weight",
            ),
            processor="BlipImageProcessor",
        ),
        "SyntheticTransformer": _synthetic(
            configs.SYNTHETIC_TRANSFORMER, ("batch", "sequence", "hidden")
        ),
        "SyntheticCNN": _synthetic(
            configs.SYNTHETIC_CNN, ("batch", 3, "image_size", "image_size")
        ),
        "SyntheticHybrid": _synthetic(
            configs.SYNTHETIC_HYBRID, ("batch", 3, "image_size", "image_size")
        ),
    }
)
