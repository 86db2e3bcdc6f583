"""What is wrong with a scenario is said where it is, with what to do about it."""

import pytest

from djinnload.errors import ScenarioError, UnknownName
from djinnload.scenarios.load import loads

BASE = """
[scenario]
name = "bad"
duration = "1s"

[target.server]
policy = "qos"

[[population]]
name = "rt"
deadline = "50ms"
arrival = { process = "poisson", rate = "0.2 of capacity" }
workload = { use = "echo" }

[[population]]
name = "closed"
users = 2
workload = { use = "echo" }

[[arm]]
name = "qos"

[[arm]]
name = "fcfs"
set = { "target.server.policy" = "fcfs" }

[comparison]
baseline = "fcfs"
metrics = ["p95(latency)"]
"""

RT, CLOSED, FCFS = "$.population[0] (rt)", "$.population[1] (closed)", "$.arm[1] (fcfs)"

#: (changes by path, path of the error, part of the reason)
WRONG = [
    # Unknown keys, with the nearest one.
    ({"scenrio": {}}, "$.scenrio", "did you mean 'scenario'?"),
    ({"swep": []}, "$.swep", "unknown key, did you mean 'sweep'?"),
    ({"scenario.repeat": 5}, "$.scenario.repeat", "did you mean 'repeats'?"),
    ({"calibrate.user": 5}, "$.calibrate.user", "did you mean 'users'?"),
    ({"target.adress": "a:1"}, "$.target.adress", "did you mean 'address'?"),
    ({"target.network": {}}, "$.target.network", "says nothing"),
    ({"target.network.dely": "1ms"}, "$.target.network.dely", "did you mean 'delay'?"),
    ({"scenario.on_server_loss": "stop"}, "$.scenario.on_server_loss", "wait, go_on"),
    ({"target.launch": {}}, "$.target.launch.command", "is missing"),
    ({"target.server.polcy": "qos"}, "$.target.server.polcy", "did you mean 'policy'?"),
    (
        {"target.server.shares": {"realtme": 1}},
        "$.target.server.shares.realtme",
        "'realtime'",
    ),
    (
        {"population.rt.qos_clas": "batch"},
        f"{RT}.qos_clas",
        "did you mean 'qos_class'?",
    ),
    (
        {"population.closed.think": {"distribution": "constant", "mena": "1s"}},
        f"{CLOSED}.think.mena",
        "did you mean 'mean'?",
    ),
    ({"arm.fcfs.juged": False}, f"{FCFS}.juged", "did you mean 'judged'?"),
    ({"arm.fcfs.behaviour": {}}, f"{FCFS}.behaviour", "mean 'behaviours'?"),
    ({"arm.fcfs.target": {"us": "x"}}, f"{FCFS}.target.us", "mean 'use'?"),
    ({"comparison.metric": []}, "$.comparison.metric", "did you mean 'metrics'?"),
    ({"verify.shares": "1%"}, "$.verify.shares", "did you mean 'share'?"),
    # Quantities.
    ({"scenario.duration": "10"}, "$.scenario.duration", "write it like 10ms"),
    ({"scenario.duration": 10}, "$.scenario.duration", "write it like 10ms"),
    ({"scenario.duration": "10/s"}, "$.scenario.duration", "is no Duration"),
    ({"scenario.duration": "0s"}, "$.scenario.duration", "greater than 0"),
    ({"scenario.duration": {"sessions": 0}}, "$.scenario.duration.sessions", ">= 1"),
    (
        {"scenario.duration": {"sesions": 1}},
        "$.scenario.duration.sesions",
        "'sessions'",
    ),
    (
        {"scenario.duration": {"sessions": 1, "at": "boot"}},
        "$.scenario.duration.at",
        "unknown",
    ),
    (
        {"scenario.warmup": {"sessions": 1, "at": "bot"}},
        "$.scenario.warmup.at",
        "'boot'?",
    ),
    ({"scenario.warmup": "-1s"}, "$.scenario.warmup", "not negative"),
    ({"scenario.grace": "never"}, "$.scenario.grace", "is no Duration"),
    ({"calibrate.time": "0s"}, "$.calibrate.time", "greater than 0"),
    ({"calibrate.capacity": "0/s"}, "$.calibrate.capacity", "greater than 0"),
    ({"calibrate.capacity": 60}, "$.calibrate.capacity", "write it like 20/s"),
    ({"verify.share": "200%"}, "$.verify.share", "from 0 to 1"),
    (
        {"target.server.shares": {"batch": 2}},
        "$.target.server.shares.batch",
        "from 0 to 1",
    ),
    (
        {"target.server.shares": {"batch": 0}},
        "$.target.server.shares",
        "greater than 0",
    ),
    # Kinds and bounds.
    ({"scenario.repeats": 0}, "$.scenario.repeats", "must be a whole number >= 1"),
    (
        {"scenario.repeats": "five"},
        "$.scenario.repeats",
        "must be a whole number, not text",
    ),
    ({"scenario.repeats": True}, "$.scenario.repeats", "not true or false"),
    ({"scenario.seed": -1}, "$.scenario.seed", "must be a whole number >= 0"),
    ({"scenario.load": 0}, "$.scenario.load", "> 0"),
    ({"scenario.max_in_flight": 0}, "$.scenario.max_in_flight", ">= 1"),
    ({"scenario": 3}, "$.scenario", "must be a table, not a whole number"),
    ({"precise": "yes"}, "$.precise", "true or false"),
    ({"population": []}, "$.population", "length >= 1"),
    ({"population": {}}, "$.population", "must be a list, not a table"),
    (
        {"population.rt.objectives": "p95(latency) <= 1s"},
        f"{RT}.objectives",
        "must be a list, not text",
    ),
    ({"population.rt.objectives": [3]}, f"{RT}.objectives[0]", "must be text"),
    ({"population.closed.users": 0}, f"{CLOSED}.users", ">= 1"),
    ({"comparison.metrics": []}, "$.comparison.metrics", "length >= 1"),
    ({"target.server.slots": 0}, "$.target.server.slots", ">= 1"),
    ({"target.server.nice": 20}, "$.target.server.nice", "<= 19"),
    (
        {
            "population.closed.think": {
                "distribution": "lognormal",
                "mean": "1s",
                "sigma": 0,
            }
        },
        f"{CLOSED}.think.sigma",
        "> 0",
    ),
    # Choices.
    ({"scenario.order": "shuffle"}, "$.scenario.order", "did you mean 'shuffled'?"),
    ({"scenario.overload": "maybe"}, "$.scenario.overload", "expected, unexpected"),
    ({"target.server.policy": "fcf"}, "$.target.server.policy", "did you mean 'fcfs'?"),
    ({"target.register": "wait"}, "$.target.register", "auto, id, weights"),
    (
        {"population.rt.qos_class": "real-time"},
        f"{RT}.qos_class",
        "did you mean 'realtime'?",
    ),
    (
        {"population.closed.think": {"distribution": "exponental"}},
        f"{CLOSED}.think.distribution",
        "did you mean 'exponential'?",
    ),
    ({"comparison.equal_work": "same"}, "$.comparison.equal_work", "exact, prefix"),
    ({"comparison.pair_by": "cell"}, "$.comparison.pair_by", "there is: repeat"),
    # Missing.
    ({"population.rt.arrival": "20/s"}, f"{RT}.arrival", "must be a table, not text"),
    ({"scenario": {"name": "x"}}, "$.scenario.duration", "is missing"),
    (
        {"population.closed.think": {"mean": "1s"}},
        f"{CLOSED}.think.distribution",
        "is missing",
    ),
    ({"population.rt.workload": {}}, f"{RT}.workload.use", "is missing"),
    ({"population.rt.workload": {"use": 3}}, f"{RT}.workload.use", "is missing"),
    ({"population.rt.arrival": {"rate": "1/s"}}, f"{RT}.arrival.process", "is missing"),
    ({"comparison": {"metrics": ["miss_rate"]}}, "$.comparison.baseline", "is missing"),
    # Names.
    ({"scenario.name": "Bad"}, "$.scenario.name", "starts with a letter"),
    ({"scenario.name": "a/b"}, "$.scenario.name", "starts with a letter"),
    ({"scenario.name": "a\n"}, "$.scenario.name", "starts with a letter"),
    ({"scenario.name": "a" * 65}, "$.scenario.name", "length <= 64"),
    (
        {"population.rt.name": "1st"},
        "$.population[0] (1st).name",
        "starts with a letter",
    ),
    (
        {"population.closed.name": "rt"},
        "$.population[1] (rt).name",
        "name of population[0] too",
    ),
    ({"scenario.name": "con"}, "$.scenario.name", "no file name on Windows"),
    ({"arm.fcfs.name": "lpt1"}, "$.arm[1] (lpt1).name", "no file name on Windows"),
    ({"arm.fcfs.name": "qos"}, "$.arm[1] (qos).name", "name of arm[0] too"),
    ({"target.address": "localhost"}, "$.target.address", "host:port"),
    ({"target.address": "localhost:70000"}, "$.target.address", "from 1 to 65535"),
    # Keys that do not go together.
    ({"population.rt.arrival.rate": "0/s"}, f"{RT}.arrival.rate", "greater than 0"),
    ({"population.rt.arrival.rate": "-3/s"}, f"{RT}.arrival.rate", "greater than 0"),
    (
        {"population.rt.arrival.rate": 20},
        f"{RT}.arrival.rate",
        "20/s, 3/min or 0.2 of capacity",
    ),
    (
        {"population.rt.arrival.rate": "0 of capacity"},
        f"{RT}.arrival.rate",
        "greater than 0",
    ),
    (
        {"population.rt.arrival.rate": "most of capacity"},
        f"{RT}.arrival.rate",
        "0.2 of capacity",
    ),
    (
        {"population.rt.arrival.rate": "capacity"},
        f"{RT}.arrival.rate",
        "0.2 of capacity",
    ),
    (
        {"population.rt.arrival.stages": [{"rate": "0 of capacity"}]},
        f"{RT}.arrival.stages[0].rate",
        "greater than 0",
    ),
    ({"population.rt.users": 3}, f"{RT}.users", 'arrival.per = "user"'),
    ({"population.rt.arrival.per": "user"}, f"{RT}.users", "is missing"),
    ({"population.rt.arrival.per": "users"}, f"{RT}.arrival.per", "is no choice"),
    (
        {"population.rt.think": {"distribution": "constant", "mean": "1s"}},
        f"{RT}.think",
        "only users who come back think",
    ),
    (
        {"population.closed.think": {"distribution": "constant", "mean": "0s"}},
        f"{CLOSED}.think.mean",
        "greater than 0",
    ),
    (
        {
            "population.closed.think": {
                "distribution": "uniform",
                "low": "2s",
                "high": "1s",
            }
        },
        f"{CLOSED}.think.low",
        "must not be over high",
    ),
    ({"population.rt.deadline": "2min"}, f"{RT}.deadline", "shorter than timeout"),
    ({"population.rt.deadline": "0s"}, f"{RT}.deadline", "greater than 0"),
    ({"population.closed.timeout": "0s"}, f"{CLOSED}.timeout", "greater than 0"),
    ({"calibrate.arm": "fcsf"}, "$.calibrate.arm", "did you mean 'fcfs'?"),
    ({"comparison.baseline": "fcsf"}, "$.comparison.baseline", "did you mean 'fcfs'?"),
    # Arms.
    (
        {"arm.fcfs.set": {"target": {"server": {"policy": "fcfs"}}}},
        f'{FCFS}.set."target"',
        'write the path of one key: "target.server.policy"',
    ),
    (
        {"arm.fcfs.set": {"population.rt.name": "x"}},
        f'{FCFS}.set."population.rt.name"',
        "no arm can change names",
    ),
    (
        {"arm.fcfs.set": {"target.server.polcy": "x"}},
        f'{FCFS}.set."target.server.polcy"',
        "did you mean 'policy'?",
    ),
    (
        {"arm.fcfs.set": {"target.server.policy": "x"}},
        f'{FCFS}.set."target.server.policy"',
        "is no choice",
    ),
    (
        {"arm.fcfs.set": {"population.close.users": 3}},
        f'{FCFS}.set."population.close.users"',
        "did you mean 'closed'?",
    ),
    (
        {"arm.fcfs.set": {"population.rt.arrival.rate": "0/s"}},
        f'{FCFS}.set."population.rt.arrival.rate"',
        "greater than 0",
    ),
    (
        {
            "arm.fcfs.set": {
                "population.rt.arrival": {"process": "poisson", "rate": "0/s"}
            }
        },
        f'{FCFS}.set."population.rt.arrival".rate',
        "greater than 0",
    ),
    (
        {"arm.fcfs.set": {"population.users": 3}},
        f'{FCFS}.set."population.users"',
        "population.NAME.KEY",
    ),
    (
        {"arm.fcfs.set": {"scenario.seed": 3}},
        f'{FCFS}.set."scenario.seed"',
        "no arm can change that",
    ),
    (
        {"arm.fcfs.set": {"targt.use": "x"}},
        f'{FCFS}.set."targt.use"',
        "did you mean 'target'?",
    ),
    ({"population.closed.users": 0}, f"{CLOSED}.users", "must be a whole number >= 1"),
    ({"population.closed.users": "8"}, f"{CLOSED}.users", "must be a whole number or"),
    ({"population.closed.users": []}, f"{CLOSED}.users", "must be a list of length"),
    (
        {"population.closed.users": {"start": 1, "end": 9}},
        f"{CLOSED}.users.over",
        "is missing",
    ),
    (
        {"population.closed.users": {"from": 1, "over": "9s"}},
        f"{CLOSED}.users.from",
        "unknown key (there is: end, over, start)",
    ),
    (
        {"population.closed.users": {"end": 9, "over": "0s"}},
        f"{CLOSED}.users.over",
        "greater than 0",
    ),
    (
        {"population.closed.users": {"over": "9s"}},
        f"{CLOSED}.users",
        "give at least one user",
    ),
    (
        {"population.closed.users": [{"users": 2, "time": "1s"}, {"users": 3}]},
        f"{CLOSED}.users[1].time",
        "is missing",
    ),
    (
        {"population.closed.users": [{"users": 2, "time": "0s"}]},
        f"{CLOSED}.users[0].time",
        "greater than 0",
    ),
    (
        {"population.closed.users": [{"users": 0, "time": "1s"}]},
        f"{CLOSED}.users",
        "no stage has a user",
    ),
    (
        {"population.closed.users": [{"users": -1, "time": "1s"}]},
        f"{CLOSED}.users[0].users",
        ">= 0",
    ),
    ({"population.rt.stagger": "1s"}, f"{RT}.stagger", "only closed populations"),
    ({"population.closed.stagger": "1h"}, f"{CLOSED}.stagger", "scenario.duration"),
    (
        {"population.closed.return_probability": 0.5},
        f"{CLOSED}.return_probability",
        "always come back",
    ),
    (
        {"population.rt.return_probability": "100%"},
        f"{RT}.return_probability",
        "less than 1",
    ),
    (
        {"population.rt.return_probability": 0},
        f"{RT}.return_probability",
        "greater than 0",
    ),
    (
        {
            "population.rt.users": 3,
            "population.rt.arrival.per": "user",
            "population.rt.return_probability": 0.5,
        },
        f"{RT}.return_probability",
        "has users already",
    ),
    (
        {
            "population.rt.users": {"end": 3, "over": "1s"},
            "population.rt.arrival.per": "user",
        },
        f"{RT}.users",
        "is no plain number",
    ),
    ({"arm.fcfs.set": {"": 1}}, f'{FCFS}.set.""', "no arm can change that"),
    (
        {
            "arm.fcfs.set": {
                "scenario.duration": "2s",
                "population.closed.think": {"distribution": "x"},
            }
        },
        f'{FCFS}.set."population.closed.think".distribution',
        "is no choice",
    ),
    (
        {"arm.fcfs.unset": ["target.server.slot"]},
        f'{FCFS}.unset."target.server.slot"',
        "is not set",
    ),
    (
        {"arm.fcfs.unset": ["population.close"]},
        f'{FCFS}.unset."population.close"',
        "did you mean 'closed'?",
    ),
    (
        {"arm.fcfs.unset": ["population.closed", "population.rt"]},
        FCFS,
        "list of length >= 1",
    ),
    (
        {"arm.fcfs.unset": ["population.closed.users"]},
        FCFS,
        "give arrival (open) or users",
    ),
]


