"""What a Whisper hears and says, shipped: the least that determines it, and right."""

from random import Random

import numpy as np
import pytest
from msgspec.structs import replace

from djinnload.models.assets import ModelAssets
from djinnload.models.reference import LocalReference
from djinnload.scenarios.behaviours import PRESETS
from djinnload.spi import Outcome, Reply, Session, Tensor
from djinnload.units import SECOND
from djinnload.wire import djinn as wire
from djinnload.workloads.speech import Speech
from server_kit import a_call, opened, run, serving, submitted

pytestmark = pytest.mark.models
#: Of whisper-micro, in float32.
LAYERS, HEADS, SIZE, HEARD, WIDTH = 2, 2, 32, 1500, 64
TOKENS = 3


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJINNLOAD_CACHE", str(tmp_path_factory.mktemp("weights")))
        assets = ModelAssets(5)
        options = Speech.Options(
            model="whisper-micro", length=6 * SECOND, tokens=TOKENS
        )
        yield Speech(options, assets), assets


def asked(workload):
    """Yield the requests of a session whose answers nobody reads."""
    session = workload.session(Session(Random(0)))
    yield next(session)
    try:
        while True:
            yield session.send(Reply(Outcome.OK))
    except StopIteration:
        return


def a_state(said, heard=HEARD):
    """What is shipped after *said* tokens: zeros, by shape."""
    keys = (1, HEADS, said, SIZE)
    names = (f"state/{i}.{kind}" for i in range(LAYERS) for kind in ("key", "value"))
    made = [Tensor.of(name, np.zeros(keys, "float32")) for name in names]
    encoded = np.zeros((1, heard, WIDTH), "float32")
    return [*made, Tensor.of("state/encoded", encoded)]


@pytest.mark.parametrize("name", ["semantic_blind", "partially_aware", "full"])
def test_each_arm_hears_right_and_says_what_it_did(speech, name):
    workload, assets = speech
    behaviours = dict(PRESETS[name])

    async def main() -> None:
        async with serving() as address:
            target, _ = await opened(address, *assets.used.values(), register="id")
            reference = LocalReference(assets.used)
            for request in asked(workload):
                call = replace(a_call(behaviours=behaviours), request=request)
                reply = await submitted(target, call)
                assert reply.outcome is Outcome.OK, reply.error
                assert reply.echo["behaviours"] == behaviours
                found = workload.verify(request, reply, reference)
                assert found.ok, (request.step, request.turn, found.reason)

    run(main)


def test_bytes_are_those_of_what_was_heard_and_said(speech):
    workload, assets = speech
    behaviours = dict(PRESETS["partially_aware"])

    async def main() -> None:
        async with serving() as address:
            target, _ = await opened(address, *assets.used.values(), register="id")
            for at, request in enumerate(asked(workload)):
                call = replace(a_call(behaviours=behaviours), request=request)
                reply = await submitted(target, call)
                said = at % TOKENS
                brought = a_state(said) if said else []
                meta = {"fingerprint": "f" * 16, "qos_class": "realtime"}
                if request.last:
                    meta["session_finalize"] = True
                meta["djinnload"] = {
                    "behaviours": behaviours,
                    "needs": ["logits[-1]"],
                }
                inputs = [*request.inputs.values(), *brought]
                predicted = wire.execute_request(meta, inputs)
                assert reply.bytes_sent == sum(map(len, predicted))
                # Grown by a token, and what was heard comes back as it went.
                grown = [] if request.last else a_state(said + 1)
                least = sum(t.nbytes for t in grown) + reply.outputs["logits"].nbytes
                assert least < reply.bytes_received < least + 2000

    run(main)


@pytest.mark.parametrize(
    ("brought", "error"),
    [
        (a_state(1)[:-1], "state/encoded of shape [1, 1500, 64] is missing"),
        (a_state(1, heard=7), "state/encoded of shape [1, 1500, 64] has [1, 7, 64]"),
        (a_state(1)[1:], "3 tensors"),
        (a_state(1)[-1:], "0 tensors"),
        (a_state(500), "exceed"),
    ],
)
def test_a_state_that_does_not_fit_is_an_error(speech, brought, error):
    workload, assets = speech
    _, decode, *_ = asked(workload)

    async def main() -> None:
        async with serving() as address:
            target, _ = await opened(address, *assets.used.values(), register="id")
            inputs = {**decode.inputs, **{t.name: t for t in brought}}
            # As `encode`, nothing of ours is added to what is said here.
            request = replace(decode, inputs=inputs, step="encode")
            call = a_call(behaviours={"state": "shipped"})
            reply = await submitted(target, replace(call, request=request))
            assert (reply.outcome, error in reply.error) == (Outcome.ERROR, True), reply

    run(main)


def test_a_model_without_an_encoder_takes_none(tiny):
    heard = a_state(1)

    async def main() -> None:
        async with serving() as address:
            target, _ = await opened(address, tiny, register="id")
            call = a_call(tiny.name, heard[0], behaviours={"state": "shipped"})
            ids = Tensor.of("input_ids", np.ones((1, 1), "int64"))
            inputs = {t.name: t for t in (ids, *heard)}
            request = replace(call.request, inputs=inputs, state="kv")
            reply = await submitted(target, replace(call, request=request))
            assert "has no encoder" in reply.error

    run(main)
