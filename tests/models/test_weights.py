"""Seeded weights: the same everywhere, kept once, damage noticed."""

import multiprocessing
import os

import numpy as np
import pytest

from djinnload.errors import HostError, ScenarioError
from djinnload.models import catalog, checkpoint, weights
from djinnload.server import loading

pytestmark = pytest.mark.models

#: gpt2-tiny, seed 1. Another value means that every recorded run is another model's.
PINNED = {
    "float32": "41a26ab314ce0b7c3bf95878bb01ffac20327fe8bf21f1fe7129f5af08d16ea7",
    "float16": "7909d8c1626e7c85c6784ca03b9f83e8bae3943ec095ea286d1000f397a8cc1f",
    "bfloat16": "1bb1e6ec1461cdacfe4ee5ad50e8a6daa67b72f1fc891a5cd70149dae7a5f5b9",
}


def tiny(**changes):
    return catalog.find("gpt2-tiny", **{"seed": 1, **changes})


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("DJINNLOAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(("dtype", "expected"), PINNED.items())
def test_hashes_are_pinned(dtype, expected):
    model = tiny(dtype=dtype)
    assert weights.sha256(model) == expected
    # The server hashes weights that it was sent; both ways must name them alike.
    assert loading.content_sha256(weights.tensors(model)) == expected


def test_another_seed_is_another_model():
    assert weights.sha256(tiny(seed=2)) != PINNED["float32"]


def test_scale_follows_the_config():
    found = {tensor.name: tensor.numpy() for tensor in weights.tensors(tiny())}
    assert list(found) == sorted(found)
    assert found["transformer.wte.weight"].std() == pytest.approx(0.02, rel=0.05)
    residual = found["transformer.h.0.mlp.c_proj.weight"]
    assert residual.std() == pytest.approx(0.02 / 2, rel=0.05)  # √(2 · 2 layers)
    assert not found["transformer.h.1.attn.c_attn.bias"].any()
    assert (found["transformer.ln_f.weight"] == 1).all()
    assert not np.array_equal(found["lm_head.weight"], found["transformer.wte.weight"])


def test_the_file_is_safetensors():
    from safetensors.numpy import load_file

    read = load_file(weights.ensure(tiny()))
    for tensor in weights.tensors(tiny()):
        assert np.array_equal(read[tensor.name], tensor.numpy())


def test_bfloat16_rounds_as_torch_does():
    import torch

    values = np.random.default_rng(0).standard_normal(10_000, dtype=np.float32)
    values[:3] = 1 + 2.0**-8, 1 + 3 * 2.0**-8, 0  # ties, to even
    expected = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy()
    assert bytes(checkpoint.cast(values, "bfloat16")) == expected.tobytes()


def test_made_once(fresh):
    first = weights.ensure(tiny())
    before = first.stat()
    assert weights.ensure(tiny()) == first
    assert first.stat().st_ino == before.st_ino
    assert not list(fresh.glob("*.part"))


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "header"])
def test_damage_is_noticed_and_mended(fresh, damage):
    path = weights.ensure(tiny())
    good = path.read_bytes()
    bad = {
        "flip": good[:-9] + bytes([good[-9] ^ 1]) + good[-8:],
        "cut": good[:-100],
        "empty": b"",
        "header": b"\xff" * 8 + good[8:],
    }[damage]
    path.write_bytes(bad)
    os.utime(path, (1, 1))  # within one tick of the clock the times would be equal
    assert weights.sha256(tiny()) == PINNED["float32"]
    assert path.read_bytes() == good


def test_writing_to_a_tensor_does_not_reach_the_file(fresh):
    path = weights.ensure(tiny())
    good = path.read_bytes()
    tensor = next(weights.tensors(tiny()))
    memoryview(tensor.data)[:4] = b"\xff" * 4
    assert path.read_bytes() == good


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_processes_make_it_once(fresh, tmp_path, monkeypatch):
    make = weights._make

    def counted(model, path):
        (tmp_path / f"made-by-{os.getpid()}").touch()
        make(model, path)

    monkeypatch.setattr(weights, "_make", counted)
    context = multiprocessing.get_context("fork")  # no second import of torch
    both = [context.Process(target=weights.ensure, args=(tiny(),)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
    assert [process.exitcode for process in both] == [0, 0]
    assert len(list(tmp_path.glob("made-by-*"))) == 1
    assert weights.sha256(tiny()) == PINNED["float32"]


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("DJINNLOAD_CACHE", str(blocked / "under"))
    with pytest.raises(HostError, match="cannot keep weights in"):
        weights.ensure(tiny())


def test_checkpoint_that_does_not_fit(fresh, tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    model = catalog.find(str(tmp_path), seed=0)
    with pytest.raises(ScenarioError, match=r"no \*.safetensors in"):
        weights.ensure(model)
    (tmp_path / "model.safetensors").write_bytes(weights.ensure(tiny()).read_bytes())
    with pytest.raises(ScenarioError, match=r"do not fit GPT2LMHeadModel: .* is "):
        weights.ensure(model)