@pytest.mark.parametrize(
    ("changes", "path", "reason"), WRONG, ids=[w[1] for w in WRONG]
)
def test_wrong(changes, path, reason):
    with pytest.raises(ScenarioError) as caught:
        loads(BASE).replace(changes)
    assert caught.value.path == path
    assert reason in caught.value.reason


def test_the_scenario_that_they_change_is_right():
    assert loads(BASE).scenario.name == "bad"


@pytest.mark.parametrize(
    ("path", "where", "reason"),
    [
        ("population.tr.users", "$.population.tr.users", "no population named 'tr'"),
        ("arm.fsfc.judged", "$.arm.fsfc.judged", "no arm named 'fsfc'"),
        ("population.users", "$.population.users", "population.NAME.KEY"),
        ("population.rt", "$.population.rt", "population.NAME.KEY"),
        ("scenario.name.first", "$.scenario.name.first", "scenario.name is no table"),
        (
            "scenario.name.first.x",
            "$.scenario.name.first.x",
            "scenario.name is no table",
        ),
        ("scenario..seed", "$.scenario..seed", "is no path"),
        ("", "$.", "is no path"),
    ],
)
def test_paths_that_lead_nowhere(path, where, reason):
    with pytest.raises(ScenarioError) as caught:
        loads(BASE).replace({path: 1})
    assert caught.value.path == where
    assert reason in caught.value.reason


