"""A cell becomes a plan: every name resolved, every error placed."""

import sys
from importlib import metadata
from random import Random
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import msgspec
import pytest
from msgspec import Struct, structs

from djinnload import registry
from djinnload.describe import describe
from djinnload.errors import PluginError, ScenarioError, UnknownName
from djinnload.plan import Workshop, plan
from djinnload.scenarios.cells import cells
from djinnload.scenarios.load import load, loads
from djinnload.scenarios.thinking import pause
from djinnload.scenarios.users import FOREVER
from djinnload.schedule import Closed, Open
from djinnload.spi import Request, Tensor
from djinnload.units import Duration, Hz

MS, SECOND = 1_000_000, 1_000_000_000

BASE = """
[scenario]
name = "s"
seed = 3
repeats = 2
warmup = "1s"
duration = "10s"
grace = "4s"
max_in_flight = 50
load = 2.0

[[population]]
name = "rt"
qos_class = "realtime"
deadline = "50ms"
timeout = "5s"
arrival = { process = "poisson", rate = "20/s" }
workload = { use = "talk", words = 3, model = "gpt2-tiny" }
objectives = ["p95(latency) <= 80ms", "miss_rate <= 10%"]

[[population]]
name = "many"
users = 4
arrival = { process = "constant", rate = "3/s", per = "user" }
workload = { use = "talk", words = 3, model = "gpt2-tiny" }

[[population]]
name = "closed"
users = 2
retry = "200ms"
think = { distribution = "exponential", mean = "1s" }
workload = { use = "talk", words = 4 }

[[arm]]
name = "a"
[[arm]]
name = "b"
set = { "population.closed.users" = 5 }
"""


class TalkOptions(Struct, frozen=True):
    words: int = 1
    model: str = ""
    pace: Duration = Duration(0)
    mood: str = ""


class Talk:
    Options = TalkOptions
    unit = "words"
    built: ClassVar[list[int]] = []

    def __init__(self, options, assets):
        if options.mood == "bad":
            raise RuntimeError("bad mood")
        if options.mood == "odd":
            raise ScenarioError("mood", "odd is no mood")
        if options.model:
            assets.model(options.model)
        self.options = options
        self.built.append(assets.seed)

    def session(self, session):
        data = Tensor("x", (2,), "int64", bytes(16))
        for turn in range(self.options.words):
            reply = yield Request("m", {"x": data}, turn=turn)
            if self.options.mood == "reads":
                reply.outputs["logits"]


class PacerOptions(Struct, frozen=True, kw_only=True):
    rate: Hz


class Pacer:
    Options = PacerOptions

    def __init__(self, options):
        self.rate = options.rate

    def offsets(self, rng):
        return iter(())

    def expected(self, seconds):
        return self.rate * seconds


class Server:
    Options = type("Nothing", (Struct,), {})
    streams = False

    async def open(self, plan, clock): ...

    async def aclose(self): ...

    async def exchange(self, call): ...


@pytest.fixture(autouse=True)
def plugins(monkeypatch):
    """Make the plugins of this file the only ones, next to what ships."""
    module = ModuleType("plan_fakes")
    for each in (Talk, Pacer, Server):
        setattr(module, each.__name__, each)
    monkeypatch.setitem(sys.modules, "plan_fakes", module)
    monkeypatch.setattr(Talk, "built", [])
    mine = {
        registry.WORKLOADS: {
            "talk": "plan_fakes:Talk",
            "llm": "djinnload.workloads.llm:Llm",
        },
        registry.ARRIVALS: {
            "poisson": "plan_fakes:Pacer",
            "constant": "plan_fakes:Pacer",
        },
        registry.TARGETS: {"djinn": "plan_fakes:Server"},
    }
    package = SimpleNamespace(name="fakes", version="1")
    points = {
        group: [
            SimpleNamespace(name=n, value=v, dist=package) for n, v in found.items()
        ]
        for group, found in mine.items()
    }
    monkeypatch.setattr(metadata, "entry_points", lambda *, group: points[group])
    registry._class.cache_clear()
    yield
    registry._class.cache_clear()


def planned(changes=None, arm="a", workshop=None):
    loaded = loads(BASE).replace(changes or {})
    found = next(cell for cell in cells(loaded) if cell.arm == arm)
    return plan(found, workshop=workshop or Workshop())


