"""Figures and tables of experiments 4.1 and 4.2, of runs in simulated time."""

import pytest

import policy_kit as kit  # tests/, by conftest.py
from djinnload.report.experiments import EXPERIMENTS, rendering
from djinnload.report.experiments.base import Absent, Run
from djinnload.report.experiments.exp4_1 import EXPERIMENT as SCALABILITY
from djinnload.report.experiments.exp4_2 import EXPERIMENT as QOS

LOADS = (0.2, 0.4, 0.8, 1.6)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("loads")
    return Run(out, kit.run(out, LOADS, repeats=2, seconds=5))


def data(run, figure, experiment=QOS):
    (found,) = (each for each in experiment.figures if each.id == figure)
    return [each for panel in found.panels for each in panel.data(run)]


def rows(run, table):
    (found,) = (each for each in QOS.tables if each.id == table)
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows(run)]


def series(found, arm, population):
    return [e for e in found if (e.arm, e.population) == (arm, population)]


def test_a_run_of_either_is_drawn(run):
    """Files of every figure; what they show is looked at below."""
    assert EXPERIMENTS["4.1"] is SCALABILITY
    assert EXPERIMENTS["4.2"] is QOS
    shown = rendering.render(run.directory, run.summary).shown
    made = {each.name: each for each in shown}
    for name in ("Figure 11a", "Figure 11b", "Table 4", "Table 4b"):
        assert not made[name].absent
        assert all((run.directory / path).stat().st_size for path in made[name].files)
    assert "alone" in made["Figure 11c"].absent


def test_4_2_draws_each_class_at_the_highest_load(run):
    for figure in ("11a", "11b"):
        found = data(run, figure)
        assert {each.point for each in found} == {"load=1.6"}
        assert {each.population for each in found} == kit.MIX.keys()
    curves = {arm: series(data(run, "11a"), arm, "realtime") for arm in ("qos", "fcfs")}
    curve = curves["qos"]
    assert curve[-1].value == 1
    assert [each.value for each in curve] == sorted(each.value for each in curve)
    medians = {
        arm: next(each.x for each in found if each.value >= 0.5)
        for arm, found in curves.items()
    }
    assert medians["qos"] < medians["fcfs"] / 5


def test_4_2_counts_violations_over_time(run):
    found = data(run, "11b")
    for arm in ("qos", "fcfs"):
        course = series(found, arm, "realtime")
        assert len(course) == 20
        pooled = run.summary["arms"][arm]["load=1.6"]["realtime"]
        assert sum(each.n for each in course) == pooled["n"]
        missed = sum(each.n * each.value for each in course) / 100
        assert missed == pytest.approx(pooled["miss_rate"]["value"] * pooled["n"])
    late = series(found, "fcfs", "realtime")
    assert late[-1].value > late[0].value


def test_4_2_lists_waits_and_fairness(run):
    waits = rows(run, "4")
    assert len(waits) == len(LOADS) * 3 * 2
    (row,) = (
        each
        for each in waits
        if (each["point"], each["class"], each["policy"])
        == ("load=1.6", "batch", "qos")
    )
    pooled = run.summary["arms"]["qos"]["load=1.6"]["batch"]
    assert row["mean (ms)"].value == pooled["queue_ms"]["mean"]
    assert row["longest (ms)"] == pooled["starvation"]["longest_ms"]
    assert row["starved (%)"] > 50
    assert len(rows(run, "4b")) == len(LOADS) * 2
    with pytest.raises(Absent, match="alone"):
        data(run, "11c")


def test_4_2_draws_the_matrix_of_interference(tmp_path):
    present = {
        "company=all": ("realtime", "batch"),
        "company=realtime": ("realtime",),
        "company=batch": ("batch",),
    }
    summary = kit.company(tmp_path, present, repeats=5, seconds=2)
    found = data(Run(tmp_path, summary), "11c")
    assert {(each.arm, each.series, each.x) for each in found} == {
        (arm, *pair)
        for arm in ("qos", "fcfs")
        for pair in (("realtime", "batch"), ("batch", "realtime"))
    }
    assert all(each.ci95[0] < each.value < each.ci95[1] for each in found)
    assert {each.of for each in found} == {"pairs of repeats"}


def test_4_1_draws_throughput_with_its_line_and_the_tail(run):
    throughput = data(run, "10a", SCALABILITY)
    line = [each for each in throughput if each.series.startswith("in proportion")]
    assert [each.x for each in line] == list(LOADS)
    assert line[-1].value == pytest.approx(8 * line[0].value)
    full = {each.x: each.value for each in throughput if each.series == "fcfs, batch"}
    assert full[1.6] < 0.8 * 8 * full[0.2]
    tail = [each for each in data(run, "10b", SCALABILITY) if each.arm == "fcfs"]
    assert max(each.value for each in tail if each.x == 1.6) > 10 * max(
        each.value or 0 for each in tail if each.x <= 0.4
    )
    with pytest.raises(Absent, match="no GPU"):
        data(run, "10c", SCALABILITY)
