"""Workload llm: its requests, and how its check judges; no torch."""

from random import Random

import msgspec
import numpy as np
import pytest

from djinnload.errors import ScenarioError
from djinnload.models import catalog
from djinnload.models.assets import ModelAssets
from djinnload.spi import Outcome, Reply, Session, Tensor, Workload
from djinnload.testing import check_workload
from djinnload.workloads.llm import Llm, LlmOptions

VOCABULARY = catalog.find("gpt2-tiny", seed=0).config["vocab_size"]


def llm(*, seed=1, **options):
    return Llm(Llm.Options(**{"model": "gpt2-tiny", **options}), ModelAssets(seed))


def logits(*shape, dtype="float32", fill=None):
    values = (
        np.random.default_rng(0).standard_normal(shape)
        if fill is None
        else np.full(shape, fill)
    )
    return Reply(Outcome.OK, {"logits": Tensor.of("logits", values.astype(dtype))})


def run(workload, answer=lambda request: Reply(Outcome.OK), *, hints=None, seed=0):
    generator = workload.session(Session(Random(seed), hints=hints or {}))
    sent = []
    reply = None
    while True:
        try:
            sent.append(generator.send(reply))
        except StopIteration:
            return sent
        reply = answer(sent[-1])


def ids(request):
    return request.inputs["input_ids"].numpy()


def test_is_a_workload():
    assert isinstance(llm(), Workload)


def test_one_token_is_a_prefill_that_ends_its_state():
    (only,) = run(llm())
    assert (only.step, only.state, only.last, only.full) == (
        "prefill",
        "kv",
        True,
        None,
    )
    assert only.inputs["input_ids"].shape == (1, 16)
    assert only.inputs["input_ids"].dtype == "int64"


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("decode", ["forced", "greedy"])
def test_a_turn(batch, decode):
    answer = lambda request: logits(batch, 1, VOCABULARY)  # noqa: E731
    workload = llm(prompt_tokens=5, new_tokens=4, batch=batch, decode=decode)
    sent = run(workload, answer)
    assert [r.step for r in sent] == ["prefill", "decode", "decode", "decode"]
    assert [r.last for r in sent] == [False, False, False, True]
    assert {(r.state, r.units, r.turn, r.needs) for r in sent} == {
        ("kv", batch, 0, ("logits[-1]",))
    }
    assert [ids(r).shape for r in sent] == [(batch, 5)] + [(batch, 1)] * 3
    whole = np.concatenate([ids(r) for r in sent], axis=1)
    for i, request in enumerate(sent[1:]):
        assert np.array_equal(request.full["input_ids"].numpy(), whole[:, : 6 + i])
    assert whole.min() >= 0
    assert whole.max() < VOCABULARY


def test_greedy_feeds_back_what_was_served():
    def answer(request):
        values = np.zeros((2, 3, VOCABULARY), np.float32)
        values[0, -1, 7] = values[1, -1, 8] = 1
        values[:, 0, 9] = 2  # not the last position
        return Reply(Outcome.OK, {"logits": Tensor.of("logits", values)})

    workload = llm(prompt_tokens=3, new_tokens=3, batch=2, decode="greedy")
    first, second = run(workload, answer), run(workload, answer)
    assert [ids(r).tolist() for r in first[1:]] == [[[7], [8]]] * 2
    assert np.array_equal(ids(first[0]), ids(second[0]))  # the pool is left alone


@pytest.mark.parametrize(
    "reply",
    [
        Reply(Outcome.OK),
        Reply(Outcome.ERROR),
        logits(1, VOCABULARY),
        logits(1, 1, 4),
        logits(1, 0, VOCABULARY),
        logits(1, 1, VOCABULARY, dtype="int64"),
    ],
)
def test_greedy_gives_up_without_logits(reply):
    workload = llm(new_tokens=3, decode="greedy")
    assert len(run(workload, lambda request: reply)) == 1


def test_gives_up_after_a_failure():
    assert len(run(llm(new_tokens=3), lambda request: Reply(Outcome.TIMEOUT))) == 1


def test_seeded():
    assert run(llm()) == run(llm()) != run(llm(seed=-2))
    assert len({ids(run(llm(), seed=i)[0]).tobytes() for i in range(20)}) > 5


def test_hints_of_a_trace():
    sent = run(llm(new_tokens=9), hints={"prompt_tokens": 7, "new_tokens": 2})
    assert [ids(r).shape[1] for r in sent] == [7, 1]
    assert sent[-1].last
    with pytest.raises(ScenarioError, match=r"900 \+ new_tokens 1 must be"):
        run(llm(), hints={"prompt_tokens": 900})


def test_too_long_for_the_model():
    llm(prompt_tokens=255)
    with pytest.raises(ScenarioError, match=r"255 \+ new_tokens 2 .* at most 256"):
        llm(prompt_tokens=255, new_tokens=2)