def test_populations_and_sources():
    found = planned()
    rt, many, closed = found.populations
    assert (rt.name, rt.plugin, rt.qos_class) == (
        "rt",
        "djinnload.workloads: talk",
        "realtime",
    )
    assert (rt.deadline_ns, rt.timeout_ns) == (50 * MS, 5 * SECOND)
    assert (closed.deadline_ns, closed.retry_ns) == (None, 200 * MS)
    assert (closed.timeout_ns, many.qos_class) == (60 * SECOND, "interactive")
    one, streams, loop = found.schedule.sources
    assert isinstance(one, Open)
    assert (one.population, one.users, one.arrival.rate) == (0, 0, 20.0)
    assert isinstance(streams, Open)
    assert (streams.population, streams.users, streams.arrival.rate) == (1, 4, 3.0)
    assert isinstance(loop, Closed)
    assert (loop.users, loop.mix) == (2, ((2, 1.0),))
    assert loop.think is not None


def test_users_over_time_and_users_who_come_back():
    """Each becomes a source, and tells manifest and rules what it is."""
    found = planned(
        {
            "population.closed.users": {"start": 1, "end": 64, "over": "6s"},
            "population.closed.stagger": "2s",
            "population.rt.return_probability": "75%",
            "population.rt.think": {"distribution": "constant", "mean": "3ms"},
        },
    )
    partly, _, crowd = found.schedule.sources
    assert (partly.returning, partly.name, partly.think(None)) == (0.75, "rt", 3 * MS)
    assert (crowd.users, crowd.stagger_ns, crowd.name) == (64, 2 * SECOND, "closed")
    assert crowd.levels == (
        (0, 6 * SECOND, 1, 64),
        (6 * SECOND, FOREVER, 64, 64),
    )
    paces = found.paces
    assert [pace.loop for pace in paces.values()] == ["partly-open", "open", "closed"]
    # 20 users a second, of 4 sessions each.
    assert (paces["rt"].offered_per_s, paces["rt"].return_probability) == (80, 0.75)
    assert (paces["closed"].users, paces["closed"].varies) == (64, True)
    assert (paces["many"].users, paces["many"].varies) == (4, False)


def test_stages_of_users():
    stages = [{"users": 3, "time": "2s"}, {"users": 9, "time": "1s"}]
    (*_, crowd) = planned({"population.closed.users": stages}).schedule.sources
    assert crowd.users == 9
    assert crowd.levels == ((0, 2 * SECOND, 3, 3), (2 * SECOND, 3 * SECOND, 9, 9))


def test_times_and_limits():
    found = planned()
    assert (found.schedule.warmup_ns, found.schedule.duration_ns) == (
        SECOND,
        10 * SECOND,
    )
    assert found.schedule.seed == found.cell.seed
    assert (found.grace_ns, found.max_in_flight) == (4 * SECOND, 50)
    assert found.target is Server
    assert isinstance(found.target_options, Server.Options)


def test_labels_and_paces():
    found = planned()
    assert [label.name for label in found.labels] == ["rt", "many", "closed"]
    assert (found.labels[0].workload, found.labels[0].deadline_ns) == ("talk", 50 * MS)
    rt, many, closed = (found.paces[n] for n in ("rt", "many", "closed"))
    assert (rt.loop, rt.users, rt.random, rt.offered_per_s, rt.unit) == (
        "open",
        None,
        True,
        20,
        "words",
    )
    assert (many.users, many.random, many.offered_per_s) == (4, False, 12)
    assert (closed.loop, closed.users, closed.think, closed.offered_per_s) == (
        "closed",
        2,
        True,
        None,
    )


def test_an_arm_is_planned_as_it_runs():
    assert planned(arm="b").schedule.sources[2].users == 5


def test_objectives_are_parsed():
    found = planned()
    assert [o.text for o in found.objectives["rt"]] == [
        "p95(latency) <= 80ms",
        "miss_rate <= 10%",
    ]
    assert found.objectives["closed"] == ()


def test_each_distinct_workload_is_built_once_a_run():
    workshop = Workshop()
    loaded = loads(BASE)
    plans = [plan(cell, workshop=workshop) for cell in cells(loaded)]
    assert len(plans) == 4
    assert Talk.built == [3, 3], "rt and many share one, closed has its own"
    sessions = {p.populations[0].session.__self__ for p in plans}
    assert len(sessions) == 1
    assert plans[0].populations[1].session.__self__ in sessions
    assert [(m.name, m.seed) for m in workshop.models] == [("gpt2-tiny", 3)]


