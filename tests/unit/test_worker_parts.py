"""What workers and the run exchange, and what is added up of it."""

import json
import os
import sys
from types import SimpleNamespace

import anyio
import msgspec
import pytest

from djinnload import errors, shard
from djinnload.clock import monotonic_ns
from djinnload.engine import Tally
from djinnload.models.replay import Kept
from djinnload.recording import live
from djinnload.recording.live import Live
from djinnload.recording.recorder import read_samples
from djinnload.scenarios.load import loads
from djinnload.shard import Fault, Part, Shard
from djinnload.spi import Evidence, Outcome, Proof, Reply, Request
from djinnload.targets.null import Null
from djinnload.verify import Reservoir, hand_over, handed_over
from djinnload.workers import messages
from djinnload.workers.jobs import Job, Planner
from djinnload.workers.worker import Worker

SCENARIO = """
[scenario]
name = "planned"
duration = "1s"
repeats = 2

[target]
use = "null"

[[population]]
name = "chat"
arrival = { process = "poisson", rate = "0.5 of capacity" }
workload = { use = "echo" }

[[population]]
name = "rest"
users = 2
workload = { use = "echo" }

[[arm]]
name = "a"

[[arm]]
name = "b"
set = { "scenario.duration" = "2s" }
"""
PROOF = Proof("Djinn", {"policy": Evidence("echoed", "qos")}, {"sent": 7})
ENDED = Shard(
    worker=1,
    finished_ns=9,
    ended_ns=8,
    polled_ns=0,
    sessions={"chat": Tally(4, 3, 1, 0)},
    echoes=[{"n": 2, "value": {"policy": "qos"}}],
    alive=True,
    fault=Fault("HostError", ("no room",)),
)


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [7, 8, 10_000])
def test_what_is_divided_adds_up_to_the_whole(workers, n):
    parts = [Part(k, workers).of(n) for k in range(workers)]
    assert sum(parts) == n
    assert max(parts) - min(parts) <= 1
    assert min(parts) >= 1


