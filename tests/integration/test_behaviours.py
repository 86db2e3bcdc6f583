"""Behaviours of arms on the reference server: done for real, in the bytes, answers right.

The codec's prediction of a message's length is its own: what it encodes here is what
has to be on the socket.
"""

import numpy as np
import pytest
from msgspec.structs import replace

from djinnload.describe import describe
from djinnload.models import catalog, weights
from djinnload.scenarios.behaviours import PRESETS
from djinnload.scenarios.load import loads
from djinnload.server.executor import Executor
from djinnload.spi import Outcome, Tensor
from djinnload.targets import shipping
from djinnload.targets.djinn import Djinn
from djinnload.wire import djinn as wire
from server_kit import (
    SETTINGS,
    a_call,
    ids,
    opened,
    recomputed,
    run,
    serving,
    submitted,
)

pytestmark = pytest.mark.models
SCENARIO = """
[scenario]
name = "arms"
duration = "1s"
[[population]]
name = "chat"
users = 1
workload = { use = "llm", model = "gpt2-tiny", prompt_tokens = 8, new_tokens = 3 }
"""
TOKENS = (3, 1, 4, 1, 5, 9)
PROMPT = 4


def dialogue(model, behaviours):
    """The calls of one session: a prefill, then a token at a time."""
    for end in range(PROMPT, len(TOKENS) + 1):
        first = end == PROMPT
        yield a_call(
            model.name,
            ids(*TOKENS[:end]) if first else ids(TOKENS[end - 1]),
            step="prefill" if first else "decode",
            state="kv",
            full=None if first else {"input_ids": ids(*TOKENS[:end])},
            needs=("logits[-1]",),
            last=end == len(TOKENS),
            behaviours=behaviours,
        )


async def told(target, model, behaviours):
    return [await submitted(target, call) for call in dialogue(model, behaviours)]


def assert_right(model, replies):
    wanted = recomputed(model, *TOKENS)[0]
    for i, reply in enumerate(replies):
        assert reply.outcome is Outcome.OK, reply.error
        served = reply.outputs["logits"].numpy()[0, -1]
        assert np.abs(served - wanted[PROMPT - 1 + i]).max() < 1e-4


ARMS = {
    **{name: dict(each) for name, each in PRESETS.items() if "memory" not in each},
    "recomputed": {"state": "recomputed", "result": "needed"},
    "only-weights": {"weights": "per_call"},
    "only-plan": {"plan": "per_call"},
    "plan-and-weights": {"weights": "per_call", "plan": "per_call"},
    "merged": {"phases": "merged"},
}


@pytest.mark.parametrize("register", ["id", "weights"])
@pytest.mark.parametrize("name", ARMS)
def test_every_arm_is_executed_echoed_and_right(tiny, name, register):
    behaviours = ARMS[name]

    async def main() -> None:
        async with serving() as address:
            target, _ = await opened(address, tiny, register=register)
            for _ in range(2):
                replies = await told(target, tiny, behaviours)
                assert_right(tiny, replies)
                for reply in replies:
                    assert reply.echo["behaviours"] == behaviours
                    assert reply.echo["weights_sha256"] == weights.sha256(tiny)
                target.end_session("r-p-0-0")

    run(main)


