"""Speech: windows and their due times, served with what was heard kept, and checked."""

import hashlib
import warnings
from functools import lru_cache
from random import Random
from shutil import which

import msgspec
import numpy as np
import pytest
from scipy.io import wavfile

from djinnload.errors import HostError, ScenarioError
from djinnload.models import audio, build, catalog
from djinnload.models.assets import ModelAssets
from djinnload.models.reference import LocalReference
from djinnload.models.transcripts import error_rate
from djinnload.server.executor import Executor
from djinnload.spi import Call, Outcome, Reply, Session, Tensor
from djinnload.summary.numbers import pooled
from djinnload.testing import Answer, check_workload, constant, open_loop
from djinnload.verify import Reservoir, WorkloadRecipe, check
from djinnload.workloads.speech import Speech
from server_kit import SETTINGS, opened, run, serving, submitted  # tests/
from simulated_kit import measured  # tests/

pytestmark = pytest.mark.models

SEED = 5
S = 1_000_000_000
SMALL = {"model": "whisper-micro", "length": 7 * S, "tokens": 4}


@pytest.fixture(scope="module", autouse=True)
def extracted_once():
    """The child that makes features imports torch: for equal windows, once is enough."""
    real = audio.features
    kept = {}

    def features(model, windows):
        sounds = tuple(each.tobytes() for each in windows)
        key = (msgspec.json.encode(model), sounds)
        if key not in kept:
            kept[key] = real(model, windows)
        return kept[key]

    audio.features = features
    yield
    audio.features = real


def options(**changes):
    return Speech.Options(**(SMALL | changes))


def made(*, seed=SEED, **changes):
    assets = ModelAssets(seed)
    return Speech(options(**changes), assets), assets


def script(workload, index=0, answer=lambda _: Reply(Outcome.OK)):
    session = workload.session(Session(Random(index), -1, index))
    asked = [next(session)]
    while True:
        try:
            asked.append(session.send(answer(asked[-1])))
        except StopIteration:
            return asked


def call(request, session="r-p-0-0"):
    return Call(request, "p", session, "batch", None, 0, {})


def test_thirty_seconds_are_26_windows_due_by_the_clock():
    workload, _ = made(length=None, tokens=2)
    asked = script(workload)
    due = [r.due_offset_ns for r in asked if r.step == "encode"]
    assert due == [(5 + k) * S for k in range(26)]
    assert due[-1] == 30 * S
    assert [(r.turn, r.step, r.last) for r in asked[2:4]] == [
        (1, "encode", False),
        (1, "decode", True),
    ]
    assert {r.due_offset_ns for r in asked if r.step == "decode"} == {None}
    # What is new in each window: all that there is, in the end.
    assert sum(r.units for r in asked) == pytest.approx(30)
    features = [r.inputs["input_features"] for r in asked if r.step == "encode"]
    assert {f.shape for f in features} == {(1, 80, 3000)}
    assert len({bytes(f.data) for f in features}) == 26
    # A second on is 100 frames on; not where a window begins or ends (padding).
    one, next_one = (features[k].numpy()[0] for k in (3, 4))
    scale = np.polyfit(one[:, 105:395].ravel(), next_one[:, 5:295].ravel(), 1)
    moved = np.polyval(scale, one[:, 105:395])
    assert np.abs(moved - next_one[:, 5:295]).mean() < 0.02


def test_what_is_fed():
    workload, _ = made()
    asked = script(workload)
    assert [r.step for r in asked] == ["encode", "decode", "decode", "decode"] * 3
    fed = [r.inputs["decoder_input_ids"].numpy() for r in asked]
    assert {f.shape for f in fed} == {(1, 1)}
    assert {int(f[0, 0]) for f in fed[::4]} == {510}  # as its configuration says
    for place, request in enumerate(asked):
        if request.step == "decode":
            encode = asked[place - place % 4]
            assert request.full["input_features"] is encode.inputs["input_features"]
            said = request.full["decoder_input_ids"].numpy()
            so_far = np.concatenate(fed[place - place % 4 : place + 1], axis=1)
            assert (said == so_far).all()


