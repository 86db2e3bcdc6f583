"""What holds for scenarios whatever is in them: errors are placed, changes compose."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from djinnload.errors import ScenarioError
from djinnload.scenarios import paths
from djinnload.scenarios.cells import cells
from djinnload.scenarios.load import loads, parse_set

TEXT = """
[scenario]
name = "s"
duration = "1s"
load = 1.5

[target.server]
policy = "qos"
shares = { realtime = 0.1, batch = 0.5 }

[[population]]
name = "open"
arrival = { process = "poisson", rate = "0.2 of capacity" }
workload = { use = "echo" }

[[population]]
name = "closed"
users = 2
think = { distribution = "uniform", low = "1s", high = "2s" }
workload = { use = "echo" }

[[arm]]
name = "qos"

[[arm]]
name = "fcfs"
judged = false
set = { "target.server.policy" = "fcfs" }
unset = ["target.server.shares"]

[comparison]
baseline = "fcfs"
metrics = ["miss_rate"]
"""
SCENARIO = loads(TEXT)

seconds = st.integers(1, 10**6).map(lambda n: f"{n}ms")
RIGHT = {
    "scenario.seed": st.integers(0, 2**50),
    "scenario.repeats": st.integers(1, 30),
    "scenario.order": st.sampled_from(["interleaved", "shuffled", "given"]),
    "scenario.duration": seconds,
    "scenario.grace": seconds,
    "scenario.max_in_flight": st.integers(1, 10**6),
    "calibrate.users": st.integers(1, 99),
    "target.server.slots": st.integers(1, 64),
    "target.server.shares.batch": st.floats(0.1, 1),
    "population.open.arrival.rate": st.integers(1, 10**6).map(lambda n: f"{n}/min"),
    "population.open.timeout": seconds,
    "population.closed.users": st.integers(1, 99),
    "population.closed.think": st.just({"distribution": "constant", "mean": "1s"}),
    "arm.fcfs.judged": st.booleans(),
    "verify.at_least": st.integers(0, 99),
    "precise": st.booleans(),
}
changes = st.fixed_dictionaries({}, optional=RIGHT)

words = st.sampled_from(
    ["", "1s", "0s", "20/s", "0 of capacity", "fcfs", "x\n", "é", "5%"]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | words
    | st.text(max_size=4)
)
keys = st.sampled_from(["name", "use", "rate", "process", "users", "x", "", "a.b"])
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=6,
)
PATHS = [
    *RIGHT,
    *("scenario", "calibrate", "target", "target.server", "target.server.shares"),
    *(
        "population",
        "population.open",
        "population.open.arrival",
        "population.open.name",
    ),
    *("population.open.workload", "population.closed.objectives", "arm", "arm.fcfs"),
    *("arm.fcfs.set", "arm.fcfs.unset", "arm.fcfs.name", "comparison", "verify", "zzz"),
]


def raised(function):
    """Return the ScenarioError of *function*, None if it has none; others come out."""
    try:
        function()
    except ScenarioError as error:
        return error
    return None


@given(
    st.dictionaries(st.sampled_from(PATHS) | st.text(max_size=12), anything, max_size=3)
)
def test_anything_is_a_scenario_or_a_placed_error(wrong):
    error = raised(lambda: cells(SCENARIO.replace(wrong)))
    if error is not None:
        assert error.path.startswith("$")
        assert error.reason


@given(changes, changes)
def test_changes_compose(first, second):
    """One at a time or together, the later one wins; the original stays as it was."""
    once = SCENARIO.replace({**first, **second})
    twice = SCENARIO.replace(first).replace(second)
    assert once == twice
    assert loads(TEXT) == SCENARIO


@given(changes)
def test_changes_are_in_the_document(made):
    found = SCENARIO.replace(made)
    for path, value in made.items():
        here = found.document
        for part in path.split("."):
            if isinstance(here, list):
                here = next(each for each in here if each["name"] == part)
            else:
                here = here[part]
        assert here == value
    assert (found.text, found.sha256) == (SCENARIO.text, SCENARIO.sha256)
    assert found.replace({}) == found
    assert found.replace(made) == found


@given(changes)
def test_changes_outlast_arms(made):
    """But those below what an arm unsets, which do not reach it."""
    for cell in cells(SCENARIO.replace(made)):
        document = cell.scenario.document
        reach = {path: v for path, v in made.items() if paths.exists(document, path)}
        gone = {path for path in made if path not in reach}
        assert all(p.startswith("target.server.shares.") for p in gone)
        assert cell.scenario.replace(reach) == cell.scenario


@given(changes)
def test_each_arm_and_repeat_is_one_cell(made):
    found = SCENARIO.replace(made)
    counts = Counter((cell.arm, cell.repeat) for cell in cells(found))
    wanted = {(a, r) for a in ("qos", "fcfs") for r in range(found.scenario.repeats)}
    assert counts == Counter(wanted)
    assert len({cell.id for cell in cells(found)}) == len(wanted)


@given(st.integers(1, 9), st.integers(1, 12))
def test_interleaved_rounds_hold_every_arm_and_drift_cancels(n, repeats):
    arms = "".join(f'[[arm]]\nname = "a{i}"\n' for i in range(n))
    head = f'[scenario]\nname = "s"\nduration = "1s"\nrepeats = {repeats}\n'
    body = '[[population]]\nname = "p"\nusers = 1\nworkload = { use = "echo" }\n'
    order = [cell.arm for cell in cells(loads(head + body + arms))]
    rounds = [order[i : i + n] for i in range(0, len(order), n)]
    assert all(sorted(each) == sorted(rounds[0]) for each in rounds)
    if repeats % 2 == 0:
        sums = {sum(i for i, a in enumerate(order) if a == arm) for arm in rounds[0]}
        assert len(sums) == 1


@given(st.floats(1e-6, 1e9), changes)
def test_plain_rates_refer_to_capacity_no_more(per_s, made):
    found = SCENARIO.replace(made).at_capacity(per_s)
    rate = found.populations[0].arrival["rate"]
    if "population.open.arrival.rate" in made:
        assert rate == made["population.open.arrival.rate"]
    else:
        assert float(rate.removesuffix("/s")) == pytest.approx(0.2 * 1.5 * per_s)
    assert found.at_capacity(1.0) is found


@given(st.text(max_size=60) | st.text(alphabet="[]{}=\"'\n\\ab.1#, ", max_size=40))
def test_any_text_is_toml_or_a_placed_error(text):
    with pytest.raises(ScenarioError) as caught:
        loads(text, path="f.toml")
    assert caught.value.path.startswith(("f.toml:", "$"))


@given(st.text(max_size=30))
def test_any_setting_is_read_or_refused(text):
    error = raised(lambda: parse_set(text))
    if error is None:
        path, _ = parse_set(text)
        assert path
        assert path == path.strip()
    else:
        assert error.path == "--set"
