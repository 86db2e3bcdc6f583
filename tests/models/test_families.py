"""Every architecture: sizes, seeded weights, shapes, checkpoints, what is refused."""

import math

import pytest

from djinnload.errors import ScenarioError
from djinnload.models import build, catalog, families, weights
from djinnload.models.tolerance import calibrate, probe, tolerance, usual
from djinnload.spi import Tensor

pytestmark = pytest.mark.models

#: Of seed 1 in float32. Another value means that recorded runs were of another model.
PINNED = {
    "gpt-j-tiny": "ac70f33392c90982a2a66500b3ed927b96c5a1dbab706a9348deef57c87eef21",
    "llama-tiny": "89fbcf6aafef6334816d0720dcbfbf79d3cbaeda67812c126d18bf4f6270882a",
    "bert-tiny": "fe1daa2061a6ee2dbc12b496221ab99a9c71b545c5630d520795fb94f1d66c1d",
    "resnet-tiny": "225d2642ddbccd09d68536e33d1f9aac5dba97a8ee0fdf748a31675e4c033186",
    "vit-tiny-64": "e468134a9be9b96d2382df0466d205c864807e6f9ed399e2d797f3a65281cdbf",
    "convnext-tiny-64": "a98e6df2252916b8579632271a2023ee2e195bccf51e5b69ee2b537dbc65732e",
    "efficientnet-tiny": "6250db54b0cb1463491a9fdb680a269519573ab46df7d822ffbc1e2caf126867",
    "clip-tiny": "2e97c5e6df57934ae65961011bab97f78971f2aceb77e3cce68593bae43be770",
    "whisper-micro": "9e45c8ae46a42f66ec602bb128fbcde835643ae0bbc28213706e7bc9d9ff56c0",
    "wav2vec2-tiny": "ce0b5dad8a5aacffebb9535f88914d4dfe14dcbedf4661d363897ae3bdd1f383",
    "blip-tiny": "f1dd9cf6948e8b95e614c0b54a302c9fb026edfccf50c7984c803d9555801b50",
    "synthetic-transformer": "6db9d870893b7049c6061d4b6f58ff6e99e3e7997896e10fdb02c7267414437a",
    "synthetic-cnn": "6fc8810b13c1941cda89efd5bd811e303b1fd15a1e277b6189ed2e849efa4a7f",
    "synthetic-hybrid": "9e6956deeb5f91fb2f56cb034b495e3e7fa2dd9f29b455ed63a5fa64c7071ec5",
}


def tiny(name, **changes):
    return catalog.find(name, **{"seed": 1, **changes})


@pytest.mark.parametrize("name", catalog.names())
def test_parameters_are_counted_right(name):
    model = tiny(name)
    shapes = build.shapes(model.architecture, model.config)
    # What a norm has seen is part of its state, and is not trained.
    sizes = [math.prod(v) for k, v in shapes.items() if ".running_" not in k]
    assert sum(sizes) == catalog.parameters(name)


@pytest.mark.parametrize(("name", "expected"), PINNED.items())
def test_hashes_are_pinned(name, expected):
    assert weights.sha256(tiny(name)) == expected


def test_every_architecture_has_a_pinned_model():
    pinned = {tiny(name).architecture for name in [*PINNED, "gpt2-tiny"]}
    assert pinned == families.FAMILIES.keys()


@pytest.mark.parametrize("dtype", families.DTYPES)
@pytest.mark.parametrize("name", PINNED)
def test_outputs_and_calibration(name, dtype):
    """Outputs have the shapes that are said, and rounding stays within the usual."""
    import torch

    model = tiny(name, dtype=dtype)
    module = build.build(model)
    family = families.family(model.architecture)
    with torch.inference_mode():
        found = module(**probe(model, module, batch=3, length=5))
    for port in family.outputs:
        expected = families.shape(port, model.config, batch=3, length=5)
        got = found[port.name]
        if port.shape[1:] == (1, port.shape[-1]):  # a workload needs the last position
            got = got[:, -1:]
        assert tuple(got.shape) == expected
        assert str(got.dtype) == f"torch.{dtype}"
        assert bool(got.isfinite().all())
    least = usual(model.architecture, dtype)
    assert 0 < calibrate(model, module) < 2 * least
    assert least <= tolerance(model, module) <= 2 * least