def test_the_same_seed_asks_the_same_everywhere():
    """Tokens bit by bit; what is heard but for the rounding of another processor."""
    asked = script(made()[0])
    fed = b"".join(bytes(r.inputs["decoder_input_ids"].data) for r in asked)
    assert hashlib.sha256(fed).hexdigest()[:16] == "bc35efaf0fd6bdaf"
    heard = np.stack([r.inputs["input_features"].numpy() for r in asked[::4]])
    assert heard.mean() == pytest.approx(-0.6231, abs=1e-3)
    assert heard.std() == pytest.approx(0.3375, abs=1e-3)


def test_back_to_back_and_batch():
    paced, _ = made(mode="back_to_back")
    assert {r.due_offset_ns for r in script(paced)} == {None}
    assert [r.turn for r in script(paced)][::4] == [0, 1, 2]
    at_once, _ = made(mode="batch", batch=4)
    asked = script(at_once)
    assert [r.turn for r in asked] == [0, 0, 0, 0]
    features = asked[0].inputs["input_features"].numpy()
    assert features.shape == (4, 80, 3000)
    assert asked[1].inputs["decoder_input_ids"].shape == (4, 1)
    assert (features[0] == features[3]).all()  # three windows: the first comes again
    assert not (features[0] == features[1]).all()
    assert sum(r.units for r in asked) == pytest.approx(4 * 5)


def test_stopping_early_hears_the_first_windows_of_all():
    """Bit for bit: a shorter audio would be another one, and so would its tokens."""
    whole, cut = script(made()[0]), script(made(stop_after=1)[0])
    assert [r.turn for r in cut] == [0] * 4
    assert cut == whole[:4]
    assert cut[-1].last


def failing(step, turn):
    def answer(request):
        bad = (request.step, request.turn) == (step, turn)
        return Reply(Outcome.REFUSED if bad else Outcome.OK)

    return answer


def test_a_stream_goes_on_after_a_window_that_failed():
    streaming, _ = made()
    asked = script(streaming, answer=failing("encode", 1))
    assert [(r.turn, r.step) for r in asked][4:6] == [(1, "encode"), (2, "encode")]
    after_half = script(streaming, answer=failing("decode", 0))
    assert [r.turn for r in after_half][:3] == [0, 0, 1]
    paced, _ = made(mode="back_to_back")
    assert [r.turn for r in script(paced, answer=failing("encode", 1))][-1] == 1


@pytest.mark.parametrize(
    "given",
    [{"mode": "streaming"}, {"mode": "batch", "batch": 2, "decode": "greedy"}],
)
def test_the_contract(given):
    wanted = {"model": "whisper-micro", "length": "7s", "tokens": 2, **given}
    logits = Tensor.of("logits", np.zeros((given.get("batch", 1), 1, 512), "float32"))
    right = Reply(Outcome.OK, {"logits": logits})
    found = check_workload(Speech, wanted, sessions=3, answer=lambda _: right)
    assert found.models == ("whisper-micro",)
    assert found.requests == 3 * 2 * (3 if given["mode"] == "streaming" else 1)


# A server that cannot keep up, in simulated time


