"""What a policy does to classes that compete, in simulated time: effect and limits."""

import pytest

import policy_kit as kit  # tests/, by conftest.py

ARMS = ("qos", "fcfs", "none")


@pytest.fixture(scope="module")
def over(tmp_path_factory):
    """Three policies at 1.1 of capacity: the folded summary of five repeats each."""
    return kit.run(tmp_path_factory.mktemp("over"), arms=ARMS)


def compared(summary, population, metric, arm="qos", point="load=1.1"):
    (found,) = (
        each
        for each in summary["comparisons"]
        if (each["population"], each["metric"]) == (population, metric)
        and (each["arm"], each["point"]) == (arm, point)
    )
    return found


def codes(summary):
    return {each["code"] for each in summary["verdict"]["reasons"]}


def test_over_capacity_qos_shields_realtime_and_says_so_with_an_interval(over):
    assert codes(over) == set()
    found = compared(over, "realtime", "p95(latency)")
    assert (found["status"], found["n"]) == ("ok", 5)
    assert found["ci95"][0] < found["ratio"] < found["ci95"][1] < 0.25
    assert found["p_holm"] < 0.05
    missed = compared(over, "realtime", "miss_rate")
    assert missed["a"] < 0.1
    assert missed["b"] > 0.5
    # Somebody pays: work is only moved.
    assert compared(over, "batch", "p95(latency)")["ci95"][0] > 1


def test_a_queue_that_grows_is_a_finding_where_overload_is_expected(over):
    assert over["verdict"]["status"] == "pass"
    noted = [
        each for each in over["verdict"]["findings"] if each["code"] == "saturated"
    ]
    assert noted
    assert not any(each["void"] for each in noted)


@pytest.mark.parametrize("load", [0.2, 0.3])
def test_at_low_load_no_policy_can_matter(tmp_path, load):
    """Two slots at 0.3 of capacity: hardly anybody finds both of them taken."""
    summary = kit.run(tmp_path, (load,), seconds=20)
    assert codes(summary) == {"NO_CONTENTION"}
    assert summary["exit_code"] == 4
    assert {each["status"] for each in summary["comparisons"]} == {"void"}


def test_a_point_without_contention_voids_its_own_comparisons_alone(tmp_path):
    summary = kit.run(tmp_path, (0.2, 1.1))
    assert codes(summary) == {"NO_CONTENTION"}
    low, high = (
        compared(summary, "realtime", "p95(latency)", point=f"load={load}")
        for load in (0.2, 1.1)
    )
    assert (low["status"], low["reasons"]) == ("void", ["NO_CONTENTION"])
    assert (high["status"], high["ratio"] < 0.25) == ("ok", True)
