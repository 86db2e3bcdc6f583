"""Experiments 3.1, 5.1 and 6.1: what is drawn of effects, and what is not defined."""

from pathlib import Path

import pytest

from djinnload.models import catalog
from djinnload.report.experiments import exp3_1, exp5_1, exp6_1, models
from djinnload.report.experiments.base import Absent, Run
from djinnload.summary import effects
from djinnload.summary.effects import NOT_DEFINED
from djinnload.summary.run import groups
from effects_kit import MANIFEST, cells

POINTS = ("model=llama", "model=resnet", "model=clip")
SWEEPS = {
    "points": {p: {"model": {"label": p.partition("=")[2]}} for p in POINTS},
}
PLAN = MANIFEST["plan"] | {
    "population": [{"workload": {"model": "llama-tiny"}}],
    "sweep": [
        {
            "name": "model",
            "points": [
                {"name": "llama"},
                {
                    "name": "resnet",
                    "set": {"population.work.workload": {"model": "resnet-tiny"}},
                },
                {
                    "name": "clip",
                    "set": {"population.work.workload.model": "elsewhere"},
                },
            ],
        }
    ],
}
METRICS = ["mean(latency)", "mean(request_latency)", "mean(bytes)"]


def a_run(found, points=POINTS):
    comparison = MANIFEST["comparison"] | {"metrics": METRICS}
    manifest = {"plan": PLAN, "sweeps": SWEEPS, "comparison": comparison}
    run = Run.__new__(Run)
    run.directory, run.manifest = Path(), manifest
    run.summary = {"comparisons": [], "claims": []} | effects.of_run(manifest, found)
    run.__dict__["groups"] = groups(found)
    return run


@pytest.fixture(scope="module")
def run():
    return a_run(cells(points=POINTS))


def shown(figure, run, panel=0):
    return list(figure.panels[panel].data(run))


def test_a_point_s_model_and_its_size(run):
    assert models.at(run, "model=llama") == "llama-tiny"
    assert models.at(run, "model=resnet") == "resnet-tiny"
    assert models.parameters(run, "model=resnet") == catalog.parameters("resnet-tiny")
    with pytest.raises(Absent, match="size of elsewhere is not known"):
        models.parameters(run, "model=clip")
    assert models.short("model=llama,users=2") == "llama,2"


def test_5_1_draws_overhead_over_size_with_native_as_denominator(run):
    small = a_run(cells(points=POINTS[:2]))
    full = shown(exp5_1.EXPERIMENT.figures[0], small)
    assert [each.x for each in full] == [
        catalog.parameters(name) / 1e6 for name in ("llama-tiny", "resnet-tiny")
    ]
    for each in full:
        assert each.value == pytest.approx(20, abs=3)
        assert each.ci95[0] < each.value < each.ci95[1]
        assert (each.n, each.of) == (6, "pairs")
    savings = shown(exp5_1.EXPERIMENT.figures[1], run)
    assert [each.x for each in savings] == [pytest.approx(99)] * 3
    times = shown(exp5_1.EXPERIMENT.figures[2], run)
    assert {each.series for each in times} == set(exp5_1.ARMS)
    assert len(times) == 9


def test_6_1_counts_successes_and_has_no_efficiency_that_is_not_defined(run):
    rows = list(exp6_1.EXPERIMENT.tables[0].rows(run))
    assert [row[:2] for row in rows[:3]] == [
        ("llama", "sequential"), ("resnet", "parallel"), ("clip", "hybrid"),
    ]  # fmt: skip
    assert rows[0][2:5] == ("yes",) * 3
    assert rows[0][5].value == pytest.approx(6.7, abs=0.3)
    assert rows[0][8].value == pytest.approx(99 / rows[0][7].value)
    assert rows[-1][:5] == ("all 3", "", "3 of 3", "3 of 3", "3 of 3")
    few = a_run(cells(repeats=2, points=POINTS[:1]))
    (row, _) = exp6_1.EXPERIMENT.tables[0].rows(few)
    assert row[8] == NOT_DEFINED
    (bar,) = shown(exp6_1.EXPERIMENT.figures[1], few)
    assert (bar.value, bar.interval) == (None, NOT_DEFINED)


def test_6_1_says_what_did_not_work():
    found = cells(repeats=2, points=POINTS[:1])
    found[0].summary["populations"]["chat"]["verified"]["wrong"] = 1
    (row, counted) = exp6_1.EXPERIMENT.tables[0].rows(a_run(found))
    assert row[2] == "no: 1 of 4 answers were wrong"
    assert counted[2:5] == ("0 of 1", "1 of 1", "1 of 1")


def test_3_1_says_why_no_memory_is_drawn(run):
    with pytest.raises(Absent, match="all arms use one allocator"):
        shown(exp3_1.EXPERIMENT.figures[1], run)
