"""The same model in a child process: right answers, true times, no byte, no orphan."""

import asyncio

import anyio
import numpy as np
import pytest
from msgspec.structs import replace

from djinnload.clock import monotonic_ns
from djinnload.errors import Refused
from djinnload.spi import Outcome, TargetPlan
from djinnload.targets.adapt import as_callback
from djinnload.targets.local import Local, LocalOptions
from server_kit import RealClock, a_call, ids, recomputed, run, submitted

pytestmark = pytest.mark.models


async def opened(*models, **options):
    target = Local(LocalOptions(**options))
    proof = await target.open(TargetPlan("", models), RealClock())
    return target, as_callback(target), proof


def test_a_session_is_answered_as_by_one_forward(tiny):
    tokens = (3, 1, 4, 1, 5)

    async def main() -> None:
        local, target, proof = await opened(tiny, threads=1)
        assert "1 threads" in proof.kind
        assert proof.evidence["state"].value == "session"
        wanted = recomputed(tiny, *tokens)[0]
        for end in range(3, 6):
            fed = tokens[:3] if end == 3 else tokens[end - 1 : end]
            before = monotonic_ns()
            reply = await submitted(
                target,
                a_call(
                    tiny.name,
                    ids(*fed),
                    step="prefill" if end == 3 else "decode",
                    state="kv",
                    needs=("logits[-1]",),
                    last=end == 5,
                ),
            )
            assert reply.outcome is Outcome.OK, reply.error
            logits = reply.outputs["logits"].numpy()
            assert logits.shape == (1, 1, 512)
            assert np.abs(logits[0, 0] - wanted[end - 1]).max() < 1e-4
            assert reply.metrics["reused_tokens"] == (0 if end == 3 else end - 1)
            assert 0 < reply.metrics["exec_ns"] < monotonic_ns() - before
            assert (reply.bytes_sent, reply.bytes_received) == (0, 0)
        # The last one has ended the session, and a failure is an answer.
        late = a_call(tiny.name, ids(1), step="decode", state="kv")
        assert (await submitted(target, late)).outcome is Outcome.ERROR
        whole = await submitted(target, a_call(tiny.name, ids(*tokens)))
        assert np.abs(whole.outputs["logits"].numpy()[0] - wanted).max() < 1e-4
        await target.aclose()
        assert local.lost()

    run(main)


def test_a_child_that_ends_is_told_and_a_cancelled_call_is_not_waited_for(tiny):
    async def main() -> None:
        local, target, _ = await opened(tiny)
        call = a_call(tiny.name, ids(1, 2, 3))
        target.submit(call, lambda _: pytest.fail("cancelled"))()
        many = [submitted(target, call) for _ in range(3)]
        assert {reply.outcome for reply in await asyncio.gather(*many)} == {Outcome.OK}
        local._child.kill()
        reply = await submitted(target, call)
        assert reply.outcome is Outcome.ERROR
        await target.aclose()

    run(main)


def test_an_opening_that_is_cancelled_leaves_no_child(tiny):
    local = Local(LocalOptions())

    async def main() -> None:
        with anyio.move_on_after(0.5) as scope:
            await local.open(TargetPlan("", (tiny,)), RealClock())
            await anyio.sleep_forever()  # a host on which torch comes in no time
        assert scope.cancelled_caught
        await local._child.wait()
        assert local.lost()

    run(main)


def test_a_model_that_cannot_be_had_is_refused(tiny):
    wrong = replace(tiny, config={**tiny.config, "n_head": 7})

    async def main() -> None:
        with pytest.raises(Refused, match="cannot be built"):
            await opened(wrong)

    run(main)