def slow(tmp_path, service_ns):
    """One stream of three windows, 1 s apart, each of which takes *service_ns*."""
    workload, _ = made(tokens=2)
    samples, found = measured(
        tmp_path,
        open_loop(constant(0.05), duration_ns=60 * S),
        lambda _: Answer(service_ns // 2),
        session=workload.session,
        grace_ns=60 * S,
    )
    rows = [r for r in found.rows if r["session"] == 0 and r["step"] == "encode"]
    return samples, sorted(rows, key=lambda row: row["due_ns"])


def test_a_fast_server_begins_each_window_when_it_is_due(tmp_path):
    _, rows = slow(tmp_path, S // 2)
    assert [r["due_ns"] - rows[0]["due_ns"] for r in rows] == [0, S, 2 * S]
    assert [r["sent_ns"] - r["due_ns"] for r in rows] == [0, 0, 0]


def test_a_slow_server_blocks_later_windows_and_is_not_late(tmp_path):
    """2.5 s a second of audio: the wait grows and is the server's, in latency."""
    samples, rows = slow(tmp_path, 5 * S // 2)
    assert [r["ready_ns"] - r["due_ns"] for r in rows] == [0, 3 * S // 2, 3 * S]
    assert [r["sent_ns"] - r["ready_ns"] for r in rows] == [0, 0, 0]  # lateness
    latency = np.unique(samples.turns.latency_ns)
    assert latency.tolist() == [5 * S // 2, 4 * S, 11 * S // 2]
    deadline = 3 * S
    assert (latency > deadline).tolist() == [False, True, True]


@pytest.mark.parametrize("takes_ms", [600, 1250])
def test_all_26_windows_of_30_s_on_a_server_that_keeps_up_or_does_not(
    tmp_path, takes_ms
):
    """Window k at 5 s + k × 1 s, whatever the server does; a miss is later than 2 s."""
    workload, _ = made(length=None, tokens=2)
    samples, found = measured(
        tmp_path,
        open_loop(constant(0.01), duration_ns=60 * S),
        lambda _: Answer(takes_ms * S // 1000 // 2),
        session=workload.session,
        grace_ns=60 * S,
    )
    rows = [r for r in found.rows if r["step"] == "encode"]
    assert [r["due_ns"] for r in rows] == [(5 + k) * S for k in range(26)]
    behind = [max(0, k * (takes_ms - 1000)) * S // 1000 for k in range(26)]
    turns = samples.turns
    assert turns.blocked_ns.tolist() == behind
    assert set(turns.lateness_ns) == {0}
    assert (turns.latency_ns - turns.blocked_ns == takes_ms * S // 1000).all()
    samples = msgspec.structs.replace(samples, deadline_ns=2 * S)
    listed = pooled([samples])["by_turn"]
    missed = [each["turn"] for each in listed if each["misses"]]
    assert missed == ([] if takes_ms < 1000 else list(range(4, 26)))


# Served


@pytest.mark.parametrize(
    ("how", "given"),
    [
        ("id", {}),
        ("weights", {"mode": "back_to_back"}),
        ("id", {"mode": "batch", "batch": 3}),
        ("id", {"dtype": "float16", "tokens": 2}),
        ("id", {"decode": "greedy"}),
    ],
)
def test_over_the_wire_and_verified(how, given):
    workload, assets = made(**given)
    kept, reused = Reservoir(1, 1.0, 0), []
    reference = LocalReference(assets.used)

    async def main():
        async with serving(SETTINGS, Executor(SETTINGS)) as address:
            target, _ = await opened(address, *assets.used.values(), register=how)
            session = workload.session(Session(Random(0)))
            request = next(session)
            try:
                for number in range(100):
                    reply = await submitted(target, call(request))
                    assert reply.outcome is Outcome.OK, reply.error
                    assert reply.outputs["logits"].shape[1:] == (1, 512)
                    kept.add("p", -1, 0, number, request, reply)
                    found = workload.verify(request, reply, reference)
                    assert found.ok, found.reason
                    reused.append(int(reply.metrics["reused_tokens"]))
                    request = session.send(reply)
            except StopIteration:
                await target.aclose()

    run(main)
    tokens = given.get("tokens", 4)
    turns = 1 if given.get("mode") == "batch" else 3
    assert reused == list(range(tokens)) * turns
    if given:
        return  # checking in the child is the same for all, and takes it seconds
    recipe = WorkloadRecipe.of(
        "djinnload.workloads.speech:Speech", options(**given), SEED
    )
    rows = []

    async def checked():
        rows.extend(await check(kept.kept, {"p": recipe}))

    run(checked)
    assert [row.reason for row in rows] == [""] * len(reused)
    assert {row.verified for row in rows} == {True}


def test_a_server_that_keeps_nothing_is_sent_everything():
    """An arm whose state is recomputed: all tokens, and what was heard, every time."""
    workload, assets = made()
    sent = []

    async def main():
        async with serving(SETTINGS, Executor(SETTINGS)) as address:
            target, _ = await opened(address, *assets.used.values(), register="id")
            reference = LocalReference(assets.used)
            for request in script(workload):
                asked = msgspec.structs.replace(
                    call(request), behaviours={"state": "recomputed"}
                )
                reply = await submitted(target, asked)
                assert reply.outcome is Outcome.OK, reply.error
                assert reply.metrics["reused_tokens"] == 0
                found = workload.verify(request, reply, reference)
                assert found.ok, found.reason
                sent.append(reply.bytes_sent)
            await target.aclose()

    run(main)
    assert min(sent) > 80 * 3000 * 4


def test_sessions_do_not_hear_each_other():
    """Two streams in turn: what one heard never ends up in the other's answers."""
    workload, assets = made()

    async def main():
        async with serving(SETTINGS, Executor(SETTINGS)) as address:
            target, _ = await opened(address, *assets.used.values(), register="id")
            streams = [script(workload, index) for index in (0, 1)]
            references = [LocalReference(assets.used) for _ in streams]
            for step in zip(*streams, strict=True):
                for index, request in enumerate(step):
                    sent = call(request, f"r-p-0-{index}")
                    reply = await submitted(target, sent)
                    found = workload.verify(request, reply, references[index])
                    assert found.ok, (index, found.reason)
            await target.aclose()

    run(main)


def test_what_a_server_refuses():
    workload, assets = made()
    encode, decode = script(workload)[:2]
    refused = {
        "no session": (msgspec.structs.replace(decode, state="other"), "no prefill"),
        "features again": (
            msgspec.structs.replace(decode, inputs={**encode.inputs, **decode.inputs}),
            "first request only",
        ),
        "no features": (
            msgspec.structs.replace(encode, inputs=dict(decode.inputs)),
            "input_features of shape",
        ),
    }

    async def main():
        async with serving(SETTINGS, Executor(SETTINGS)) as address:
            target, _ = await opened(address, *assets.used.values(), register="id")
            for name, (request, reason) in refused.items():
                await submitted(target, call(encode))
                reply = await submitted(target, call(request))
                assert reply.outcome is Outcome.ERROR, name
                assert reason in reply.error, (name, reply.error)
            await target.aclose()

    run(main)


# Wrong answers


class Served:
    """Answers as a server would, that may hear or know something else."""

    def __init__(self, assets, *, seed=SEED, heard=lambda values: values):
        used = assets.used.items()
        models = {n: msgspec.structs.replace(m, seed=seed) for n, m in used}
        self.reference = LocalReference(models)
        self.heard = heard

    def __call__(self, request, shift=0):
        given = dict(request.full or request.inputs)
        values = self.heard(given["input_features"].numpy())
        given["input_features"] = Tensor.of("input_features", values)
        ids = np.roll(given["decoder_input_ids"].numpy(), shift, axis=1)
        given["decoder_input_ids"] = Tensor.of("decoder_input_ids", ids)
        logits = self.reference.forward(request.model, given)["logits"]
        return Reply(Outcome.OK, {"logits": logits})


def shifted(values):
    """One stride on: the window after this one, as an off-by-one would send."""
    return np.roll(values, -100, axis=2)


def not_normalised(values):
    """Without Whisper's (x + 4) / 4."""
    return values * 4 - 4


WRONG = {
    "weights of another seed": {"seed": SEED + 1},
    "a window shifted by one stride": {"heard": shifted},
    "features that are not normalised": {"heard": not_normalised},
    "silence": {"heard": lambda values: np.full_like(values, values.min())},
}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_right_answers_pass(dtype):
    workload, assets = made(dtype=dtype)
    reference, right = LocalReference(assets.used), Served(assets)
    for request in script(workload):
        found = workload.verify(request, right(request), reference)
        assert found.ok, found.reason


@pytest.mark.parametrize(("dtype", "margin"), [("float32", 10), ("float16", 1)])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_are_caught(name, dtype, margin):
    """At every step; in 32 bits by ten times what is allowed."""
    workload, assets = made(dtype=dtype)
    reference, wrong = LocalReference(assets.used), Served(assets, **WRONG[name])
    for request in script(workload):
        found = workload.verify(request, wrong(request), reference)
        assert not found.ok
        allowed = float(found.reason.rpartition(" ")[2])
        assert found.max_abs_diff > margin * allowed


def test_a_shifted_position_and_spoilt_numbers_are_caught():
    workload, assets = made()
    reference, served = LocalReference(assets.used), Served(assets)
    for request in script(workload)[:4]:
        right = served(request)
        if request.step == "decode":
            moved = served(request, shift=1)
            assert not workload.verify(request, moved, untouched(reference)).ok
        logits = right.outputs["logits"].numpy().copy()
        logits[0, -1, 7] = np.nan
        spoilt = Reply(Outcome.OK, {"logits": Tensor.of("logits", logits)})
        found = workload.verify(request, spoilt, untouched(reference))
        assert found.reason == "logits holds NaN or infinity"
        assert workload.verify(request, right, reference).ok


def untouched(reference):
    """The same local copy with a state of its own: a look that leaves no trace."""
    other = LocalReference(reference._models)
    other.state = dict(reference.state)
    return other


# Transcripts


@lru_cache
def said(seed):
    """The tokens that a stream's windows come to, greedily, without any server."""
    workload, assets = made(decode="greedy", tokens=12)
    served = Served(assets, seed=seed)
    return transcript(script(workload, answer=served), 12)


def transcript(asked, tokens):
    ids = [int(r.inputs["decoder_input_ids"].numpy()[0, 0]) for r in asked]
    return [each for i, each in enumerate(ids) if i % tokens]


def test_greedy_transcripts_are_those_of_a_local_model():
    """Over tokens: with seeded weights they are no words, and mean nothing."""
    workload, assets = made(decode="greedy", tokens=12)
    asked = []

    async def main():
        async with serving(SETTINGS, Executor(SETTINGS)) as address:
            target, _ = await opened(address, *assets.used.values(), register="id")
            session = workload.session(Session(Random(0)))
            asked.append(next(session))
            try:
                while True:
                    reply = await submitted(target, call(asked[-1]))
                    asked.append(session.send(reply))
            except StopIteration:
                await target.aclose()

    run(main)
    assert error_rate(said(SEED), transcript(asked, 12)) == 0
    assert error_rate(said(SEED), said(SEED + 1)) > 0.5


# Sounds


def test_seeded_sounds_are_the_same_and_vary():
    one, same, other = (
        audio.seeded(np.random.default_rng(seed), 3.0) for seed in (1, 1, 2)
    )
    assert len(one) == 3 * audio.RATE
    assert (one == same).all()
    assert np.abs(one).max() == pytest.approx(0.5)
    assert np.abs(one - other).max() > 0.1
    # As in speech, most of it lies low, and loud and soft follow each other.
    spectrum = np.abs(np.fft.rfft(one)) ** 2
    assert spectrum[: len(spectrum) // 2].sum() > 0.7 * spectrum.sum()
    loud = np.sqrt((one.reshape(-1, 800) ** 2).mean(axis=1))
    assert loud.std() / loud.mean() > 0.4


@pytest.mark.skipif(which(audio.SPOKEN) is None, reason="espeak-ng is not installed")
def test_words_that_are_spoken():
    sound = audio.spoken(np.random.default_rng(1), 6.0)
    assert len(sound) == 6 * audio.RATE
    assert (sound == audio.spoken(np.random.default_rng(1), 6.0)).all()
    assert sound.std() > 0.01
    workload, _ = made(audio=audio.SPOKEN, tokens=1)
    assert len(script(workload)) == 3


def test_espeak_is_not_there(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ScenarioError, match="apt-get install espeak-ng"):
        made(audio=audio.SPOKEN)


@pytest.mark.parametrize("kind", ["int16", "uint8", "int32", "float32"])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_files(tmp_path, kind, channels):
    tone = 0.5 * np.sin(np.arange(audio.RATE) / 20)
    scale = {"int16": 2**15, "int32": 2**31, "uint8": 2**7, "float32": 1}[kind]
    values = tone * scale + (128 if kind == "uint8" else 0)
    if channels == 2:  # the other channel is silent: the mean is half as loud
        values = np.stack(
            [values, np.full_like(values, 128 if kind == "uint8" else 0)], 1
        )
    wavfile.write(tmp_path / "a.wav", audio.RATE, values.astype(kind))
    found = audio.wav(str(tmp_path / "a.wav"))
    assert found.dtype == np.float32
    assert np.abs(found - tone / channels).max() < 0.01


def written(path, seconds, rate=audio.RATE, level=0.1):
    noise = np.random.default_rng(0).standard_normal(round(seconds * rate))
    wavfile.write(path, rate, (noise * level).astype(np.float32))
    return str(path)


def test_all_of_a_file_or_some(tmp_path):
    path = written(tmp_path / "a.wav", 6.5)
    workload, _ = made(audio=path, length=None, tokens=1)
    assert len(script(workload)) == 2
    workload, _ = made(audio=path, length=5 * S, tokens=1)
    assert len(script(workload)) == 1


def bad(**changes):
    with pytest.raises(ScenarioError) as caught:
        made(**changes)
    return str(caught.value)


def test_bad_files(tmp_path):
    path = written(tmp_path / "fast.wav", 1, rate=44_100)
    assert "has 44100 samples/s, 16000 are wanted; convert it first" in bad(audio=path)
    assert "-ar 16000" in bad(audio=path)
    path = written(tmp_path / "short.wav", 3)
    assert "length: there are 3 s of audio, 7 s are wanted" in bad(audio=path)
    assert "3 s of audio, 5 s are wanted" in bad(audio=path, length=None)
    assert "holds silence" in bad(audio=written(tmp_path / "s.wav", 7, level=0))
    assert "is empty" in bad(audio=written(tmp_path / "e.wav", 0))
    whole = (tmp_path / "short.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    assert "cannot read" in bad(audio=str(tmp_path / "cut.wav"))
    (tmp_path / "text.wav").write_text("no sound")
    assert "cannot read" in bad(audio=str(tmp_path / "text.wav"))
    assert "cannot read '/nowhere.wav'" in bad(audio="/nowhere.wav")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "bert-tiny"}, "is for the workload encoder, not speech"),
        ({"model": "whisper-mikro"}, "did you mean 'whisper-micro'"),
        ({"window": 31 * S}, "window: 31 s is not above 0 and at most 30 s"),
        ({"window": 0}, "window: 0 s"),
        ({"stride": 6 * S}, "stride: 6 s is not above 0 and at most the window's 5 s"),
        ({"stride": 0}, "stride: 0 s"),
        ({"tokens": 129}, "tokens: 129 is over 128, the positions of whisper-micro"),
        ({"batch": 2}, 'batch: 2 windows at once are for mode = "batch"'),
        ({"length": 3 * S}, "length: there are 3 s of audio, 5 s are wanted"),
        ({"length": 700 * S}, "length: 696 windows"),
    ],
)
def test_bad_options_are_refused(changes, message):
    assert message in bad(**changes)


def test_a_checkpoint_s_own_extractor(tmp_path):
    import transformers

    model = catalog.find("whisper-micro", seed=1)
    build.build(model).save_pretrained(tmp_path)
    kind = transformers.WhisperFeatureExtractor
    kind(feature_size=128).save_pretrained(tmp_path)
    with pytest.raises(ScenarioError, match=r"makes \(3, 128, 3000\), the model takes"):
        made(model=str(tmp_path))
    config = tmp_path / "preprocessor_config.json"
    config.write_text('{"feature_size": 80, "sampling_rate": 22050}')
    with pytest.raises(HostError, match="22050"):
        made(model=str(tmp_path))
    kind(feature_size=80).save_pretrained(tmp_path)
    own, _ = made(model=str(tmp_path), tokens=1)
    usual, _ = made(tokens=1)
    for one, other in zip(script(own), script(usual), strict=True):
        assert one.inputs["input_features"].data == other.inputs["input_features"].data


def test_nothing_warns_while_a_title_is_skipped(tmp_path):
    """Editors put chunks of their own into WAV files."""
    path = tmp_path / "a.wav"
    written(path, 5)
    found = path.read_bytes()
    extra = b"LIST\x04\x00\x00\x00INFO"
    size = (len(found) + len(extra) - 8).to_bytes(4, "little")
    path.write_bytes(found[:4] + size + found[8:] + extra)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(audio.wav(str(path))) == 5 * audio.RATE