@pytest.mark.parametrize(
    "report",
    [
        messages.Identity(1, (0, 1), "boot", "time:[1]"),
        messages.Opened(PROOF, streams=False),
        messages.Prepared(),
        messages.Count(3, {"chat": Live(5, 1, 0, 2.5, 1.5, None)}, alive=True),
        messages.Ended(ENDED),
        messages.Failed(Fault("PluginError", ("x", "y"))),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_report_survives_the_line_that_it_is(report):
    line = messages.encode(report)
    assert line.count(b"\n") == 1
    assert messages.decode_report(line) == report


def test_an_order_survives_too_and_the_scenario_with_its_changes():
    scenario = loads(SCENARIO).replace(
        {"scenario.seed": 9, "calibrate.capacity": "10/s"}
    )
    order = messages.Setup(
        text=scenario.text, path="", changes=dict(scenario.changes), arms=["b"],
        sys_path=["/x"], part=Part(1, 2), cores=None,
    )  # fmt: skip
    again = messages.decode_order(messages.encode(order))
    assert again == order
    assert again.scenario().document == scenario.document
    assert again.scenario().changes == scenario.changes


@pytest.mark.parametrize(
    "error",
    [
        errors.ScenarioError("$.a", "is wrong"),
        errors.PluginError("djinnload.workloads: x", "raised"),
        errors.ConnectFailed("nothing listens"),
        errors.HostError("no room"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_raised_again_as_it_was(error):
    fault = msgspec.json.decode(msgspec.json.encode(Fault.of(error)), type=Fault)
    assert type(fault.error()) is type(error)
    assert str(fault.error()) == str(error)


def test_run_and_worker_plan_the_same_without_sending_a_plan():
    scenario = loads(SCENARIO)
    ours, theirs = (Planner(scenario, None) for _ in range(2))
    assert list(ours.first) == ["a", "b"]
    jobs = [Job(k, 12.5) for k in range(4)]
    jobs += [
        Job(calibration=f"{w}-{k}") for w in ("start", "end") for k in ("mix", "solo")
    ]
    for job in jobs:
        one, other = ours.plan(job), theirs.plan(job)
        assert one.cell.id == other.cell.id
        assert one.schedule.seed == other.schedule.seed
        assert one.schedule.duration_ns == other.schedule.duration_ns
    assert len({(ours.plan(j).cell.id, ours.plan(j).schedule.seed) for j in jobs}) == 8
    # 0.5 of 12.5/s, in the plan of a cell; the phases of calibration have no rate.
    assert ours.plan(jobs[0]).paces["chat"].offered_per_s == pytest.approx(6.25)


def test_counts_of_workers_are_added_and_quantiles_weighed():
    one, other = Live(100, 1, 2, 10.0, 1.0, 4.0), Live(300, 0, 1, 30.0, 2.0, 8.0)
    both = live.merged([one, other])
    assert (both.n, both.errors, both.refused, both.rate_per_s) == (400, 1, 3, 40.0)
    assert (both.p50_ms, both.p99_ms) == (1.75, 7.0)
    assert live.merged([one, Live(5)]).p50_ms is None  # of five nobody knows
    assert live.merged([one, Live()]).p50_ms == 1.0
    assert live.merged([]) == Live()


def test_shards_are_added_up_and_written_before_anything_is_raised(tmp_path):
    plan = SimpleNamespace(
        populations=[SimpleNamespace(name="chat")], schedule=SimpleNamespace(sessions=0)
    )
    manifest = {"window": {"begin_ns": 0}, "proof": {"kind": "Djinn"}}
    other = msgspec.structs.replace(
        ENDED, worker=0, finished_ns=12, fault=None,
        echoes=[{"n": 3, "value": {"policy": "qos"}}, {"n": 1, "value": {"policy": "x"}}],
    )  # fmt: skip
    with pytest.raises(errors.HostError, match="no room"):
        shard.conclude(plan, tmp_path, manifest, [other, ENDED], interrupted=False)
    found = json.loads((tmp_path / "manifest.json").read_text())
    assert found["sessions"]["chat"] == {
        "started": 8, "done": 6, "abandoned": 2, "dropped": 0,
    }  # fmt: skip
    assert found["window"]["finished_ns"] == 12
    assert found["proof"]["echoes"] == [
        {"n": 5, "value": {"policy": "qos"}},
        {"n": 1, "value": {"policy": "x"}},
    ]
    assert (found["complete"], found["error"]) == (False, "no room")


def kept(user, index, seq):
    return Kept(
        population="chat", user=user, index=index, seq=seq, model="echo", step="request",
        turn=0, units=1.0, state=None, last=True, verify=True, needs=(), inputs=(),
        outputs=(),
    )  # fmt: skip


@pytest.mark.parametrize(("share", "at_least"), [(0.0, 20), (0.1, 0), (0.05, 40)])
def test_workers_have_the_sessions_checked_that_one_alone_would(
    tmp_path, share, at_least
):
    every = [(-1, index) for index in range(500)]
    one = Reservoir(7, share, at_least)
    alone = one.among(("chat", *each) for each in every)
    assert len(alone) >= max(at_least, 20)
    for worker in range(3):
        # Each keeps its own smallest; no more than these are handed over.
        mine = Reservoir(7, share, at_least).among(
            ("chat", *each) for each in every[worker::3]
        )
        rows = [kept(user, index, index // 3) for _, user, index in sorted(mine)]
        hand_over(tmp_path, worker, rows)
    found = handed_over(tmp_path, one)
    assert {each.session for rows in found.values() for each in rows} == alone
    for worker, rows in found.items():
        assert {each.index % 3 for each in rows} <= {worker}
    assert not list(tmp_path.rglob("*.kept"))


@pytest.mark.parametrize(("share", "at_least"), [(0.02, 15), (0.1, 0), (0.1, 15)])
def test_the_choice_over_all_is_the_one_that_a_reservoir_makes(share, at_least):
    one = Reservoir(3, share, at_least)
    for index in range(300):
        if one.wants("chat", -1, index):
            one.add("chat", -1, index, index, Request("echo", {}), Reply(Outcome.OK))
    every = [("chat", -1, index) for index in range(300)]
    assert one.among(every) == {each.session for each in one.kept}


def reports_of(monkeypatch, *orders):
    """What a worker says to *orders*, in this process; and when its target closed."""
    said = []

    async def closes(self):
        said.append("closed")

    async def inside():
        send, receive = anyio.create_memory_object_stream(len(orders))
        for order in orders:
            send.send_nowait(order)
        send.close()
        await Worker(receive, said.append, anyio.Event()).work()

    monkeypatch.setattr(Null, "aclose", closes)
    anyio.run(inside)
    return said


def setup():
    return messages.Setup(
        text=SCENARIO, path="", changes={"calibrate.capacity": "10/s"}, arms=["a"],
        sys_path=sys.path, part=Part(0, 2), cores=None,
    )  # fmt: skip


OPEN = messages.Open("b0", "a", "", "weights")


@pytest.mark.parametrize("told", [True, False])
def test_a_worker_closes_its_target_when_told_or_at_the_end(monkeypatch, told):
    orders = [setup(), OPEN, *[messages.Close("b0")] * told]
    identity, opened, *rest = reports_of(monkeypatch, *orders)
    assert identity.pid == os.getpid()
    assert opened.proof.kind == "null target in this process"
    assert rest == (["closed", messages.Closed()] if told else ["closed"])


def test_a_begin_that_is_past_is_an_error_and_no_silent_shift(monkeypatch, tmp_path):
    prepare = messages.Prepare(Job(), "b0", str(tmp_path), "x", 0)
    # The scenario warms up for a second, so all of this begin's is past.
    begin = messages.Begin(monotonic_ns() + 500_000_000)
    *_, failed, closed = reports_of(monkeypatch, setup(), OPEN, prepare, begin)
    assert closed == "closed"
    with pytest.raises(
        errors.HostError, match=r"0 was ready .* after the agreed start"
    ):
        raise failed.fault.error()
    assert read_samples(tmp_path).num_rows == 0


def test_an_order_that_cannot_be_carried_out_is_told(monkeypatch):
    wrong = msgspec.structs.replace(setup(), arms=["nobody"])
    (failed,) = reports_of(monkeypatch, wrong)
    assert failed.fault.kind == "ScenarioError"
    assert "no arm named 'nobody'" in str(failed.fault.error())
    _, broken = reports_of(monkeypatch, setup(), messages.Close("b7"))
    assert "worker 0 failed, KeyError" in str(broken.fault.error())
