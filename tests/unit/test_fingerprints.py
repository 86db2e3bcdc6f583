"""What the first sessions ask, hashed: of the seed and the inputs, of nothing else."""

from msgspec import structs

from djinnload import fingerprints
from djinnload.plan import Workshop, plan
from djinnload.scenarios.cells import cells
from djinnload.scenarios.load import loads
from djinnload.spi import Request, Tensor
from djinnload.testing import ScriptedTarget, closed, open_loop, poisson, population
from djinnload.testing import simulate as simulated
from djinnload.units import SECOND


def drawing(session):
    """As long as it draws, with bytes that it draws."""
    for _ in range(session.rng.randrange(1, 4)):
        data = session.rng.randbytes(8)
        yield Request("m", {"x": Tensor("x", (8,), "uint8", data)})


def asked(schedule, *populations):
    return fingerprints.inputs(schedule, populations)


def test_they_are_what_the_engine_sends():
    schedule = open_loop(poisson(50.0), duration_ns=SECOND, warmup_ns=SECOND)
    people = population("chat", drawing)
    calls = {}

    class Watching(ScriptedTarget):
        def submit(self, call, on_reply):
            calls.setdefault(call.session_id, []).append(call.request)
            return super().submit(call, on_reply)

    simulated((people,), schedule, lambda clock: Watching(clock, 1000), grace_ns=SECOND)
    first = [calls[f"sim-chat--1-{i}"] for i in range(32)]
    found = asked(schedule, people)["chat"]
    assert found["sessions"] == 32
    assert found["requests"] == sum(map(len, first))
    assert found["bytes"] == 8 * found["requests"]
    lines = "".join(
        f"-1/{i}/{fingerprints.fingerprint(each)}\n" for i, each in enumerate(first)
    )
    assert found["sha256"] == fingerprints.hashlib.sha256(lines.encode()).hexdigest()


def test_they_follow_the_seed_and_not_the_warm_up():
    schedule = open_loop(poisson(50.0), duration_ns=SECOND)
    people = population("chat", drawing)
    assert asked(schedule, people) == asked(
        structs.replace(schedule, warmup_ns=SECOND), people
    )
    other = asked(structs.replace(schedule, seed=2), people)
    assert other["chat"]["sha256"] != asked(schedule, people)["chat"]["sha256"]


def test_each_user_of_a_closed_population_counts_once():
    found = asked(closed(5, duration_ns=SECOND), population("chat", drawing))["chat"]
    assert found["sessions"] == 5


def test_a_session_that_breaks_or_never_ends_does_not_stop_it():
    def needing(_):
        reply = yield Request("m", {})
        yield Request("m", {"x": reply.outputs["logits"]})

    def endless(_):
        while True:
            yield Request("m", {})

    def wrong(_):
        yield "no request"

    schedule = closed(1, duration_ns=SECOND)
    for session, requests in ((needing, 1), (endless, 64), (wrong, 0)):
        assert asked(schedule, population("a", session))["a"]["requests"] == requests


def test_a_population_that_nobody_comes_of_is_empty():
    found = asked(
        open_loop(poisson(1e-6), duration_ns=SECOND), population("chat", drawing)
    )
    assert found["chat"]["sessions"] == 0


def test_every_arm_of_a_plan_asks_the_same():
    scenario = loads(
        """
        [scenario]
        name = "s"
        duration = "1s"
        [[population]]
        name = "a"
        arrival = { process = "poisson", rate = "40/s" }
        workload = { use = "echo" }
        [[arm]]
        name = "x"
        [[arm]]
        name = "y"
        set = { "target.server.policy" = "fcfs" }
        """
    )
    workshop = Workshop()
    plans = [plan(cell, workshop=workshop) for cell in cells(scenario)]
    one, two = (asked(each.schedule, *each.populations) for each in plans)
    assert one == two
    assert one["a"]["sessions"] == 32