def test_recipes_build_the_workload_again():
    recipe = planned({"population.rt.workload.pace": "10ms"}).recipes["rt"]
    assert (recipe.entry, recipe.seed) == ("plan_fakes:Talk", 3)
    assert recipe.options["words"] == 3
    msgspec.json.encode(recipe)  # it travels to another process


TALK = {"use": "talk"}


@pytest.mark.parametrize(
    ("changes", "path", "reason"),
    [
        ({"population.rt.workload.use": "tlak"}, "$.population[0] (rt).workload.use", "did you mean 'talk'?"),
        ({"population.rt.workload.wrds": 2}, "$.population[0] (rt).workload.wrds", "did you mean 'words'?"),
        ({"population.rt.workload.words": "x"}, "$.population[0] (rt).workload.words", "must be a whole number"),
        ({"population.rt.workload.pace": 3}, "$.population[0] (rt).workload.pace", "write it like 10ms"),
        ({"population.rt.workload.model": "gpt2-tny"}, "$.population[0] (rt).workload.", "did you mean 'gpt2-tiny'?"),
        ({"population.closed.workload.mood": "odd"}, "$.population[2] (closed).workload.mood", "odd is no mood"),
        ({"population.rt.arrival.process": "poison"}, "$.population[0] (rt).arrival.process", "did you mean 'poisson'?"),
        ({"population.rt.arrival.shape": 2}, "$.population[0] (rt).arrival.shape", "unknown key"),
        ({"population.rt.arrival": {"process": "poisson"}}, "$.population[0] (rt).arrival.rate", "is missing"),
        ({"population.rt.arrival.rate": "0.2 of capacity"}, "$.population[0] (rt).arrival", "calibrate first"),
        ({"target.use": "djin"}, "$.target.use", "did you mean 'djinn'?"),
        ({"target.options.x": 1}, "$.target.options.x", "unknown key"),
        ({"population.rt.objectives": ["p95(latency) < 80ms"]}, "$.population[0] (rt).objectives[0]", "needs <= or >="),
        ({"population.rt.objectives": ["miss_rate <= 1%", "p95(latncy) <= 8ms"]}, "$.population[0] (rt).objectives[1]", "did you mean 'latency'?"),
        ({"population.rt.objectives": ["p95(latency) <= 5s"]}, "$.population[0] (rt).objectives[0]", "not below timeout (5s)"),
        ({"population.rt.objectives": ["gpu_util >= 80%"]}, "$.population[0] (rt).objectives[0]", "say it in scenario.objectives"),
        ({"scenario.objectives": ["gpu_util >= 80%"]}, "$.scenario.objectives[0]", "give probes = { nvml"),
        ({"scenario.objectives": ["p95(latency) <= 1s"]}, "$.scenario.objectives[0]", "is of turns"),
        ({"scenario.objectives": ["gpu_utl >= 80%"]}, "$.scenario.objectives[0]", "did you mean"),
        ({"scenario.objectives": ["miss_rate <= 80%"], "probes.nvml": "50ms"}, "$.scenario.objectives[0]", "is of turns"),
        ({"comparison": {"baseline": "a", "metrics": ["p95(latncy)"]}}, "$.comparison.metrics[0]", "did you mean 'latency'?"),
    ],
)  # fmt: skip
def test_wrong(changes, path, reason):
    with pytest.raises(ScenarioError) as caught:
        planned(changes)
    assert caught.value.path.startswith(path)
    assert path.endswith(".") or caught.value.path == path
    assert reason in caught.value.reason


def test_an_objective_may_wait_longer_than_one_request():
    planned(
        {
            "population.rt.objectives": [
                "p95(session) <= 20s",
                "mean(latency) >= 9s",
                "in_system <= 9",
            ]
        }
    )


def test_a_plugin_that_breaks():
    with pytest.raises(PluginError) as caught:
        planned({"population.closed.workload.mood": "bad"})
    assert caught.value.plugin == "djinnload.workloads: talk"
    assert "RuntimeError: bad mood" in caught.value.reason


def test_an_arrival_process_that_breaks(monkeypatch):
    monkeypatch.setattr(Pacer, "expected", lambda self, seconds: 1 / 0)
    with pytest.raises(PluginError) as caught:
        planned()
    assert caught.value.plugin == "djinnload.arrivals: poisson"
    assert "expected() raised ZeroDivisionError" in caught.value.reason


def test_an_unknown_workload_is_an_unknown_name():
    with pytest.raises(UnknownName):
        planned({"population.rt.workload.use": "tlak"})


