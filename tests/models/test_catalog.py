"""Names, ids and their mistakes; no torch."""

import subprocess
import sys

import msgspec
import pytest

from djinnload.errors import ScenarioError, UnknownName
from djinnload.models import catalog
from djinnload.models.assets import ModelAssets


def test_real_gpt2():
    model = catalog.find("gpt2", seed=7)
    assert model.model_id == "djinnload:gpt2?seed=7&dtype=float32"
    assert model.architecture == "GPT2LMHeadModel"
    assert model.source == "random"
    assert [model.config[key] for key in ("n_layer", "n_embd", "n_head")] == [
        12,
        768,
        12,
    ]
    assert model.config["tie_word_embeddings"] is False


@pytest.mark.parametrize("name", catalog.names())
@pytest.mark.parametrize("dtype", catalog.DTYPES)
def test_id_and_back(name, dtype):
    model = catalog.find(name, seed=-3, dtype=dtype)
    assert catalog.parse_id(model.model_id) == model
    assert msgspec.json.decode(msgspec.json.encode(model), type=type(model)) == model


def test_unknown_name_has_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'gpt2-tiny'"):
        catalog.find("gpt2-tinny", seed=0)


def test_unknown_dtype():
    with pytest.raises(UnknownName, match="no dtype of weights named 'float8'"):
        catalog.find("gpt2", seed=0, dtype="float8")


@pytest.mark.parametrize(
    "given",
    [
        "gpt2",
        "djinnload:gpt2",
        "djinnload:gpt2?seed=x&dtype=float32",
        "djinnload:gpt2?dtype=float32&seed=1",
        "djinnload:/etc/passwd?seed=1&dtype=float32",
        "djinnload:owner/name?seed=1&dtype=float32",
        "djinnload:gpt2?seed=1&dtype=float32\n",
        "djinnload:..?seed=1&dtype=float32",
        "djinnload:gpt2?seed=1&dtype=int8",
    ],
)
def test_ids_that_are_none(given):
    with pytest.raises(ScenarioError):
        catalog.parse_id(given)


def test_no_checkpoint(tmp_path):
    with pytest.raises(ScenarioError, match="no checkpoint at"):
        catalog.find(str(tmp_path), seed=0)


def test_checkpoint_of_another_architecture(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["Evil"]}')
    with pytest.raises(ScenarioError, match="'Evil' is not allowed"):
        catalog.find(str(tmp_path), seed=0)


def test_assets_remember():
    assets = ModelAssets(5)
    model = assets.model("gpt2-tiny", dtype="float16")
    assert assets.used == {"gpt2-tiny": model}
    assert (model.seed, model.dtype) == (5, "float16")
    with pytest.raises(ScenarioError, match="float16 and as float32"):
        assets.model("gpt2-tiny")


def test_a_checkpoint_without_weights_is_refused_at_once(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(ScenarioError, match=r"no \*.safetensors in"):
        ModelAssets(1).model(str(tmp_path))


def test_heavy_packages_are_not_imported():
    code = (
        "import sys\n"
        "import djinnload.models.weights, djinnload.models.build, djinnload.verify\n"
        "import djinnload.workloads.llm, djinnload.workloads.echo\n"
        "from djinnload.models import catalog\n"
        "catalog.find('gpt2', seed=1)\n"
        "print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"[]\n"
