"""Who was served and who waited: Jain's index, max-min shares, starvation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

import health_kit as health  # tests/, by conftest.py
import policy_kit as kit
from djinnload.reading.files import read_json
from djinnload.stats.populations import Turns
from djinnload.summary import fairness
from djinnload.units import MS, SECOND

amounts = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=12)


@given(amounts, st.floats(0.1, 10))
def test_jain_is_one_for_equal_parts_and_knows_no_unit(x, factor):
    index = fairness.jain(x)
    assert 1 / len(x) - 1e-9 <= index <= 1 + 1e-9
    assert fairness.jain([factor * each for each in x]) == pytest.approx(index)
    assert fairness.jain([x[0]] * len(x)) == pytest.approx(1)


def test_jain_of_k_who_get_all_is_k_of_n():
    assert fairness.jain([5, 5, 0, 0, 0]) == pytest.approx(2 / 5)
    assert fairness.jain([1, 2, 3]) == pytest.approx(36 / 42)
    assert fairness.jain([]) is None
    assert fairness.jain([0, 0]) is None


@given(
    st.floats(0, 1e3),
    st.dictionaries(
        st.sampled_from("abcde"),
        st.tuples(st.floats(0, 100), st.just(0.0) | st.floats(1e-3, 5)),
        min_size=1,
    ),
)
def test_max_min_gives_all_there_is_and_nobody_more_than_asked(total, classes):
    demands = {name: demand for name, (demand, _) in classes.items()}
    weights = {name: weight for name, (_, weight) in classes.items()}
    given_ = fairness.max_min(total, demands, weights)
    assert all(given_[n] <= demands[n] + 1e-6 for n in demands)
    assert sum(given_.values()) == pytest.approx(min(total, sum(demands.values())))
    # Who wants more than it got has no smaller part, by weight, than anybody else.
    for name, weight in weights.items():
        if weight and given_[name] < demands[name] - 1e-6:
            level = given_[name] / weight
            assert all(
                given_[other] <= level * weights[other] + 1e-6
                for other in demands
                if weights[other]
            )


def test_max_min_of_a_textbook():
    asked = {"a": 2, "b": 2.6, "c": 4, "d": 5}
    even = dict.fromkeys(asked, 1.0)
    assert fairness.max_min(10, asked, even) == pytest.approx(
        {"a": 2, "b": 2.6, "c": 2.7, "d": 2.7}
    )
    weights = {"a": 2.5, "b": 4, "c": 0.5, "d": 1}
    asked = {"a": 4, "b": 2, "c": 10, "d": 4}
    assert fairness.max_min(16, asked, weights) == pytest.approx(
        {"a": 4, "b": 2, "c": 6, "d": 4}
    )
    # Without a weight: what is left over.
    assert fairness.max_min(5, {"a": 3, "b": 9}, {"a": 1}) == {"a": 3, "b": 2}


def users(served, n=40):
    """A population in which user u has *n* sessions, of which *served*[u] end well."""
    count = len(served) * n
    user = np.repeat(np.arange(len(served)), n)
    session = np.tile(np.arange(n), len(served))
    due = health.BEGIN + np.arange(count) * MS
    outcome = np.where(session < np.asarray(served)[user], "ok", "timeout")
    base = health.population(0, rate=10).requests
    columns = {f: np.resize(getattr(base, f), count) for f in base.__struct_fields__}
    columns |= {
        "user": user,
        "session": session,
        "due_ns": due,
        "done_ns": due + 5.0 * MS,
        "outcome": outcome.astype(object),
        "session_end": np.ones(count, bool),
    }
    return health.fold("chat", columns)


def test_users_who_are_served_alike_and_one_who_is_not():
    found = fairness.over_users([users([40, 40, 40])])
    assert found == {"index": 1.0, "ci95": None, "users": 3, "least": 1.0, "most": 1.0}
    found = fairness.over_users([users([40, 20, 0])] * 5)
    assert found["index"] == pytest.approx(1.5**2 / (3 * 1.25))
    assert found["ci95"] == pytest.approx([found["index"]] * 2)
    assert (found["least"], found["most"]) == (0.0, 1.0)


def test_closed_users_are_counted_by_what_they_ended():
    closed = structs.replace(users([40, 20]), loop="closed")
    assert fairness.over_users([closed])["most"] == 40


def test_without_users_nothing_is_said_of_them():
    assert fairness.over_users([users([3])]) is None
    nobody = health.population(0, user=lambda column, _: column - 1)
    assert fairness.over_users([nobody]) is None


def waited(waits_ms, exec_ms=10.0):
    """Turns a second apart, each of which comes back 10 ms after its wait."""
    n = len(waits_ms)
    wait = np.asarray(waits_ms, float) * MS
    due = health.BEGIN + np.arange(n) * SECOND
    columns = {f: np.full(n, np.nan) for f in Turns.__struct_fields__}
    columns |= {
        "due_ns": due,
        "done_ns": (due + np.nan_to_num(wait) + exec_ms * MS).astype(np.int64),
        "ok": np.ones(n, bool),
        "queue_ns": wait,
        "exec_ns": np.full(n, exec_ms * MS),
    }
    return structs.replace(health.population(0), turns=Turns(**columns))


def test_starvation_is_a_wait_far_beyond_the_work():
    found = fairness.starvation([waited([1, 99, 101, 3500])])
    assert (found["longest_ms"], found["bound_ms"], found["share"], found["n"]) == (
        3500, 100, 0.5, 4
    )  # fmt: skip
    # Somebody waited all through the seconds 4 and 5, and nobody came back in them.
    assert (found["windows"], found["without"]) == (3, 3)


def test_a_wait_that_nobody_told_is_unknown():
    for silent in (waited([0, 0]), waited([math.nan, math.nan])):
        found = fairness.starvation([silent])
        assert found["longest_ms"] is found["share"] is found["bound_ms"] is None


@pytest.fixture(scope="module")
def over(tmp_path_factory):
    out = tmp_path_factory.mktemp("over")
    return out, kit.run(out, (0.7, 1.3), arms=("qos", "fcfs", "none"), repeats=2)


def fair(summary, arm, load):
    (found,) = (
        each
        for each in summary["fairness"]
        if (each["arm"], each["point"]) == (arm, f"load={load}")
    )
    return found


def test_below_capacity_every_policy_is_fair_and_over_it_fcfs_follows_demand(over):
    _, summary = over
    for arm in ("qos", "fcfs", "none"):
        assert fair(summary, arm, 0.7)["index"] > 0.999
    fcfs, qos = fair(summary, "fcfs", 1.3), fair(summary, "qos", 1.3)
    assert fcfs["weighted"]
    assert (fcfs["n"], fcfs["ci95"]) == (2, None)
    # By demand of 0.2, 0.3, 0.5; by weight, batch (0.2) would give way.
    assert fcfs["classes"]["batch"]["received"] == pytest.approx(0.5, abs=0.03)
    assert qos["classes"]["batch"]["received"] < 0.4
    assert qos["classes"]["interactive"]["received"] == pytest.approx(
        qos["classes"]["interactive"]["entitled"], rel=0.05
    )
    assert qos["index"] > fcfs["index"]
    for found in (fcfs, qos):
        parts = found["classes"].values()
        assert sum(each["received"] for each in parts) == pytest.approx(1)
        assert sum(each["entitled"] for each in parts) == pytest.approx(1)
        assert sum(each["demanded"] for each in parts) > 1.15


def test_over_capacity_batch_starves_under_qos_and_a_hidden_wait_is_unknown(over):
    out, summary = over
    waits = {
        arm: summary["arms"][arm]["load=1.3"]["batch"]["starvation"]
        for arm in ("qos", "fcfs", "none")
    }
    assert waits["qos"]["longest_ms"] > waits["fcfs"]["longest_ms"]
    assert waits["qos"]["share"] > 0.5
    assert waits["none"]["longest_ms"] is None
    shielded = summary["arms"]["qos"]["load=1.3"]["realtime"]["starvation"]
    assert shielded["share"] < 0.05
    cell = read_json(out / "cells" / "load=1.3" / "qos" / "r00" / "summary.json")
    assert cell["fairness"]["classes"].keys() == kit.MIX.keys()
    missed = [each["misses"] for each in cell["populations"]["realtime"]["windows"]]
    assert len(missed) == 10
    assert sum(missed) == round(
        cell["populations"]["realtime"]["miss_rate"]["value"]
        * cell["populations"]["realtime"]["n"]
    )