def draws(table, n=4000):
    text = BASE.replace('{ distribution = "exponential", mean = "1s" }', table)
    draw = pause(loads(text).populations[2].think)
    rng, again = Random(5), Random(5)
    found = [draw(rng) for _ in range(n)]
    assert found == [draw(again) for _ in range(n)], "a pure function of the rng"
    assert all(type(value) is int and value >= 0 for value in found)
    return found


def test_think_constant():
    assert set(draws('{ distribution = "constant", mean = "20ms" }')) == {20 * MS}


def test_think_exponential():
    found = draws('{ distribution = "exponential", mean = "20ms" }')
    assert sum(found) / len(found) == pytest.approx(20 * MS, rel=0.08)


def test_think_uniform():
    found = draws('{ distribution = "uniform", low = "10ms", high = "30ms" }')
    assert 10 * MS <= min(found) < 10.1 * MS
    assert 29.9 * MS < max(found) <= 30 * MS


def test_think_lognormal():
    found = sorted(draws('{ distribution = "lognormal", mean = "20ms", sigma = 0.5 }'))
    assert sum(found) / len(found) == pytest.approx(20 * MS, rel=0.05)
    assert found[len(found) // 2] == pytest.approx(
        20 * MS * 2.718281828**-0.125, rel=0.05
    )


def test_describe():
    found = describe(loads(BASE))
    assert found.cells == ("all/a/r00", "all/b/r00", "all/b/r01", "all/a/r01")
    assert (found.seconds, found.grace_s, found.calibrated) == (44.0, 16.0, False)
    rt, many, closed = found.populations["a"]
    assert (rt.rate, rt.sessions, rt.requests, rt.nbytes) == ("20/s", 200.0, 3, 48)
    assert (many.sessions, many.users) == (120.0, 4)
    assert (closed.loop, closed.sessions, closed.rate) == ("closed", None, "")
    assert found.populations["b"][2].users == 5
    assert [each.load for each in found.populations["b"]] == [
        "20/s",
        "3/s each of 4 users",
        "5 users, closed loop",
    ]
    assert [model.name for model in found.models] == ["gpt2-tiny"]


@pytest.mark.parametrize(
    ("changes", "load"),
    [
        ({"closed.users": {"start": 1, "end": 64, "over": "60s"}}, "1 to 64 users over 60 s, closed loop"),
        ({"closed.users": [{"users": 4, "time": "30s"}, {"users": 0, "time": "500ms"}]}, "users: 4 for 30 s then 0 for 500 ms, closed loop"),
        ({"closed.users": 8, "closed.stagger": "2s"}, "8 users, closed loop, starts spread over 2 s"),
        ({"rt.return_probability": 0.25}, "20/s, back with 0.25"),
    ],
)  # fmt: skip
def test_describe_says_what_drives_a_population(changes, load):
    changes = {f"population.{key}": value for key, value in changes.items()}
    found = describe(loads(BASE).replace(changes), ["a"]).populations["a"]
    assert load in {each.load for each in found}


def test_describe_keeps_rates_symbolic():
    changes = {"population.rt.arrival.rate": "0.2 of capacity"}
    found = describe(loads(BASE).replace(changes))
    assert found.calibrated
    assert found.seconds == 44.0 + 2 * (1 + 5) + 2 * (1 + 0.4 * 5)
    rt = found.populations["a"][0]
    assert (rt.rate, rt.sessions) == ("0.2 of capacity × 2", None)
    pinned = describe(loads(BASE).replace({**changes, "calibrate.capacity": "50/s"}))
    assert not pinned.calibrated
    assert pinned.populations["a"][0].sessions == pytest.approx(0.2 * 2 * 50 * 10)


def test_describe_what_needs_real_answers():
    found = describe(loads(BASE).replace({"population.closed.workload.mood": "reads"}))
    assert (found.populations["a"][2].requests, found.populations["a"][2].nbytes) == (
        None,
        None,
    )


@pytest.mark.parametrize("name", ["qos_mix", "quick"])
def test_what_ships_can_be_planned(name):
    found = describe(load(name))
    assert found.calibrated
    assert {e.requests for each in found.populations.values() for e in each} == {1}
    assert len(found.models) == 1
    workshop = Workshop()
    for cell in cells(load(name)):
        made = plan(
            structs.replace(cell, scenario=cell.scenario.at_capacity(60.0)),
            workshop=workshop,
        )
        assert sum(p.offered_per_s for p in made.paces.values()) == pytest.approx(66.0)