def test_names_cannot_be_changed_by_path():
    with pytest.raises(ScenarioError, match="names cannot be changed") as caught:
        loads(BASE).replace({"population.rt.name": "other"})
    assert caught.value.path == "$.population.rt.name"


def test_a_change_that_does_not_fit_an_arm_is_refused_at_once():
    shares = BASE.replace('policy = "qos"', "shares = { realtime = 0.5 }")
    own = 'set = { "target.server.shares" = { batch = 1 } }'
    found = loads(shares.replace('set = { "target.server.policy" = "fcfs" }', own))
    with pytest.raises(ScenarioError) as caught:
        found.replace(
            {"target.server.shares.realtime": 0.5, "target.server.shares.batch": "x"}
        )
    assert caught.value.path == "$.target.server.shares.batch"
    with pytest.raises(ScenarioError, match="at least one share") as caught:
        found.replace({"target.server.shares.batch": 0})
    assert caught.value.path == FCFS + '.set."target.server.shares"'


def test_a_missing_population_is_an_unknown_name():
    with pytest.raises(UnknownName):
        loads(BASE).replace({"population.tr.users": 1})


def test_a_comparison_of_one_arm():
    one = BASE.replace('[[arm]]\nname = "qos"\n', "")
    with pytest.raises(ScenarioError) as caught:
        loads(one)
    assert caught.value.path == "$.comparison"
