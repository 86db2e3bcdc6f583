"""Experiment 4.2 by the command: policies that matter, a production mix, interference."""

import pytest

from command_kit import codes, document, results, run_command  # tests/, by conftest.py

pytestmark = [pytest.mark.models, pytest.mark.wallclock]
#: What a busy host does to the generator; and to a capacity measured for a second.
HEALTH = ("LATE", "LOOP_STALL", "CPU", "ARRIVALS", "NOT_STEADY", "CALIBRATION")
ACCEPTED = tuple(word for code in HEALTH for word in ("--accept", code))
#: Three servers, and the check of their answers, import torch beside each other.
TIMEOUT_S = 300


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


def ran(tmp_path, cache, name, *words, **changes):
    """Run a shipped scenario, changed; return how it ended, and where its results are."""
    more = [w for path, value in changes.items() for w in ("--set", f"{path}={value}")]
    done = run_command("run", name, "--out", "out", *ACCEPTED, *words, *more,
                       cwd=tmp_path, cache=cache, timeout=TIMEOUT_S)  # fmt: skip
    return done, results(tmp_path / "out")


@pytest.fixture(scope="module")
def loads(tmp_path_factory, cache):
    """The smoke scenario, qos against fcfs, far from what the server can do.

    Not at 1.1: on a busy host a capacity is not known that well (`test_policies` has
    1.1 in simulated time).
    """
    done, run = ran(
        tmp_path_factory.mktemp("loads"), cache, "exp4_2_qos_smoke",
        "--arm", "qos", "--arm", "fcfs",
        **{"sweep.load.values": "[0.3, 1.5]", "arm.none.skip": "{}"},
    )  # fmt: skip
    return done, run, document(run / "summary.json")


def comparison(summary, point):
    (found,) = (
        each
        for each in summary["comparisons"]
        if (each["point"], each["population"]) == (point, "realtime")
        and each["metric"] == "mean(latency)"
    )
    return found


def test_over_capacity_qos_shows_its_effect_with_an_interval(loads):
    _, _, summary = loads
    found = comparison(summary, "load=1.5")
    assert (found["status"], found["n"]) == ("ok", 5)
    assert found["ci95"][0] < found["ratio"] < found["ci95"][1] < 1
    noted = {each["code"] for each in summary["verdict"]["findings"]}
    assert "saturated" in noted


def test_where_nobody_waits_the_comparison_is_void(loads):
    done, run, summary = loads
    assert (done.returncode, codes(run)) == (4, {"NO_CONTENTION"}), done.stdout
    found = comparison(summary, "load=0.3")
    assert (found["status"], found["reasons"]) == ("void", ["NO_CONTENTION"])


def test_the_production_mix_under_all_three_policies(tmp_path, cache):
    done, run = ran(
        tmp_path, cache, "exp4_2_production_smoke",
        **{"sweep.load.values": "[1.1]", "scenario.repeats": 1},
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stdout
    summary = document(run / "summary.json")
    assert set(summary["arms"]) == {"qos", "fcfs", "none"}
    for arm, points in summary["arms"].items():
        populations = points["load=1.1"]
        assert set(populations) == {"chat", "images", "pairs"}
        assert populations["chat"]["verified"]["wrong"] == 0
        assert populations["chat"]["user_fairness"]["users"] > 10
        # Without a policy the server has no queue whose wait it could tell.
        assert (populations["chat"]["starvation"]["longest_ms"] is None) == (
            arm == "none"
        )
    assert {each["arm"] for each in summary["fairness"]} == {"qos", "fcfs", "none"}
    assert all(0 < each["index"] <= 1 for each in summary["fairness"])


def test_the_interference_of_classes(tmp_path, cache):
    done, run = ran(
        tmp_path, cache, "exp4_2_interference_smoke", "--arm", "fcfs",
        **{"scenario.repeats": 1},
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stdout
    rows = document(run / "summary.json")["interference"]
    found = {
        (each["population"], *each["beside"]) for each in rows if each["b"] is not None
    }
    assert found == {
        ("realtime", "interactive"),
        ("realtime", "batch"),
        ("realtime", "interactive", "batch"),
        ("batch", "realtime"),
        ("batch", "realtime", "interactive"),
    }
