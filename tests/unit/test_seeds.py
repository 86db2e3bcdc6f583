"""Who draws numbers draws them from a stream of its own; the same in every process."""

import hashlib
import os
import subprocess
import sys

import pytest
from msgspec import structs

from djinnload.plan import Workshop, plan
from djinnload.scenarios.cells import cells
from djinnload.scenarios.load import loads
from djinnload.schedule import following, starts
from djinnload.testing import ScriptedTarget, one_request, simulate

S = 1_000_000_000

TEXT = """
[scenario]
name = "seeds"
seed = 5
repeats = 6
order = "shuffled"
warmup = "2s"
duration = "5s"

[[population]]
name = "open"
arrival = { process = "poisson", rate = "20/s" }
workload = { use = "echo" }

[[population]]
name = "streams"
users = 3
arrival = { process = "gamma", rate = "4/s", shape = 0.5, per = "user" }
workload = { use = "echo" }

[[population]]
name = "partly"
arrival = { process = "bursts", rate = "5/s", probability = 0.2, size = [2, 3] }
return_probability = 0.6
think = { distribution = "exponential", mean = "200ms" }
workload = { use = "echo" }

[[population]]
name = "closed"
users = 4
think = { distribution = "lognormal", mean = "300ms" }
workload = { use = "echo" }

[[arm]]
name = "a"
[[arm]]
name = "b"
set = { "target.server.policy" = "fcfs" }
"""
#: Of `consumers` for that text. A change breaks the comparison of runs with older ones.
PINNED = "a5ffea2077589b4dd42c1fa2bb5fdb197038ee5c8c2911fd5a106c55ef06cc47"


def consumers(text=TEXT, changes=None):
    """What each consumer of random numbers draws, by population where it is of one."""
    scenario = loads(text).replace(changes or {})
    order = cells(scenario)
    found = plan(next(c for c in order if c.id == "all/a/r02"), workshop=Workshop())
    names = [each.name for each in found.populations]
    schedule, drawn = found.schedule, {"order": [cell.id for cell in order]}
    for start in starts(schedule):
        drawn.setdefault(f"arrivals {names[start.population]}", []).append(
            start[:1] + start[3:]
        )
    for index, name in enumerate(names):
        drawn[f"pauses {name}"] = [
            following(schedule, index, user, session, done_ns=0)
            for user in range(8)
            for session in range(3)
        ]
        # Where a source stands is no part of what is drawn.
        drawn[f"pauses {name}"] = [
            each and (each.offset_ns, each.user) for each in drawn[f"pauses {name}"]
        ]
    drawn |= {f"inputs {name}": value for name, value in inputs(found).items()}
    return drawn


def inputs(found):
    """Numbers that the sessions of each population are given."""
    told = {}

    def said(name):
        def session(described):
            key = described.user, described.index
            told.setdefault(name, {})[key] = described.rng.random()
            return one_request(described)

        return session

    populations = tuple(
        structs.replace(each, session=said(each.name)) for each in found.populations
    )
    target = lambda clock: ScriptedTarget(clock, S // 50)  # noqa: E731
    simulate(populations, found.schedule, target, grace_ns=S)
    return told


def measured(drawn):
    """Arrivals of measure, and nothing else."""
    return {
        key: [start for start in value if start[0] >= 0]
        for key, value in drawn.items()
        if key.startswith("arrivals")
    }


def moved(changes, text=TEXT):
    """The consumers that draw something else than before."""
    before, after = consumers(), consumers(text, changes)
    return {key for key in before if before[key] != after.get(key)}


@pytest.mark.parametrize(
    ("changes", "which"),
    [
        ({"scenario.order": "given"}, {"order"}),
        ({"population.open.arrival.rate": "30/s"}, {"arrivals open", "inputs open"}),
        ({"population.streams.arrival.shape": 2}, {"arrivals streams", "inputs streams"}),
        ({"population.open.workload.requests": 3}, set()),
        ({"population.closed.think.sigma": 0.5}, {"pauses closed", "inputs closed"}),
        ({"population.partly.think.mean": "250ms"}, {"pauses partly", "inputs partly"}),
        ({"scenario.repeats": 7}, {"order"}),
    ],
)  # fmt: skip
def test_a_consumer_that_changes_moves_no_other(changes, which):
    """Inputs only by which sessions there are: those of both are equal."""
    assert moved(changes) == which
    before, after = consumers(), consumers(changes=changes)
    for key in which:
        if key.startswith("inputs"):
            both = before[key].keys() & after[key].keys()
            assert len(both) > 5
            assert {k: before[key][k] for k in both} == {k: after[key][k] for k in both}


def test_another_population_before_the_others_moves_none():
    """Names decide, not places."""
    head, mark, tail = TEXT.partition("[[population]]\n")
    first = '[[population]]\nname = "new"\nusers = 2\nworkload = { use = "echo" }\n\n'
    assert moved({}, head + first + mark + tail) == set()


def test_a_name_decides_what_is_drawn():
    text = TEXT.replace('name = "open"', 'name = "other"')
    before, after = consumers(), consumers(text)
    assert before["arrivals open"] != after["arrivals other"]


@pytest.mark.parametrize("warmup", ["0s", "1s", "3s"])
def test_warmup_moves_no_measured_arrival(warmup):
    changes = {"scenario.warmup": warmup}
    before, after = measured(consumers()), measured(consumers(changes=changes))
    # Closed users start with warm-up: the others' sessions are the schedule's.
    for drawn in (before, after):
        del drawn["arrivals closed"]
    assert before == after
    assert min(map(len, before.values())) > 10


def test_the_seed_moves_all_and_arms_share_it():
    changes = {"scenario.seed": 6}
    assert moved(changes) == set(consumers()) - {
        "pauses open",
        "pauses streams",
        "arrivals closed",
    }
    seeds = {}
    for cell in cells(loads(TEXT)):
        seeds.setdefault(cell.repeat, set()).add(cell.seed)
    assert {len(each) for each in seeds.values()} == {1}
    assert len(set.union(*seeds.values())) == 6


def digest():
    drawn = consumers()
    told = repr([(key, drawn[key]) for key in sorted(drawn)])
    return hashlib.sha256(told.encode()).hexdigest()


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_every_process_draws_the_same(hash_seed):
    """Whatever Python hashes text to."""
    done = subprocess.run(
        [sys.executable, __file__],
        capture_output=True,
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    assert done.stdout.decode().strip() == PINNED


if __name__ == "__main__":
    sys.stdout.write(digest())
