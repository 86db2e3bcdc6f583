"""Write a complete run directory without a server: `python tests/make_synthetic.py OUT`.

One simulated server, two arms (qos: strict priority, fcfs: one queue) × five repeats ×
three populations, fixed seeds; rows go through the real Recorder.
"""

import contextlib
import heapq
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import NamedTuple

from djinnload.models.replay import CheckRow
from djinnload.recording.recorder import Probes, Recorder, write_checks, write_json
from djinnload.sample import Header, Labels
from djinnload.summary.fold import fold_run

MS, SECOND = 1_000_000, 1_000_000_000
BEGIN = 1_000 * SECOND
WARMUP = SECOND
SECONDS = 20
WIRE_NS = 200_000
#: The population some of whose requests fail.
FAILING = 2


class Plan(NamedTuple):
    name: str
    qos_class: str
    priority: int
    rate: float | None  # sessions a second; None: closed
    users: int
    think_ns: int
    deadline_ns: int | None
    workload: str
    unit: str
    turns: list  # of lists of (step, units, mean service in ms)
    objectives: list


PLANS = (
    Plan("realtime", "realtime", 0, 40.0, 0, 0, 100 * MS, "echo", "requests",
         [[("request", 1, 4.0)]], ["p95(latency) <= 90ms", "miss_rate <= 10%"]),
    Plan("chat", "interactive", 1, 4.0, 0, 0, None, "llm", "tokens",
         [[("prefill", 1, 8.0)] + [("decode", 1, 2.0)] * 3] * 2,
         ["p95(ttft) <= 400ms"]),
    Plan("batch", "batch", 2, None, 4, 200 * MS, None, "echo", "images",
         [[("request", 8, 35.0)]], ["goodput >= 3/s"]),
)  # fmt: skip


