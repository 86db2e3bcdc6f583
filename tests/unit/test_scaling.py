"""A sweep over load → efficiency, knee, saturation, and what its reports show."""

import io
import math

import numpy as np
import pytest
from rich.console import Console

import health_kit as kit
from djinnload import documents
from djinnload.findings import Finding
from djinnload.report import sweep_figures, sweep_text, text
from djinnload.report.amounts import few
from djinnload.scenarios.load import loads
from djinnload.summary import scaling
from djinnload.summary.numbers import throughput
from djinnload.summary.run import Cell, run_summary

TEXT = """
[scenario]
name = "s"
duration = "1s"
[[population]]
name = "chat"
arrival = { process = "poisson", rate = "1/s" }
workload = { use = "echo" }
[[population]]
name = "other"
users = 1
workload = { use = "echo" }
"""
RATES = (25, 50, 100, 200, 400)


def sweep(name, path, *values):
    return f'[[sweep]]\nname = "{name}"\npath = "{path}"\nvalues = {list(values)!r}\n'


def manifest(*sweeps):
    found = loads(TEXT + "".join(sweeps))
    return {"sweeps": documents._sweeps(found), "scenario": {"name": "s"}}


RATE = sweep("rate", "population.chat.arrival.rate", *(f"{n}/s" for n in RATES))


def cell(rate, number=0, *, arm="default", point=None, findings=(), **changes):
    """An M/M/1 of 200/s at *rate*, beside a population that no sweep loads."""
    point = point or f"rate={rate}-s"
    # One seed of numbers for each repeat: what is random is the same at every rate.
    chat = kit.renamed(kit.population(number, rate=rate, **changes), "chat")
    other = kit.renamed(kit.population(99, rate=10), "other")
    evidence = kit.cell(chat, other)
    place = {"point": point, "arm": arm, "repeat": number}
    entry = {"id": f"{point}/{arm}/r{number:02d}"} | place
    made = dict(evidence.manifest) | place
    return Cell(entry, "done", made, evidence, None, tuple(findings))


def cells(*, repeats=3, **changes):
    return [cell(rate, n, **changes) for rate in RATES for n in range(repeats)]


def of(document, point):
    return next(each for each in document["efficiency"] if each["point"] == point)


def test_which_sweep_is_over_load():
    found = scaling.axis(manifest(sweep("n", "population.other.users", 1, 8))["sweeps"])
    assert (found.kind, found.population, found.loads) == (
        "users", "other", {"n=1": 1.0, "n=8": 8.0}
    )  # fmt: skip
    part = sweep("l", "population.chat.arrival.rate", "0.5 of capacity", "1/s")
    assert scaling.axis(manifest(part)["sweeps"]).loads["l=0.5-of-capacity"] == 0.5
    factor = sweep("load", "scenario.load", 0.9, 1.1)
    slots = sweep("slots", "target.server.slots", 2, 1)
    found = scaling.axis(manifest(slots, factor)["sweeps"])
    assert (found.sweep, found.population) == ("load", "")
    assert found.others["slots=2,load=0.9"] == "slots=2"
    assert scaling.axis(manifest(slots)["sweeps"]) is None
    assert scaling.axis(None) is None


def test_efficiency_is_throughput_over_load_times_that_of_the_least():
    found = scaling.of_run(manifest(RATE), cells())
    assert {each["population"] for each in found["efficiency"]} == {"chat"}
    assert of(found, "rate=25-s")["value"] == 1
    assert of(found, "rate=25-s")["ci95"] is None
    assert of(found, "rate=50-s")["value"] == pytest.approx(1, abs=0.1)
    # Twice what the server does: half of it is lost, beside what still waits.
    last = of(found, "rate=400-s")
    assert last["value"] == pytest.approx(0.5, abs=0.08)
    assert last["ci95"][0] < last["value"] < last["ci95"][1]
    assert (last["n"], last["load"], last["base_load"]) == (3, 400, 25)


def test_efficiency_pairs_repeats_and_is_their_geometric_mean():
    every = cells()
    found = of(scaling.of_run(manifest(RATE), every), "rate=200-s")
    ratios = [
        throughput(cell(200, n).evidence.populations["chat"])
        / throughput(cell(25, n).evidence.populations["chat"])
        / 8
        for n in range(3)
    ]
    assert found["value"] == pytest.approx(math.exp(np.mean(np.log(ratios))))
    # Student's t of two degrees of freedom, over logarithms.
    half = 4.302653 * np.std(np.log(ratios), ddof=1) / math.sqrt(3)
    assert found["ci95"][1] == pytest.approx(found["value"] * math.exp(half), rel=1e-5)
    # A repeat that the least load lacks has nothing to be compared with.
    less = [each for each in every if each.id != "rate=25-s/default/r01"]
    found = of(scaling.of_run(manifest(RATE), less), "rate=200-s")
    assert (found["n"], found["ci95"]) == (2, None)