@pytest.mark.parametrize(
    "bad",
    [
        {"batch": 0},
        {"dtype": "int8"},
        {"y": 1},
        {"decode": "beam"},
    ],
)
def test_bounds(bad):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"model": "gpt2", **bad}, Llm.Options)


class Flat:
    """A reference whose logits are 0 … vocab − 1, std 147.8, at every position."""

    def __init__(self):
        self.state = {}
        self.lengths = []

    def forward(self, model, inputs):
        batch, length = inputs["input_ids"].shape
        self.lengths.append(length)
        values = np.tile(np.arange(VOCABULARY, dtype=np.float32), (batch, length, 1))
        return {"logits": Tensor.of("logits", values)}

    def tolerance(self, model):
        return 1e-3


def ramp(*shape, dtype="float32", plus=0.0):
    values = np.tile(np.arange(VOCABULARY), (*shape, 1)).astype(dtype)
    values[..., -1] += plus
    return Reply(Outcome.OK, {"logits": Tensor.of("logits", values)})


def test_verify_follows_the_session():
    workload, reference = llm(new_tokens=3), Flat()
    for request in run(workload):
        assert workload.verify(request, ramp(1, 1), reference).ok
    assert reference.lengths == [16, 17, 18]


@pytest.mark.parametrize("positions", [1, 16])
def test_verify_takes_the_last_or_all_positions(positions):
    workload = llm()
    assert workload.verify(run(workload)[0], ramp(1, positions), Flat()).ok


def bad_bytes():
    tensor = Tensor("logits", (1, 1, VOCABULARY), "float32", b"1234")
    return Reply(Outcome.OK, {"logits": tensor})


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (ramp(1, 1, plus=0.1), ""),
        (ramp(1, 1, plus=0.2), "logits differ by 0.2 at most, allowed 0.148"),
        (Reply(Outcome.OK), "no output logits"),
        (ramp(1, 2), "logits have shape (1, 2, 512), not (1, 1, 512) or (1, 16, 512)"),
        (ramp(2, 1), "logits have shape (2, 1, 512)"),
        (logits(1, 1, 511), "logits have shape (1, 1, 511)"),
        (ramp(1, 1, dtype="float64"), "logits are float64, not float32"),
        (ramp(1, 1, dtype="float16"), "logits are float16, not float32"),
        (ramp(1, 1, plus=float("nan")), "logits hold NaN or infinity"),
        (ramp(1, 1, plus=float("inf")), "logits hold NaN or infinity"),
        (logits(1, 1, VOCABULARY, fill=0), "logits differ by 511"),
        (bad_bytes(), "logits are 4 bytes, not (1, 1, 512)"),
    ],
)
def test_verify_judges(reply, reason):
    workload = llm()
    found = workload.verify(run(workload)[0], reply, Flat())
    assert found.ok is (not reason)
    assert found.reason.startswith(reason)


def test_verify_widens_halves():
    workload = llm(dtype="bfloat16")
    reply = ramp(1, 1)
    assert workload.verify(run(workload)[0], reply, Flat()).ok
    exact = (reply.outputs["logits"].numpy().view(np.uint32) >> 16).astype("<u2")
    data = exact.tobytes()
    served = Tensor("logits", (1, 1, VOCABULARY), "bfloat16", data)
    found = workload.verify(
        run(workload)[0], Reply(Outcome.OK, {"logits": served}), Flat()
    )
    assert found.max_abs_diff == 1.0  # truncated to 8 bits: from 256 on, every second


def test_lengths_drawn_from_a_range():
    given = {"model": "gpt2-tiny", "prompt_tokens": [3, 9], "new_tokens": [1, 4]}
    report = check_workload(Llm, given, sessions=64)
    options = LlmOptions(model="gpt2-tiny", prompt_tokens=(3, 9), new_tokens=(1, 4))
    workload = Llm(options, ModelAssets(1))
    prompts = {s[0].inputs["input_ids"].shape[1] for s in workload._scripts}
    answers = {len(script) for script in workload._scripts}
    assert prompts == set(range(3, 10))
    assert answers == {1, 2, 3, 4}
    assert 64 < report.requests < 4 * 64
    assert all(script[-1].last for script in workload._scripts)


@pytest.mark.parametrize("name", ["prompt_tokens", "new_tokens"])
def test_no_tokens_are_refused(name):
    with pytest.raises(ScenarioError, match=f"{name}: 0 must be ≥ 1"):
        Llm(LlmOptions(model="gpt2-tiny", **{name: 0}), ModelAssets(1))


def test_a_range_the_wrong_way_round():
    with pytest.raises(ScenarioError, match="the least first"):
        Llm(LlmOptions(model="gpt2-tiny", prompt_tokens=(9, 3)), ModelAssets(1))


def test_the_most_of_a_range_must_fit():
    with pytest.raises(ScenarioError, match="at most 256"):
        Llm(LlmOptions(model="gpt2-tiny", prompt_tokens=(3, 256)), ModelAssets(1))