@pytest.mark.parametrize("name", PINNED)
def test_inputs_matter(name):
    """A model whose answers hang on nothing would let every server pass."""
    import torch

    model = tiny(name)
    module = build.build(model)
    output = families.family(model.architecture).outputs[0].name
    with torch.inference_mode():
        one, other = (
            module(**probe(model, module, length=5, seed=seed))[output]
            for seed in (0, 1)
        )
    difference = float((one - other).abs().max() / one.std())
    assert difference > 20 * usual(model.architecture, "float32")


@pytest.mark.parametrize("name", PINNED)
def test_sent_weights_make_the_same_model(name):
    import torch

    model = tiny(name)
    sent = [
        Tensor(t.name, t.shape, t.dtype, memoryview(bytes(t.data)))
        for t in weights.tensors(model)
    ]
    config = {**model.config, "transformers_version": "1", "auto_map": {"x": "y"}}
    module = build.build(model)
    other = build.from_config(model.architecture, config, sent)
    output = families.family(model.architecture).outputs[0].name
    inputs = probe(model, module, length=5)
    with torch.inference_mode():
        one, two = module(**inputs)[output], other(**inputs)[output]
    # Not bit by bit: the kernels choose by how the memory is aligned.
    assert float((one - two).abs().max() / one.std()) < 1e-5
    with pytest.raises(ValueError, match="do not fit"):
        build.from_config(model.architecture, config, sent[1:])


@pytest.mark.parametrize("name", [n for n in PINNED if "synthetic" not in n])
def test_a_checkpoint_saved_here(name, tmp_path):
    """As transformers saves it, so does a directory of it load."""
    import torch

    model = tiny(name)
    original = build.build(model)
    original.save_pretrained(tmp_path)
    found = catalog.find(str(tmp_path), seed=7)
    assert found.architecture == model.architecture
    assert weights.sha256(found) == weights.sha256(model)
    output = families.family(model.architecture).outputs[0].name
    inputs = probe(model, original, length=5)
    with torch.inference_mode():
        expected = original(**inputs)[output]
        got = build.build(found)(**inputs)[output]
    assert float((got - expected).abs().max() / expected.std()) < 1e-5


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_old_names_of_bert_s_weights(prefix, tmp_path):
    """Checkpoints of the masked model have a prefix, and the oldest other words."""
    import json

    from safetensors.numpy import save_file

    model = tiny("bert-tiny")
    renamed = {
        prefix
        + t.name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): t.numpy()
        for t in weights.tensors(model)
    }
    save_file(renamed, tmp_path / "model.safetensors")
    config = {**model.config, "architectures": ["BertForMaskedLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = catalog.find(str(tmp_path), seed=0)
    assert weights.sha256(found) == weights.sha256(model)


def test_frequencies_of_llama_from_either_release():
    old = catalog._as_here({"rope_theta": 5e5})
    new = catalog._as_here(
        {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}
    )
    assert old["rope_theta"] == new["rope_theta"] == 5e5
    scaled = {"rope_theta": 1e4, "rope_type": "linear", "factor": 2.0}
    assert catalog._as_here({"rope_parameters": scaled})["rope_scaling"]["factor"] == 2


def test_sizes_of_synthetic_models():
    model = tiny("synthetic-cnn:channels=4,layers=2")
    assert (model.config["channels"], model.config["image_size"]) == (4, 64)
    assert catalog.parse_id(model.model_id) == model
    assert build.shapes(model.architecture, model.config)["features.0.weight"][0] == 4


@pytest.mark.parametrize(
    "name",
    [
        "synthetic-cnn:channels=0",
        "synthetic-cnn:channels=-1",
        "synthetic-cnn:channels=9999999",
        "synthetic-cnn:hidden=1",
        "synthetic-cnn:channels",
        "gpt2-tiny:n_layer=1",
    ],
)
def test_sizes_that_are_none(name):
    with pytest.raises(ScenarioError, match="only synthetic models take sizes"):
        tiny(name)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("resnet-tiny", {"depths": [10**6, 1]}, "do not fit"),
        ("efficientnet-tiny", {"depth_coefficient": 1e5}, "do not fit"),
        ("bert-tiny", {"max_position_embeddings": 2**40}, "is too large"),
        ("clip-tiny", {"text_config": {"vocab_size": 2**40}}, "has no|is too large"),
        ("clip-tiny", {"text_config": 7}, "has no"),
        ("llama-tiny", {"num_hidden_layers": "x"}, "no number of layers"),
        ("synthetic-transformer", {"heads": 3}, "no SyntheticTransformer from this"),
    ],
)
def test_hostile_configurations(name, changes, message):
    model = tiny(name)
    config = {**model.config, **changes}
    with pytest.raises(ValueError, match=message):
        build.from_config(model.architecture, config, weights.tensors(model))