def test_the_knee_and_saturation_of_a_queue():
    (found,) = scaling.of_run(manifest(RATE), cells())["knee"]
    assert found["load"] == 200
    assert found["saturation_load"] in {200, 400}
    assert found["most_per_s"] == pytest.approx(200, rel=0.1)
    low = [cell(rate, n) for rate in RATES[:3] for n in range(3)]
    (found,) = scaling.of_run(manifest(RATE), low)["knee"]
    assert (found["load"], found["saturation_load"]) == (None, None)
    assert found["top_load"] == 100


def test_a_generator_that_did_not_keep_up_is_what_held_it_up():
    late = Finding("LATE", "seen", void=True, value=1.0)
    every = [*cells()[:-1], cell(400, 2, findings=[late])]
    (found,) = scaling.of_run(manifest(RATE), every)["knee"]
    assert found["held_up_by"] == "the generator or its host: LATE"


def test_each_arm_and_place_in_other_sweeps_has_its_own():
    slots = sweep("slots", "target.server.slots", 1, 2)
    every = [
        cell(rate, n, arm=arm, point=f"slots={slot},rate={rate}-s")
        for slot in (1, 2)
        for arm in ("a", "b")
        for rate in RATES
        for n in range(2)
    ]
    found = scaling.of_run(manifest(slots, RATE), every)
    assert {(each["arm"], each["others"]) for each in found["knee"]} == {
        (arm, f"slots={slot}") for arm in "ab" for slot in (1, 2)
    }
    assert len(found["efficiency"]) == 20


def summary(every, *sweeps):
    made = manifest(*(sweeps or (RATE,)))
    return run_summary(made, every) | scaling.of_run(made, every)


def shown(found):
    out = io.StringIO()
    console = Console(file=out, width=100, color_system=None)
    sweep_text.render(found, console)
    return out.getvalue()


def test_the_terminal_has_a_line_a_point_and_says_where_it_bends():
    every = [*cells(), Cell({"id": "rate=1-s/default/r00"}, "skipped")]
    said = shown(summary(every))
    lines = [line.split() for line in said.splitlines() if line.startswith("rate=")]
    # Each of the two populations; the point that was skipped stands last.
    assert [line[0] for line in lines] == 2 * [
        *(f"rate={rate}-s" for rate in RATES), "rate=1-s"
    ]  # fmt: skip
    assert lines[5][1:] == ["default", *["n/a"] * 7]
    assert "knee at rate = 200" in said
    assert "bad" not in said


def test_figures_have_the_line_in_proportion_and_every_load():
    first, second = sweep_figures.drawn(summary(cells()), void=False)
    assert (first.slug, second.slug) == ("throughput-chat", "p99-chat")
    for words in ("in proportion to load", "Throughput against load", ">400<", ">25<"):
        assert words in first.svg
    assert "3 repeats at each load" in first.caption
    assert "p99 from due (ms, logarithmic)" in second.svg
    assert "VOID" in next(sweep_figures.drawn(summary(cells()), void=True)).svg


def test_without_a_sweep_over_load_there_is_nothing_to_draw():
    slots = sweep("slots", "target.server.slots", 1, 2)
    every = [cell(50, point=f"slots={n}") for n in (1, 2)]
    found = summary(every, slots)
    assert list(sweep_figures.drawn(found, void=False)) == []
    assert (found["knee"], found["efficiency"]) == (None, [])
    assert "slots=2" in shown(found)


def test_the_terminal_lists_objectives_that_are_not_met_with_their_point():
    found = summary(cells(repeats=1))
    out = io.StringIO()
    text.render(found, console=Console(file=out, width=100, color_system=None))
    assert "objective" not in out.getvalue()
    decided = {"text": "p95(latency) <= 9ms", "value": 5e6, "n": 7}
    points = found["arms"]["default"]
    points["rate=25-s"]["chat"]["objectives"] = [decided | {"met": True}]
    text.render(found, console=Console(file=out, width=100, color_system=None))
    assert "every objective is met at every point" in out.getvalue()
    points["rate=400-s"]["chat"]["objectives"] = [decided | {"met": False}]
    text.render(found, console=Console(file=out, width=100, color_system=None))
    (line,) = [each for each in out.getvalue().splitlines() if "missed" in each]
    assert line.split() == [
        "chat", "default,", "rate=400-s", "p95(latency)", "<=", "9ms", "missed",
        "5.00", "ms,", "n", "=", "7",
    ]  # fmt: skip


def test_many_reasons_of_one_code_are_counted():
    reasons = [{"code": "LATE", "message": str(n)} for n in range(9)]
    reasons.append({"code": "CPU", "message": "x"})
    shown = few(reasons)
    assert [each["message"] for each in shown[:3]] == ["0", "1", "2"]
    assert "6 more" in shown[3]["message"]
    assert shown[4]["code"] == "CPU"
    assert few(None) == []
