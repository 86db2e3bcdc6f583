"""Modules: right weights, right dtype, KV against recompute, nothing disallowed."""

import pytest

from djinnload.models import build, catalog, hub, weights
from djinnload.models.tolerance import calibrate, usual
from djinnload.spi import Tensor

pytestmark = pytest.mark.models


def tiny(**changes):
    return catalog.find("gpt2-tiny", **{"seed": 1, **changes})


@pytest.mark.parametrize("dtype", catalog.DTYPES)
@pytest.mark.parametrize("name", ["gpt2-tiny", "gpt2-small-4l"])
def test_kv_agrees_with_recompute(name, dtype):
    model = catalog.find(name, seed=1, dtype=dtype)
    module = build.build(model)
    assert not module.training
    assert {str(p.dtype) for p in module.parameters()} == {f"torch.{dtype}"}
    assert not any(p.is_meta for p in [*module.parameters(), *module.buffers()])
    assert 0 < calibrate(model, module) < usual(model.architecture, dtype)


@pytest.mark.parametrize("dtype", catalog.DTYPES)
def test_a_forgotten_cache_is_far_outside_the_tolerance(dtype):
    import torch

    module = build.build(tiny(dtype=dtype))
    ids = torch.arange(16)[None]
    with torch.inference_mode():
        right = module(input_ids=ids).logits[0, -1].float()
        forgot = module(input_ids=ids[:, -1:]).logits[0, -1].float()
    difference = float((right - forgot).abs().max() / right.std())
    assert difference > 4 * usual("GPT2LMHeadModel", dtype)


def test_sent_weights_make_the_same_model():
    import torch

    model = tiny()
    sent = [  # as they come out of a frame: read-only
        Tensor(t.name, t.shape, t.dtype, memoryview(bytes(t.data)))
        for t in weights.tensors(model)
    ]
    config = {**model.config, "transformers_version": "1", "unheard_of": {"x": 1}}
    ids = torch.arange(5)[None]
    one, other = build.build(model), build.from_config(model.architecture, config, sent)
    assert torch.equal(one(input_ids=ids).logits, other(input_ids=ids).logits)


def test_attention_code_from_the_hub_is_never_asked_for():
    model = tiny()
    config = {**model.config, "_attn_implementation": "evil/kernel", "auto_map": {}}
    made = build.from_config(model.architecture, config, weights.tensors(model))
    assert made.config._attn_implementation in {"sdpa", "eager"}


def changed(**changes):
    return {**tiny().config, **changes}


@pytest.mark.parametrize(
    ("architecture", "config", "message"),
    [
        ("PreTrainedModel", changed(), "'PreTrainedModel' is not allowed"),
        ("os.system", changed(), "is not allowed"),
        ("GPT2LMHeadModel", changed(n_head=7), "no GPT2LMHeadModel from this config"),
        ("GPT2LMHeadModel", changed(activation_function="x"), "from this config"),
        ("GPT2LMHeadModel", changed(n_layer=3), "weights do not fit"),
        ("GPT2LMHeadModel", changed(n_layer=10**9), "weights do not fit|do not fit"),
        ("GPT2LMHeadModel", changed(vocab_size=100), "weights do not fit"),
    ],
)
def test_refused(architecture, config, message):
    with pytest.raises(ValueError, match=message):
        build.from_config(architecture, config, weights.tensors(tiny()))


def test_tied_weights_are_sent_once():
    import torch

    some = [t for t in weights.tensors(tiny()) if t.name != "lm_head.weight"]
    made = build.from_config("GPT2LMHeadModel", changed(tie_word_embeddings=True), some)
    found = made.state_dict()
    assert torch.equal(found["lm_head.weight"], found["transformer.wte.weight"])
    with pytest.raises(ValueError, match=r"lm_head"):
        build.from_config("GPT2LMHeadModel", changed(), some)


def test_missing_weight():
    some = [t for t in weights.tensors(tiny()) if "ln_f" not in t.name]
    with pytest.raises(ValueError, match=r"ln_f"):
        build.from_config("GPT2LMHeadModel", tiny().config, some)


@pytest.mark.parametrize("bad", ["int64", "float32"])
def test_weight_of_a_wrong_kind(bad):
    """An integer dtype, and fewer bytes than the shape says."""
    found = list(weights.tensors(tiny()))
    found[0] = Tensor(found[0].name, found[0].shape, bad, b"\0" * 8)
    with pytest.raises(ValueError, match=found[0].name):
        build.from_config("GPT2LMHeadModel", tiny().config, found)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("shard", ["50KB", "1GB"])
def test_checkpoint_saved_here(tmp_path, tied, shard):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    config = {**tiny().config, "tie_word_embeddings": tied}
    config.pop("model_type")
    original = GPT2LMHeadModel(GPT2Config(**config)).eval()
    original.save_pretrained(tmp_path, max_shard_size=shard)
    model = catalog.find(str(tmp_path), seed=9)
    assert model.source == str(tmp_path)
    ids = torch.arange(7)[None]
    with torch.inference_mode():
        expected = original(input_ids=ids).logits
        assert torch.equal(build.build(model)(input_ids=ids).logits, expected)
        half = catalog.find(str(tmp_path), seed=9, dtype="bfloat16")
        got = build.build(half)(input_ids=ids).logits.float()
    assert float((got - expected).abs().max() / expected.std()) < 0.5


def test_checkpoint_that_changes_is_read_again(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = dict(tiny().config)
    config.pop("model_type")
    hashes = set()
    for _ in range(2):
        GPT2LMHeadModel(GPT2Config(**config)).save_pretrained(tmp_path)
        hashes.add(weights.sha256(catalog.find(str(tmp_path), seed=0)))
    assert len(hashes) == 2


def test_only_a_pickle_is_no_checkpoint(tmp_path):
    from djinnload.errors import ScenarioError

    (tmp_path / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"never read")
    with pytest.raises(ScenarioError, match=r"no \*.safetensors"):
        build.build(catalog.find(str(tmp_path), seed=0))


def test_hub_id(tmp_path, monkeypatch):
    """The hub's client stands for the hub: nothing is fetched in tests."""
    import huggingface_hub
    from transformers import GPT2Config, GPT2LMHeadModel

    config = dict(tiny().config)
    config.pop("model_type")
    GPT2LMHeadModel(GPT2Config(**config)).save_pretrained(tmp_path)
    asked = []

    def download(name, *, allow_patterns, local_files_only):
        asked.append((name, local_files_only))
        assert not [each for each in allow_patterns if "bin" in each]
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    model = catalog.find("some-one/some.model", seed=0)
    assert model.source == "some-one/some.model"
    assert build.build(model).config.n_embd == 64
    # Looked up once, and nothing is fetched unless that was asked for.
    assert asked == [("some-one/some.model", True)]
    with hub.fetching():
        catalog.find("some-one/some.model", seed=0)
    assert asked[1:] == [("some-one/some.model", False)]


def test_hub_that_does_not_answer(monkeypatch):
    import huggingface_hub

    from djinnload.errors import ScenarioError

    def download(name, **options):
        raise OSError("offline\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(ScenarioError, match=r"djinnload prime SCENARIO.* \(offline\)"):
        catalog.find("a/b", seed=0)
    with hub.fetching(), pytest.raises(ScenarioError, match="cannot fetch 'a/b': off"):
        catalog.find("a/b", seed=0)


def test_without_torch(monkeypatch):
    import sys

    from djinnload.errors import HostError

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(HostError, match=r"djinnload\[models\]"):
        build.shapes("GPT2LMHeadModel", tiny().config)