def brought(model, behaviours, past):
    """The tensors that behaviours add to a call after *past* tokens; zeros, by shape."""
    found = []
    if behaviours.get("state") == "shipped" and past:
        heads, size = model.config["n_head"], model.config["n_embd"]
        shape = (1, heads, past, size // heads)
        data = bytes(4 * size * past)
        found += [
            Tensor(f"state/{i}.{kind}", shape, "float32", data)
            for i in range(model.config["n_layer"])
            for kind in ("key", "value")
        ]
    if behaviours.get("weights") == "per_call":
        found += [replace(t, name=f"weight/{t.name}") for t in weights.tensors(model)]
    return found


@pytest.mark.parametrize("name", [name for name in ARMS if name != "recomputed"])
def test_bytes_are_those_that_the_codec_predicts(tiny, name):
    behaviours = ARMS[name]
    shipped = behaviours.get("state") == "shipped"
    merged = behaviours.get("phases") == "merged"

    async def main() -> None:
        async with serving() as address:
            target, _ = await opened(address, tiny, register="id")
            calls = list(dialogue(tiny, behaviours))
            for i, call in enumerate(calls):
                past = 0 if i == 0 else PROMPT + i - 1
                reply = await submitted(target, call)
                inputs = [
                    *call.request.inputs.values(), *brought(tiny, behaviours, past)
                ]  # fmt: skip
                ours = {"behaviours": behaviours}
                if behaviours.get("result") != "all":
                    ours["needs"] = ["logits[-1]"]
                meta = {"fingerprint": "f" * 16, "qos_class": "realtime"}
                if not shipped:
                    meta["session_id"] = "r-p-0-0/kv"
                    if merged:
                        ours["session"] = "continue" if i else "begin"
                if call.request.last:
                    meta["session_finalize"] = True
                if not merged:
                    meta["execution_phase"] = call.request.step
                meta["djinnload"] = ours
                predicted = wire.execute_request(meta, inputs)
                assert reply.bytes_sent == sum(map(len, predicted))

    run(main)


def test_blind_bytes_are_weights_and_state_to_a_thousandth(tiny):
    # Large enough for JSON and names to be small against it, as they are in earnest.
    model = catalog.parse_id("djinnload:gpt2-small-4l?seed=5&dtype=float32")
    sent = sum(t.nbytes for t in weights.tensors(model))
    state = 2 * model.config["n_layer"] * 4 * model.config["n_embd"]

    async def main() -> None:
        async with serving() as address:
            target, _ = await opened(address, model, register="id")
            blind = await told(target, model, PRESETS["semantic_blind"])
            assert_right(model, blind)
            for i, reply in enumerate(blind):
                past = 0 if i == 0 else PROMPT + i - 1
                assert reply.bytes_sent == pytest.approx(sent + past * state, rel=1e-3)
                logits = reply.outputs["logits"].nbytes
                grown = logits + (PROMPT + i) * state
                assert grown < reply.bytes_received < grown + 5000

    run(main)


@pytest.mark.parametrize("name", ["semantic_blind", "partially_aware", "full"])
def test_models_that_keep_nothing_answer_in_every_arm(name):
    """There is no state to ship; the reply says so, and the answer is right."""
    from djinnload.models.reference import LocalReference

    behaviours = dict(PRESETS[name])
    model = catalog.parse_id("djinnload:bert-tiny?seed=5&dtype=float32")
    inputs = {"input_ids": ids(1, 2, 3)}
    local = LocalReference({"bert": model}).forward("bert", inputs)
    wanted = local["last_hidden_state"].numpy()

    async def main() -> None:
        async with serving() as address:
            target, _ = await opened(address, model, register="id")
            needs = ("last_hidden_state",)
            call = a_call(model.name, ids(1, 2, 3), step="encode", last=False,
                          needs=needs, behaviours=behaviours)  # fmt: skip
            reply = await submitted(target, call)
            assert reply.outcome is Outcome.OK, reply.error
            did = reply.echo["behaviours"]
            assert did.pop("phases") in {"none", behaviours["phases"]}
            assert did == {
                n: w for n, w in behaviours.items() if n != "phases"
            } | {"state": "none"}  # fmt: skip
            served = reply.outputs["last_hidden_state"].numpy()
            assert np.abs(served - wanted).max() < 1e-4
            # What nobody could have kept is refused, not dropped.
            given = {**call.request.inputs, "state/0.key": zeros("state/0.key", 1)}
            bad = replace(call, request=replace(call.request, inputs=given))
            if behaviours["state"] == "shipped":
                reply = await submitted(target, bad)
                assert "keeps nothing" in reply.error

    run(main)


def test_weights_of_a_call_are_run_not_the_resident_ones(tiny):
    other = replace(tiny, seed=tiny.seed + 1)

    class Swapped(Djinn):
        """Sends another seed's weights than were registered."""

        async def open(self, plan, clock):
            proof = await super().open(plan, clock)
            self._shipping._models[tiny.name] = other
            self._shipping._weights.clear()
            return proof

    async def main() -> None:
        async with serving() as address:
            plain, _ = await opened(address, tiny, register="id")
            target = Swapped()
            from djinnload.spi import TargetPlan
            from server_kit import RealClock

            await target.open(TargetPlan(address, (tiny,), "id", int(5e9)), RealClock())
            call = a_call(tiny.name, ids(1, 2, 3), behaviours={"weights": "per_call"})
            weights.ensure(other)
            reply = await submitted(target, call)
            assert reply.outcome is Outcome.OK, reply.error
            assert reply.echo["weights_sha256"] == weights.sha256(other)
            served = reply.outputs["logits"].numpy()
            assert np.abs(served - recomputed(other, 1, 2, 3)).max() < 1e-4
            resident = await submitted(plain, replace(call, behaviours={}))
            served = resident.outputs["logits"].numpy()
            assert np.abs(served - recomputed(tiny, 1, 2, 3)).max() < 1e-4

    run(main)


def test_concurrent_calls_do_not_share_a_module(tiny):
    import asyncio

    async def main() -> None:
        settings = replace(SETTINGS, threads=4, admission_limit=100)
        async with serving(settings, Executor(settings)) as address:
            target, _ = await opened(address, tiny, register="id")
            arms = [{"weights": "per_call"}, {"plan": "per_call"}, {}] * 8
            wanted = recomputed(tiny, 1, 2, 3)
            calls = [a_call(tiny.name, ids(1, 2, 3), behaviours=b) for b in arms]
            for reply in await asyncio.gather(*(submitted(target, c) for c in calls)):
                assert reply.outcome is Outcome.OK, reply.error
                assert np.abs(reply.outputs["logits"].numpy() - wanted).max() < 1e-4

    run(main)


def test_weights_too_large_for_a_frame_travel_in_parts(tiny, monkeypatch):
    monkeypatch.setattr(shipping, "PART_BYTES", 200_000)
    sent = sum(t.nbytes for t in weights.tensors(tiny))

    async def main() -> None:
        async with serving() as address:
            target, _ = await opened(address, tiny, register="id")
            for name in ("semantic_blind", "only-weights"):
                replies = await told(target, tiny, ARMS[name])
                assert_right(tiny, replies)
                for reply in replies:
                    assert reply.echo["behaviours"] == ARMS[name]
                    assert sent < reply.bytes_sent < sent + 40_000
            groups = target._shipping.groups(a_call(tiny.name, behaviours=ARMS[name]))
            assert len(groups) > 3
            assert [t.name for g in groups for t in g] == [
                f"weight/{t.name}" for t in weights.tensors(tiny)
            ]

    run(main)


def test_parts_that_are_refused_or_given_up_are_told_so(tiny, monkeypatch):
    monkeypatch.setattr(shipping, "PART_BYTES", 200_000)
    call = a_call(tiny.name, ids(1), behaviours={"weights": "per_call"})

    async def main() -> None:
        small = replace(SETTINGS, max_buffer_bytes=450_000)
        async with serving(small) as address:
            target, _ = await opened(address, tiny, register="id")
            reply = await submitted(target, call)
            assert reply.outcome is Outcome.ERROR
            assert "over 450000 bytes" in reply.error
            assert reply.bytes_sent > 400_000
            assert reply.bytes_received > 100
            cancel = target.submit(call, lambda _: None)
            assert cancel().outcome is Outcome.CANCELLED
            assert cancel() is None

    run(main)


@pytest.mark.parametrize("made", [False, True])
def test_check_tells_what_an_arm_sends(tmp_path, monkeypatch, made):
    monkeypatch.setenv("DJINNLOAD_CACHE", str(tmp_path))
    model = catalog.parse_id("djinnload:gpt2-tiny?seed=1&dtype=float32")
    if made:
        weights.ensure(model)
    all_weights = 4 * catalog.parameters("gpt2-tiny")
    assert weights.nbytes(model) == all_weights
    arms = {"blind": "semantic_blind", "full": "full"}
    tables = "".join(
        f'[[arm]]\nname = "{name}"\nbehaviours = {{ preset = "{preset}" }}\n'
        for name, preset in arms.items()
    )
    tables += '[[arm]]\nname = "anew"\nbehaviours = { state = "recomputed" }\n'
    found = describe(loads(SCENARIO + tables)).populations
    sent = {name: found[name][0].nbytes for name in ("blind", "full", "anew")}
    tokens = 8 + 1 + 1
    assert sent["full"] == 8 * tokens
    assert sent["blind"] == 8 * tokens + 3 * all_weights
    assert sent["anew"] == 8 * (8 + 9 + 10)


def zeros(name, *shape, dtype="float32"):
    return Tensor.of(name, np.zeros(shape, dtype))


def a_state(length=3, heads=2, layers=2, size=32):
    return [
        zeros(f"state/{i}.{kind}", 1, heads, length, size)
        for i in range(layers)
        for kind in ("key", "value")
    ]


@pytest.mark.parametrize(
    ("brought", "error"),
    [
        ([zeros("weight/nothing", 2)], "do not fit"),
        ([zeros("weight/lm_head.weight", 2, 2)], "do not fit"),
        ([zeros("weight/lm_head.weight", 2, dtype="int64")], "not floating point"),
        ([zeros("weight/lm_head.weight", 2, dtype="float16")], "is not float32"),
        (a_state()[:1], "1 tensors"),
        (a_state()[:3], "3 tensors"),
        (a_state(layers=3), "6 tensors"),
        (a_state()[:2] + a_state(4)[2:], "all of one batch and length"),
        ([*a_state()[:3], zeros("state/1.value", 3)], "is no state"),
        ([*a_state(), zeros("state/01.key", 1, 1, 1, 1)], "is no state"),
        ([*a_state(), zeros("state/0.key/x", 1, 1, 1, 1)], "is no state"),
        (a_state(0), "is no state"),
        (a_state(size=7), "Error"),
        (a_state(5000), "exceed"),
    ],
)
def test_what_does_not_fit_is_an_error_and_hurts_nobody(tiny, brought, error):
    async def main() -> None:
        async with serving() as address:
            target, _ = await opened(address, tiny, register="id")
            call = a_call(tiny.name, ids(1, 2, 3))
            inputs = {**call.request.inputs, **{t.name: t for t in brought}}
            asked = {"state": "shipped"} if brought[0].name[0] == "s" else {}
            bad = replace(call.request, inputs=inputs, state="kv")
            wrong = replace(call, request=bad, behaviours=asked or {"plan": "cached"})
            reply = await submitted(target, wrong)
            assert (reply.outcome, error in reply.error) == (Outcome.ERROR, True), reply
            for words in ({}, {"weights": "per_call"}):
                right = await submitted(target, replace(call, behaviours=words))
                difference = right.outputs["logits"].numpy() - recomputed(tiny, 1, 2, 3)
                assert np.abs(difference).max() < 1e-4

    run(main)