class Simulation:
    """A single server without preemption; exact to the ns."""

    def __init__(self, arm, seed, record, seconds, slow=1.0):
        self.arm, self.record = arm, record
        self.seed, self.slow = seed, slow
        self.rng = Random(seed)
        self.arrivals = [Random(f"{seed}-{plan.name}") for plan in PLANS]
        self.end = BEGIN + int(seconds * SECOND)
        self.events, self.queue = [], []
        self.order = self.seq = 0
        self.busy = False
        self.sessions = [Counter(started=0, done=0, abandoned=0) for _ in PLANS]
        self.index = Counter()
        self.echo = {"policy": arm, "model": "synthetic"}

    def at(self, t, do, *args):
        self.order += 1
        heapq.heappush(self.events, (t, self.order, do, args))

    def run(self):
        for number, plan in enumerate(PLANS):
            if plan.rate is None:
                for user in range(plan.users):
                    self.at(BEGIN - WARMUP + user * MS, self.start, number, user)
            else:
                self.arm_next(number, BEGIN - WARMUP)
        while self.events:
            t, _, do, args = heapq.heappop(self.events)
            do(t, *args)

    def arm_next(self, number, t):
        due = t + int(self.arrivals[number].expovariate(PLANS[number].rate) * SECOND)
        if due < self.end:
            self.at(due, self.arrive, number)

    def arrive(self, t, number):
        self.start(t, number, -1)
        self.arm_next(number, t)

    def start(self, t, number, user):
        if t >= self.end:
            return
        plan, index = PLANS[number], self.index[number, user]
        self.index[number, user] += 1
        # A session's work depends on who it is, not on what else runs: as in both arms.
        rng = Random(f"{self.seed}-{plan.name}-{user}-{index}")
        # Half of it fixed, half exponential: G in M/G/1.
        steps = [
            (
                turn,
                step,
                units,
                int(self.slow * ms * MS * (0.5 + 0.5 * rng.expovariate(1))),
            )
            for turn, every in enumerate(plan.turns)
            for step, units, ms in every
        ]
        phase = "measure" if t >= BEGIN else "warmup"
        if phase == "measure":
            self.sessions[number]["started"] += 1
        self.submit(t, (number, user, index, phase), steps, 0)

    def submit(self, due, session, steps, at):
        self.seq += 1
        late = int(self.rng.expovariate(1 / 60_000))
        job = (session, steps, at, self.seq, due, due + late)
        priority = PLANS[session[0]].priority if self.arm == "qos" else 0
        self.at(due + late + WIRE_NS // 2, self.take, priority, job)

    def take(self, t, priority, job):
        heapq.heappush(self.queue, (priority, t, job))
        self.serve(t)

    def serve(self, t):
        if self.busy or not self.queue:
            return
        _, came, job = heapq.heappop(self.queue)
        took = job[1][job[2]][3]
        self.busy = True
        self.at(t + took, self.finish, job, t - came, took)

    def finish(self, t, job, queued, took):
        self.busy = False
        self.serve(t)
        session, steps, at, seq, due, sent = job
        number, user, index, phase = session
        turn, step, units, _ = steps[at]
        done = t + WIRE_NS // 2
        failed = number == FAILING and self.rng.random() < 0.003
        outcome = "error" if failed else "ok"
        over = outcome != "ok" or at == len(steps) - 1
        if phase == "measure" and due >= self.end:
            phase = "cooldown"
        self.record((
            number, user, index, over, turn, step, seq, phase, due, due, sent, None,
            done, outcome, "" if outcome == "ok" else "synthetic", units, 200 * units,
            1000 * units, {"queue_ns": queued, "exec_ns": took},
            PLANS[number].qos_class, self.echo if outcome == "ok" else {},
        ))  # fmt: skip
        if not over:
            self.submit(done, session, steps, at + 1)
            return
        self.sessions[number]["done"] += session[3] == "measure"
        if user >= 0:
            self.at(done + PLANS[number].think_ns, self.start, number, user)


def write_cell(
    directory, arm, repeat, *, seconds=SECONDS, baseline="fcfs", seed=100, slow=1.0
):
    """Write one cell; return its manifest."""
    directory = Path(directory)
    name = f"all/{arm}/r{repeat:02d}"
    labels = tuple(
        Labels(p.name, p.workload, p.qos_class, p.deadline_ns) for p in PLANS
    )
    seqs = []
    with Recorder(directory, Header(name, "all", arm, repeat, labels)) as recorder:

        def record(row):
            recorder.append(row)
            if row[7] == "measure" and row[13] == "ok" and row[6] % 20 == 0:
                seqs.append(row[6])

        # Arms share a repeat's seed, as they share its schedule.
        simulation = Simulation(arm, seed + repeat, record, seconds, slow)
        simulation.run()
    assert recorder.error is None
    write_checks(directory, 0, [CheckRow(s, f"{s:064x}", True, 1e-6, "") for s in seqs])
    write_probes(directory, repeat, simulation.end)
    manifest = cell_manifest(
        name, simulation, recorder, repeat=repeat, baseline=baseline
    )
    write_json(directory / "manifest.json", manifest)
    return manifest


def write_probes(directory, seed, end):
    rng, period = Random(seed), 5 * MS
    with Probes(directory) as probes:
        for t in range(BEGIN - WARMUP, end, period):
            lag = int(rng.expovariate(1 / 40_000))
            probes.append((t + lag, "generator", "", "loop_lag_ns", lag))
        for t in range(BEGIN, end + 1, SECOND):
            used = (t - BEGIN) * 0.12
            probes.append((t, "generator", "", "cpu_ns", used))
            probes.append((t, "generator", "", "polled_ns", 0))
            probes.append((t, "host", "", "cpu_share", rng.uniform(0.2, 0.3)))
            probes.append((t, "host", "", "load1", rng.uniform(0.5, 0.8)))
        probes.append((BEGIN + SECOND, "generator", "", "gc_pause_ns", 900_000))


def cell_manifest(name, simulation, recorder, *, repeat, baseline):
    arm = simulation.arm
    end = simulation.end
    populations = {
        p.name: {
            "loop": "open" if p.rate else "closed", "users": p.users or None,
            "think": p.think_ns > 0, "random": True, "qos_class": p.qos_class,
            "deadline_ns": p.deadline_ns, "timeout_ns": 10 * SECOND,
            "workload": p.workload, "unit": p.unit, "objectives": p.objectives,
            "offered_per_s": p.rate and p.rate * len(p.turns),
        }
        for p in PLANS
    }  # fmt: skip
    return {
        "schema": 1, "cell": name, "point": "all", "arm": arm, "repeat": repeat,
        "seed": simulation.seed, "complete": True, "interrupted": False,
        "judged": arm != baseline, "overload": "no", "precise": False,
        "streams": False, "provenance": "measured",
        "window": {"begin_ns": BEGIN, "end_ns": end, "warmup_ns": WARMUP,
                   "grace_ns": 2 * SECOND, "finished_ns": end + SECOND},
        "populations": populations,
        "sessions": {
            p.name: dict(s) for p, s in zip(PLANS, simulation.sessions, strict=True)
        },
        "in_system_at_end": 0, "dropped": 0, "polled_ns": 0,
        "proof": {
            "kind": "djinn", "address": "127.0.0.1:5556", "embedded": True,
            "evidence": {"policy": {"how": "launched", "value": arm}},
            "settings": {"policy": arm}, "echoes": recorder.echoes(),
            "registration": {"sent": 4096, "received": 128},
        },
        "server": {"nice": 19, "threads": 1, "shares_host": True}, "error": None,
    }  # fmt: skip


def write_run(out, *, repeats=5, seconds=SECONDS, fold=True, seed=100, slow=1.0):
    """Write a whole run directory; return its path."""
    out = Path(out)
    entries = []
    for repeat in range(repeats):
        for arm in ("qos", "fcfs"):
            path = f"cells/all/{arm}/r{repeat:02d}"
            write_cell(out / path, arm, repeat, seconds=seconds, seed=seed, slow=slow)
            entries.append(
                {"id": f"all/{arm}/r{repeat:02d}", "point": {"all": None}, "arm": arm,
                 "repeat": repeat, "path": path, "status": "done", "boot": 0}
            )  # fmt: skip
    order = [each["id"] for each in entries]
    write_json(out / "index.json", {"schema": 1, "order": order, "cells": entries})
    write_json(out / "manifest.json", root_manifest() | {"seed": seed})
    write_json(out / "calibration.json", calibration())
    if fold:
        fold_run(out)
    return out


def root_manifest():
    return {
        "schema": 1,
        "scenario": {"name": "synthetic", "text": "# synthetic\n", "sha256": "0" * 64,
                     "path": "synthetic.toml"},
        "argv": ["djinnload", "run", "synthetic"], "plan": {}, "seed": 100,
        "versions": {"djinnload": "0.1.0", "python": "3.11.0"},
        "host": {"name": "simulated", "cpu": "none", "cores": 2},
        "devices": None, "environment": {},
        "anchor": {"wall_ns": 1_767_225_600 * SECOND, "monotonic_ns": BEGIN,
                   "boottime_ns": BEGIN, "boot_id": "synthetic"},
        "arms": {"qos": {"judged": True}, "fcfs": {"judged": False}},
        "comparison": {"baseline": "fcfs", "differs": ["policy"],
                       "metrics": ["p95(latency)", "mean(latency)", "goodput"]},
        "accepted": [], "complete": True,
    }  # fmt: skip


def calibration():
    alone = {"realtime": 4.2, "chat": 28.8, "batch": 35.2}
    solo = {
        k: {"service_ms": v, "exec_ms": v - 0.2, "n": 200} for k, v in alone.items()
    }
    return {
        "schema": 1, "arm": "fcfs", "arm_named": "fcfs", "users": 8,
        "capacity_per_s": 70.0, "pinned": False,
        "blocks_per_s": [70.0, 71.0, 69.0, 70.5, 69.5], "spread": 0.03, "solo": solo,
        "end": {"capacity_per_s": 69.0, "blocks_per_s": [69.0] * 5, "drift": -0.014},
        "median_service_ms": 6.0,
    }  # fmt: skip


if __name__ == "__main__":
    with contextlib.suppress(IndexError):
        print(write_run(sys.argv[1]))  # noqa: T201
