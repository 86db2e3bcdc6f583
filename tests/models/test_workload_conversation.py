"""Conversation: what is asked turn by turn, served with state or without, and checked."""

from random import Random

import numpy as np
import pytest

from djinnload.errors import ScenarioError
from djinnload.models.assets import ModelAssets
from djinnload.models.reference import LocalReference
from djinnload.server.executor import Executor
from djinnload.spi import Call, Outcome, Reply, Session, Tensor
from djinnload.testing import check_workload
from djinnload.workloads.conversation import Conversation
from server_kit import SETTINGS, opened, run, serving, submitted  # tests/

pytestmark = pytest.mark.models

SMALL = {"model": "gpt2-tiny", "turns": 3, "message_tokens": 4, "new_tokens": 3}


def made(**changes):
    assets = ModelAssets(5)
    return Conversation(Conversation.Options(**(SMALL | changes)), assets), assets


def script(workload, index=0):
    session = workload.session(Session(Random(index), -1, index))
    asked = [next(session)]
    while True:
        try:
            asked.append(session.send(Reply(Outcome.OK)))
        except StopIteration:
            return asked


def shape(requests):
    return [(r.turn, r.step, r.inputs["input_ids"].shape[1], r.last) for r in requests]


def test_history_kept_feeds_each_token_once():
    asked = script(made()[0])
    assert shape(asked) == [
        (0, "prefill", 4, False),
        (0, "decode", 1, False),
        (0, "decode", 1, False),
        (1, "decode", 5, False),  # the last answer's last token, and the message
        (1, "decode", 1, False),
        (1, "decode", 1, False),
        (2, "decode", 5, False),
        (2, "decode", 1, False),
        (2, "decode", 1, True),
    ]
    fed = np.concatenate([r.inputs["input_ids"].numpy() for r in asked], axis=1)
    assert fed.shape == (1, 20)
    # What a server without state is sent is always everything so far.
    for end, request in zip(np.cumsum([4, 1, 1, 5, 1, 1, 5, 1, 1]), asked, strict=True):
        if request.full:
            assert (request.full["input_ids"].numpy() == fed[:, :end]).all()


def test_history_resent_begins_every_turn_anew():
    kept, resent = script(made()[0]), script(made(history="resent")[0])
    assert shape(resent) == [
        (0, "prefill", 4, False),
        (0, "decode", 1, False),
        (0, "decode", 1, True),
        (1, "prefill", 11, False),
        (1, "decode", 1, False),
        (1, "decode", 1, True),
        (2, "prefill", 18, False),
        (2, "decode", 1, False),
        (2, "decode", 1, True),
    ]
    # The same dialogue: what the server is to know at each step is equal.
    for one, other in zip(kept, resent, strict=True):
        sent = [(r.full or r.inputs)["input_ids"].numpy() for r in (one, other)]
        assert (sent[0] == sent[1]).all()


@pytest.mark.parametrize("history", ["kept", "resent"])
def test_stopping_early_asks_the_first_turns_of_all(history):
    """Token for token: what a shorter dialogue would draw is something else."""
    whole = script(made(history=history)[0])
    cut = script(made(history=history, stop_after=2)[0])
    assert [r.turn for r in cut] == [0, 0, 0, 1, 1, 1]
    for one, other in zip(cut, whole, strict=False):
        assert one.inputs["input_ids"].data == other.inputs["input_ids"].data
    assert cut[-1].last  # the server can free what it keeps
    assert shape(cut)[:-1] == shape(whole)[:5]
    assert shape(script(made(stop_after=9)[0])) == shape(script(made()[0]))


@pytest.mark.parametrize("history", ["kept", "resent"])
@pytest.mark.parametrize("new", [1, 3])
def test_the_contract(history, new):
    given = SMALL | {"history": history, "new_tokens": new, "think": "2s"}
    assert check_workload(Conversation, given).requests == 8 * 3 * new


def test_pauses_are_the_session_s_own():
    constant = script(made(think=10**9, think_distribution="constant")[0])
    assert [r.think_ns for r in constant if r.think_ns] == [10**9, 10**9]
    workload, _ = made(think=10**9)
    drawn = [r.think_ns for i in range(400) for r in script(workload, i) if r.think_ns]
    # 800 of mean 1 s: six standard errors of the mean either way.
    assert abs(np.mean(drawn) / 1e9 - 1) < 6 / 800**0.5
    assert script(workload, 1)[3].think_ns == script(workload, 1)[3].think_ns


def test_a_dialogue_longer_than_the_model_is_refused():
    with pytest.raises(ScenarioError, match=r"100 of 7 tokens are 700.*256 positions"):
        made(turns=100)


def test_a_model_of_another_kind_is_refused():
    with pytest.raises(ScenarioError, match="bert-tiny"):
        made(model="bert-tiny")


@pytest.mark.parametrize("history", ["kept", "resent"])
@pytest.mark.parametrize("model", ["gpt2-tiny", "gpt-j-tiny", "llama-tiny"])
def test_served_with_state_and_checked(model, history):
    workload, assets = made(model=model, history=history)

    async def main():
        async with serving(SETTINGS, Executor(SETTINGS)) as address:
            target, _ = await opened(address, *assets.used.values(), register="id")
            reference = LocalReference(assets.used)
            past = []
            for request in script(workload):
                call = Call(request, "p", "r-p-0-0", "batch", None, 0, {})
                reply = await submitted(target, call)
                assert reply.outcome is Outcome.OK, reply.error
                found = workload.verify(request, reply, reference)
                assert found.ok, (request.step, request.turn, found.reason)
                past.append(reply.metrics.get("reused_tokens", 0))
            await target.aclose()
            assert past[3] == (6 if history == "kept" else 0)

    run(main)


def test_an_answer_that_forgot_the_history_is_caught():
    """As a server would that lost the session, or put a message at position 0."""
    workload, assets = made()
    asked = script(workload)
    reference, forgetful = LocalReference(assets.used), LocalReference(assets.used)
    for place, request in enumerate(asked):
        known = (request.full or request.inputs)["input_ids"].numpy()
        fed = request.inputs["input_ids"].numpy()
        seen = fed if place == 3 else known
        right = forgetful.forward(
            request.model, {"input_ids": Tensor.of("input_ids", seen)}
        )
        reply = Reply(Outcome.OK, {"logits": right["logits"]})
        found = workload.verify(request, reply, reference)
        assert found.ok == (place != 3), (place, found.reason)
