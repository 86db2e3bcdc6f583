"""The reference server's models, asked by the real Djinn target."""

import asyncio

import pytest
from msgspec.structs import replace

from djinnload.errors import Refused
from djinnload.server.executor import Executor
from djinnload.spi import (
    Outcome,
    Tensor,
)
from djinnload.targets.requests import fingerprint
from djinnload.wire import djinn as wire
from djinnload.wire.djinn import FrameReader, MessageType
from misbehaving import KINDS  # tests/, by conftest.py
from server_kit import (
    SETTINGS,
    a_call,
    frame_of,
    ids,
    opened,
    raw,
    recomputed,
    registered,
    run,
    serving,
    submitted,
)


@pytest.mark.models
@pytest.mark.parametrize("how", ["id", "weights"])
def test_kv_equals_recompute(tiny, how):
    import numpy as np

    from djinnload.models import weights

    executor = Executor(SETTINGS)

    async def main() -> None:
        async with serving(SETTINGS, executor) as address:
            target, proof = await opened(address, tiny, register=how)
            assert proof.evidence["weights_sha256"].value == weights.sha256(tiny)
            assert (proof.registration["sent"] > 100_000) == (how == "weights")
            tokens = (3, 1, 4, 1, 5, 9, 2, 6)
            parts = []
            for begin, end in ((0, 5), (5, 6), (6, 7), (7, 8)):
                fed = ids(*tokens[begin:end])
                step = "decode" if begin else "prefill"
                call = a_call(tiny.name, fed, step=step, state="kv", last=end == 8)
                reply = await submitted(target, call)
                assert reply.outcome is Outcome.OK, reply.error
                assert reply.metrics["reused_tokens"] == begin
                parts.append(reply.outputs["logits"].numpy())
                assert len(executor.sessions) == (end < 8)
            assert (
                np.abs(np.concatenate(parts, 1) - recomputed(tiny, *tokens)).max()
                < 1e-4
            )
            assert executor.sessions.nbytes == 0
            late = await submitted(
                target, a_call(tiny.name, ids(1), step="decode", state="kv")
            )
            assert late.outcome is Outcome.ERROR
            assert "is finished" in late.error

    run(main)


@pytest.mark.models
def test_needs_behaviours_classes_and_errors(tiny):
    async def main() -> None:
        async with serving() as address:
            target, _ = await opened(address, tiny, register="id")
            for name in ("realtime", "interactive", "batch"):
                call = a_call(
                    tiny.name, ids(1, 2, 3), qos_class=name, needs=("logits[-1]",)
                )
                reply = await submitted(target, call)
                assert reply.qos_class == name
                assert reply.outputs["logits"].shape == (1, 1, 512)
                assert "behaviours" not in reply.echo
            behaviours = {"result": "all", "state": "session", "weights": "per_call"}
            reply = await submitted(target, replace(call, behaviours=behaviours))
            assert reply.outputs["logits"].shape == (1, 3, 512)
            did = {"result": "all", "state": "recomputed", "weights": "per_call"}
            assert reply.echo["behaviours"] == did
            assert reply.echo["model"] == tiny.model_id
            for wrong, error in (
                (ids(1, 512), "not within 0 to 511"),
                (ids(*[1] * 2000), "exceed"),
                (Tensor("cache", (1,), "int64", bytes(8)), "no input may be named"),
                (Tensor("ids", (1,), "int64", bytes(8)), "input_ids"),
                (Tensor("input_ids", (1, 0), "int64", b""), "empty"),
            ):
                reply = await submitted(target, a_call(tiny.name, wrong))
                assert reply.outcome is Outcome.ERROR
                assert error in reply.error

    run(main)


@pytest.mark.models
def test_what_cannot_be_registered(tiny):
    from djinnload.models import weights

    tensors = tuple(weights.tensors(tiny))

    async def main() -> None:
        async with serving() as address:
            full = wire.model_class(tiny.architecture, tiny.config)
            for request, error in (
                (
                    wire.register_by_id("a", "gpt2", full),
                    "not one that this server builds",
                ),
                (
                    wire.register_by_id("a", "/etc", full),
                    "not one that this server builds",
                ),
                (
                    wire.register_by_id(
                        "a", "djinnload:nope?seed=1&dtype=float32", full
                    ),
                    "nope",
                ),
                (
                    wire.register_by_id("djinnload-echo", tiny.model_id, full),
                    "no model may",
                ),
                (wire.register_with_weights("a", "os.system", {}, tensors), "system"),
                (
                    wire.register_with_weights("a", full, tiny.config, tensors[:3]),
                    "fit",
                ),
            ):
                fields = await registered(address, request)
                assert fields["status"] == "error"
                assert error in fields["message"]
            pickled = {
                "model_id": "",
                "model_class": full,
                "config": {},
                "fingerprint": "a",
            }
            tail = [b"\x00" * 7 + b"\x04" + b"\x80\x04N." + b"\x00" * 4]
            request = b"".join(
                wire.v1_reply(
                    MessageType.REGISTER_MODEL, {**pickled, "_binary_protocol": True}
                )
            )
            body = request[9:] + tail[0]
            answer = FrameReader().feed(await raw(address, frame_of(5, body)))
            assert answer.kind is MessageType.ERROR
            assert "pickled" in wire.decode_v1(answer.payload)["message"]
            with pytest.raises(Refused, match="nope"):
                await opened(address, replace(tiny, name="nope"), register="id")

    run(main)


@pytest.mark.models
def test_the_first_registration_wins(tiny):
    import numpy as np

    other = replace(tiny, seed=6)

    async def main() -> None:
        async with serving() as address:
            name = fingerprint(tiny, "id")
            full = wire.model_class(tiny.architecture, tiny.config)
            both = await asyncio.gather(
                *(
                    registered(address, wire.register_by_id(name, tiny.model_id, full))
                    for _ in range(3)
                )
            )
            assert sorted(fields["message"] for fields in both) == [
                "Model registered successfully", "already_registered", "already_registered"
            ]  # fmt: skip
            again = wire.register_by_id(name, other.model_id, full)
            assert (await registered(address, again))["djinnload"][
                "model"
            ] == tiny.model_id
            target, _ = await opened(address, tiny, register="id")
            reply = await submitted(target, a_call(tiny.name, ids(1, 2)))
            difference = reply.outputs["logits"].numpy() - recomputed(tiny, 1, 2)
            assert np.abs(difference).max() < 1e-5

    run(main)


@pytest.mark.models
@pytest.mark.parametrize("how", ["id", "weights"])
@pytest.mark.parametrize("kind", ["zeros", "forgets", "other-seed"])
def test_misbehaving_servers_look_right_and_are_wrong(tiny, kind, how):
    import numpy as np

    from djinnload.models import weights

    executor = KINDS[kind](SETTINGS)

    async def main() -> None:
        async with serving(SETTINGS, executor) as address:
            target, proof = await opened(address, tiny, register=how)
            assert proof.evidence["weights_sha256"].value == weights.sha256(tiny)
            last = None
            for step, fed in (("prefill", ids(1, 2, 3)), ("decode", ids(4))):
                last = await submitted(
                    target, a_call(tiny.name, fed, step=step, state="kv")
                )
                assert last.outcome is Outcome.OK, last.error
            assert last.metrics["reused_tokens"] == 3
            wanted = recomputed(tiny, 1, 2, 3, 4)[:, -1:]
            difference = np.abs(last.outputs["logits"].numpy() - wanted).max()
            assert difference > 0.1 * wanted.std()

    run(main)
