"""Runs over policies in simulated time: the reference server's own admission, its slots
and queues, behind the real engine; rows go through the real recorder, and are folded.
"""

from random import Random

from djinnload.recording.recorder import Recorder, write_json
from djinnload.sample import Header, Labels
from djinnload.schedule import Population
from djinnload.server.admission import Admission
from djinnload.server.settings import Settings
from djinnload.spi import Outcome, Reply
from djinnload.summary.fold import fold_run
from djinnload.testing import one_request, open_loop, poisson, simulate

MS = 1_000_000
S = 1_000 * MS
SLOTS = 2
SERVICE_MS = 10.0
CAPACITY = SLOTS * 1000 / SERVICE_MS
SHARES = {"realtime": 0.1, "interactive": 0.7, "batch": 0.2}
#: Parts of the load.
MIX = {"realtime": 0.2, "interactive": 0.3, "batch": 0.5}
DEADLINES = {"realtime": 50 * MS, "interactive": 250 * MS, "batch": None}


class PolicyTarget:
    """Two slots that work half of 10 ms and half of it again on average on each call.

    Without a policy each call is taken at once, and waits for a slot while it is
    served, as Djinn without QoS has it: its wait is told as 0.
    """

    streams = False

    def __init__(self, clock, policy, seed):
        self.clock, self.policy, self.seed = clock, policy, seed
        self.free = [0] * SLOTS
        self.admission = Admission(
            Settings(
                policy=policy,
                slots=SLOTS,
                shares=tuple(SHARES.items()),
                escalation_delay_ns=300 * MS,
                admission_limit=100_000,
            )
        )

    def submit(self, call, on_reply):
        # A call's work follows from whose it is: the same in every arm.
        rng = Random(f"{self.seed}/{call.population}/{call.session_id}")
        work = int(SERVICE_MS * MS * (0.5 + 0.5 * rng.expovariate(1)))
        said = self.admission.offer(
            (call, on_reply, work), call.qos_class, self.clock.now()
        )
        assert said is None
        self.start()
        return lambda: None

    def end_session(self, session_id):
        pass

    def start(self):
        now = self.clock.now()
        while (ticket := self.admission.start_next(now)) is not None:
            done = now + ticket.item[2]
            if self.policy == "none":
                slot = min(range(SLOTS), key=self.free.__getitem__)
                done = self.free[slot] = max(now, self.free[slot]) + ticket.item[2]
            self.clock.at(done, lambda ticket=ticket: self.finish(ticket))

    def finish(self, ticket):
        _, on_reply, _ = ticket.item
        now = self.clock.now()
        self.admission.finish(ticket)
        metrics = {
            "queue_ns": ticket.started_ns - ticket.arrived_ns,
            "exec_ns": now - ticket.started_ns,
        }
        echo = {"policy": self.policy}
        on_reply(
            Reply(Outcome.OK, metrics=metrics, qos_class=ticket.qos_class, echo=echo)
        )
        self.start()


def run(out, loads=(1.1,), *, arms=("qos", "fcfs"), repeats=5, seconds=10):
    """Write a run of *arms* at *loads* × capacity; return its folded summary."""
    points = {f"load={load:g}": (load, MIX) for load in loads}
    sweeps = {
        "paths": {"load": "scenario.load"},
        "points": {
            f"load={load:g}": {"load": {"label": f"{load:g}", "value": load}}
            for load in loads
        },
    }
    comparison = {
        "baseline": "fcfs",
        "differs": ["policy"],
        "metrics": ["p95(latency)", "miss_rate"],
    }
    root = {"sweeps": sweeps, "comparison": comparison}
    return _written(out, points, root, arms=arms, repeats=repeats, seconds=seconds)


def company(out, present, *, arms=("qos", "fcfs"), repeats=5, seconds=10, load=0.9):
    """Write a run with a point for each set of populations *present* (by point)."""
    points = {
        point: (load, {name: MIX[name] for name in names})
        for point, names in present.items()
    }
    return _written(out, points, {}, arms=arms, repeats=repeats, seconds=seconds)


def _written(out, points, root, *, arms, repeats, seconds):
    entries = [
        write_cell(out, (point, arm, repeat), load, seconds, mix)
        for point, (load, mix) in points.items()
        for repeat in range(repeats)
        for arm in arms
    ]
    write_json(out / "index.json", {
        "schema": 1, "order": [each["id"] for each in entries], "cells": entries,
    })  # fmt: skip
    write_json(out / "manifest.json", {
        "schema": 1, "complete": True, "accepted": [], "scenario": {"name": "policies"},
        "arms": {arm: {"judged": True} for arm in arms},
        "plan": {"scenario": {"experiment": "4.2"}, "arm": [{"name": n} for n in arms]},
    } | root)  # fmt: skip
    solo = {"service_ms": SERVICE_MS, "exec_ms": SERVICE_MS, "n": 100}
    write_json(out / "calibration.json", {
        "schema": 1, "capacity_per_s": CAPACITY, "blocks_per_s": [CAPACITY] * 5,
        "pinned": False, "spread": 0.01, "solo": dict.fromkeys(MIX, solo),
        "end": {"drift": 0.0},
    })  # fmt: skip
    return fold_run(out)


def write_cell(out, where, load, seconds, mix):
    point, arm, repeat = where
    seed = f"{point}/{repeat}"
    schedule = open_loop(
        *(poisson(part * load * CAPACITY) for part in mix.values()),
        duration_ns=seconds * S,
        seed=Random(seed).getrandbits(32),
    )
    made = tuple(
        Population(name, one_request, "test: one", name, DEADLINES[name])
        for name in mix
    )
    found = simulate(
        made, schedule, lambda clock: PolicyTarget(clock, arm, seed), grace_ns=100 * S
    )
    assert found.engine.error is None
    labels = tuple(Labels(n, "test", n, DEADLINES[n]) for n in mix)
    name = f"{point}/{arm}/r{repeat:02d}"
    directory = out / "cells" / name
    with Recorder(directory, Header(name, point, arm, repeat, labels)) as recorder:
        for row in found.raw:
            recorder.append(row)
    assert recorder.error is None
    populations = {
        each.name: {"loop": "open", "random": True, "qos_class": each.qos_class,
                    "deadline_ns": each.deadline_ns, "unit": "requests",
                    "objectives": []}
        for each in made
    }  # fmt: skip
    settings = {"policy": arm, "shares": SHARES}
    write_json(directory / "manifest.json", {
        "schema": 1, "complete": True, "point": point, "arm": arm, "repeat": repeat,
        "overload": "expected", "provenance": "measured", "populations": populations,
        "window": {"begin_ns": 0, "end_ns": seconds * S},
        "proof": {"kind": "simulated", "settings": settings, "echoes": recorder.echoes(),
                  "evidence": {"policy": {"how": "echoed", "value": arm}}},
    })  # fmt: skip
    return {"id": name, "point": point, "arm": arm, "repeat": repeat,
            "path": f"cells/{name}", "status": "done", "boot": "b0"}  # fmt: skip
