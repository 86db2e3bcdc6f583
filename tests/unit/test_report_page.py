"""What the report's page is made of: data, room, words; without a browser."""

import csv
import math
from urllib.parse import unquote

import numpy as np
import pytest

import health_kit as kit  # tests/, by conftest.py
from djinnload.reading.files import read_json, write_json
from djinnload.report import (
    comparison_figures,
    device_figures,
    distributions,
    figures,
    heat_figures,
    html,
    logarithmic,
    turn_figures,
)
from djinnload.report.drawn import Drawn, Keys, csv_of
from djinnload.report.page import measuring, placing
from djinnload.report.page.placing import Shelf
from djinnload.summary.fold import fold_run
from djinnload.summary.heat import heat
from experiment_kit import edit_plan, write_experiment
from many_rows import write_run

KEYS = Keys(("qos", "fcfs"), ("chat",))


def rows_of(drawn):
    return list(csv.DictReader(drawn.csv.splitlines()))


def test_a_million_samples_are_a_small_page(tmp_path):
    write_run(tmp_path / "run", 1_000_000)
    fold_run(tmp_path / "run")
    page = html.write(tmp_path / "run")
    assert 50_000 < page.stat().st_size < 1_000_000
    assert "692,032" in page.read_text()


def figure(number, size=400_000):
    svg = f'<svg viewBox="0 0 9 9"><g>{"x" * size}</g></svg>'
    return Drawn(f"f{number}", svg, f"figure {number}", "caption", "x,value\n1,2\n")


def test_figures_without_room_are_named_with_their_files(tmp_path):
    placed = Shelf(tmp_path).place("latency", map(figure, range(6)))
    assert [bool(each.svg) for each in placed] == [True] * 3 + [False] * 3
    assert [bool(each.data) for each in placed] == [True] * 3 + [False] * 3
    for each in placed:
        assert (tmp_path / each.path).read_text() == each.drawn.svg
    small = Shelf(tmp_path, placing.MOST_BYTES - 1000)
    assert [bool(p.svg) for p in small.place("x", [figure(0), figure(1, 10)])] == [
        False,
        True,
    ]


def test_csv_leaves_out_what_is_nowhere_known():
    rows = [
        {"arm": 'a,"b"', "x": 1.23456789, "low": None, "n": 10**7},
        {"arm": "c", "x": math.nan, "low": None, "value": math.inf},
    ]
    text = csv_of(rows)
    assert text == 'arm,x,n,value\n"a,""b""",1.23457,10000000,\nc,,,inf\n'
    assert unquote(placing.data_uri(text).partition(",")[2]) == text


def test_keys_of_what_a_page_does_not_know_are_empty():
    assert KEYS.of(arm="fcfs", population="chat") == "a1 p0"
    assert KEYS.of(arm="other") == ""
    assert KEYS.of() == ""


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.001, "0.001"), (1.2, "1.2"), (20.0, "20"), (2e6, "2,000,000")],
)
def test_ticks_have_all_their_digits(value, shown):
    assert logarithmic.milliseconds(value) == shown


@pytest.mark.parametrize(
    ("one_in", "name"),
    [(1, "p0"), (2, "p50"), (20, "p95"), (1000, "p99.9"), (1e6, "p99.9999")],
)
def test_percentiles_have_their_name(one_in, name):
    assert figures.percentile(one_in) == name


def test_quantiles_are_those_of_the_values():
    values = np.sort(np.random.default_rng(2).lognormal(size=5000))
    curve = figures.Curve("", values, np.arange(1, 5001) / 5000, 5000, 0)
    one_in, found = figures.quantiles(curve)
    for q in (0.5, 0.9, 0.95, 0.99, 0.999):
        (at,) = np.flatnonzero(np.isclose(one_in, 1 / (1 - q)))
        assert found[at] == values[math.ceil(q * 5000 - 1e-9) - 1]
    assert one_in[-1] <= 5000


def test_quantiles_end_where_turns_are_lost():
    curve = figures.Curve("", np.arange(1.0, 91), np.arange(1, 91) / 100, 100, 10)
    one_in, _ = figures.quantiles(curve)
    assert one_in[-1] == pytest.approx(10)


def test_heat_counts_every_turn_once():
    repeats = [kit.population(seed, rate=300.0, service_ms=2.0) for seed in (1, 2)]
    found = heat(repeats)
    counts, ms = np.array(found["counts"]), np.array(found["ms"])
    latency = np.sort(np.concatenate([r.turns.latency_ns for r in repeats])) / 1e6
    assert counts.sum() == len(latency)
    assert sum(found["lost"]) == 0
    assert counts.shape == (len(ms) - 1, len(found["at_s"]) - 1) == (24, 40)
    assert found["at_s"][-1] == 10
    assert np.cumsum(counts.sum(axis=1)) == pytest.approx(
        np.searchsorted(latency, ms[1:], "right"), abs=1
    )
    due = np.concatenate([r.turns.due_ns - r.window_ns[0] for r in repeats])
    assert counts.sum(axis=0).tolist() == np.bincount(due * 40 // 10**10).tolist()


def test_heat_of_turns_that_are_not_ok_has_no_latency():
    late = kit.population(4, outcome=lambda ok, rng: np.full_like(ok, "timeout"))
    found = heat([late])
    assert np.array(found["counts"]).sum() == 0
    assert sum(found["lost"]) == len(late.turns.due_ns) > 0
    assert heat([]) is None


def test_a_heat_map_has_an_arm_above_the_other(tmp_path):
    one = {
        "point": "all",
        "population": "chat",
        "at_s": [0.0, 1.0, 2.0],
        "ms": [1.0, 2.0, 4.0],
    }
    arms = [
        one | {"arm": "qos", "counts": [[3, 0], [0, 7]], "lost": [0, 0]},
        one | {"arm": "fcfs", "counts": [[1, 1], [0, 0]], "lost": [0, 2]},
    ]
    write_json(tmp_path / "curves.json", {"heat": arms})
    groups = {("all", "chat"): [{"arm": "qos"}, {"arm": "fcfs"}, {"arm": "gone"}]}
    (found,) = heat_figures.drawn(tmp_path, groups, KEYS, void=False)
    assert [(r["arm"], r["from_s"], r["from_ms"], r["turns"]) for r in rows_of(found)] == [
        ("qos", "0", "1", "3"), ("qos", "1", "2", "7"),
        ("fcfs", "0", "1", "1"), ("fcfs", "1", "1", "1"), ("fcfs", "1", "", "2"),
    ]  # fmt: skip
    assert "up to 7 in a cell" in found.caption
    assert "not ok" in found.caption
    assert found.svg.count('class="a0"') == 2  # two strengths
    assert found.svg.count('class="a1"') == 2  # one, and the lost ones
    assert (
        list(heat_figures.drawn(tmp_path, {("x2", "chat"): []}, KEYS, void=False)) == []
    )


COMPARED = {
    "point": "all", "population": "chat", "arm": "qos", "baseline": "fcfs",
    "metric": "p95(latency)", "a": 1.0, "b": 2.0, "ratio": 0.5, "ci95": [0.4, 0.6],
    "p_holm": 0.01, "n": 5, "status": "ok", "reasons": [],
}  # fmt: skip


def test_ratios_without_an_interval_are_in_the_data_only():
    unknown = COMPARED | {"metric": "mean(latency)", "ratio": None, "ci95": None}
    endless = COMPARED | {"metric": "p99(latency)", "ci95": [0.4, "inf"]}
    every = [COMPARED, unknown, endless]
    (found,) = comparison_figures.drawn(every, KEYS, tolerance=0.05, void=False)
    assert "chat, p95(latency), qos ÷ fcfs" in found.svg
    assert "mean(latency)" not in found.svg
    assert "p99(latency)" not in found.svg
    assert "tolerance of 5 %" in found.caption
    assert [row["metric"] for row in rows_of(found)] == [
        "p95(latency)", "mean(latency)", "p99(latency)",
    ]  # fmt: skip
    assert list(comparison_figures.drawn([unknown], KEYS, void=False)) == []


def test_turns_are_drawn_where_sessions_have_several():
    turns = [
        {
            "turn": i,
            "latency_ms": {"n": 50, "p50": 5.0 + i, "ci95": {"p50": [4.0, 9.0]}},
        }
        for i in range(3)
    ]
    few = {"turn": 3, "latency_ms": {"n": 5, "p50": None, "ci95": {}}}
    groups = {
        ("all", "chat"): [{"arm": "qos", "by_turn": [*turns, few]}],
        ("all", "echo"): [{"arm": "qos", "by_turn": turns[:1]}],
    }
    (found,) = turn_figures.drawn(groups, KEYS, void=False)
    assert (found.slug, found.key) == ("turns-chat", "p0")
    assert [(r["turn"], r["value"], r["low"]) for r in rows_of(found)] == [
        ("0", "5", "4"), ("1", "6", "4"), ("2", "7", "4"),
    ]  # fmt: skip


def test_of_few_sessions_turns_have_a_mean():
    turns = [
        {"turn": i, "latency_ms": {"n": 5, "p50": None, "mean": 3.0}} for i in (0, 1)
    ]
    (found,) = turn_figures.drawn(
        {("all", "chat"): [{"arm": "qos", "by_turn": turns}]}, KEYS, void=False
    )
    assert [row["panel"] for row in rows_of(found)] == ["latency mean (ms)"] * 2
    assert found.caption.startswith("Mean latency")


@pytest.fixture(scope="module")
def with_gpu(tmp_path_factory):
    run = tmp_path_factory.mktemp("gpu") / "run"
    write_experiment(run, "2.1", arms=("qos", "fcfs"), gpu=True, repeats=1)
    edit_plan(run, lambda plan: plan["scenario"].clear())
    return run, fold_run(run)


def test_gpus_are_drawn_over_time(with_gpu):
    run, summary = with_gpu
    (found,) = device_figures.drawn(run, summary["cells"], KEYS, void=False)
    rows = rows_of(found)
    assert {(r["arm"], float(r["value"])) for r in rows} == {("qos", 20), ("fcfs", 40)}
    assert {r["panel"] for r in rows} == {"busy (%)"}
    seconds = [float(r["seconds"]) for r in rows if r["arm"] == "qos"]
    assert seconds == sorted(seconds)
    assert 0 < seconds[0] < seconds[-1] < 2


def test_the_page_of_a_run_with_gpus_has_their_readings(with_gpu):
    run, summary = with_gpu
    found = measuring.summaries(run, summary["cells"])
    (qos, fcfs) = measuring.devices(found.values())
    assert (qos["device"], qos["reading"], qos["cells"]) == ("gpu0", "util", 1)
    assert qos["mean"] == pytest.approx(0.2)
    assert fcfs["max"] == pytest.approx(0.4)
    text = html.write(run).read_text()
    assert '<h2 id="gpu">GPU</h2>' in text
    assert 'aria-label="gpu0 over time"' in text


def test_steps_are_pooled_by_their_number(with_gpu):
    run, summary = with_gpu
    found = measuring.summaries(run, summary["cells"])
    cells = [
        found[each["path"]]["populations"]["chat"]["by_step"]
        for each in summary["cells"]
    ]
    told = measuring.steps([*found.values()] * 2)
    assert {each["name"] for each in told} == {"chat"}
    (decode,) = [e for e in told if (e["arm"], e["step"]) == ("qos", "decode")]
    assert decode["n"] == 2 * cells[0]["decode"]["n"]
    assert decode["latency_ms"] == pytest.approx(
        cells[0]["decode"]["latency_ms"]["mean"]
    )


def test_how_it_was_measured_in_words(synthetic_run):
    def add(manifest):
        manifest["plan"] = {
            "scenario": {"order": "interleaved", "duration": "20s"},
            "population": [
                {
                    "name": "chat",
                    "workload": {"use": "llm", "new_tokens": 3},
                    "arrival": {"process": "poisson", "rate": "4/s"},
                },
                {
                    "name": "batch",
                    "workload": {"use": "echo"},
                    "users": 4,
                    "think": "200ms",
                },
            ],
        }
        manifest["accepted"] = ["LATE"]

    manifest = read_json(synthetic_run / "manifest.json")
    add(manifest)
    cells = read_json(synthetic_run / "summary.json")["cells"]
    how = dict(measuring.how(synthetic_run, manifest, cells))
    assert how["Cells"] == "10, of 1 point, 2 arms, 5 repeats, interleaved"
    assert how["Each cell"] == "duration 20s"
    assert "it is not Djinn" in how["Server"]
    assert how["Shared host"].startswith("the server had 1 thread at nice 19")
    other = synthetic_run / cells[0]["path"] / "manifest.json"
    cell = read_json(other)
    cell["proof"] |= {"kind": "PyTorch on cpu", "address": "", "embedded": False}
    write_json(other, cell)
    how = dict(measuring.how(synthetic_run, manifest, cells))
    assert how["Server of qos"] == "PyTorch on cpu"
    assert "it is not Djinn" in how["Server of fcfs, qos"]
    assert how["Accepted by hand"].startswith("LATE")
    rows = [{"name": "chat", "loop": "open"}, {"name": "batch", "loop": "closed"}]
    chat, batch = measuring.loads(manifest, rows)
    assert chat["arrivals"] == "poisson (rate 4/s)"
    assert chat["workload"] == "llm (new_tokens 3)"
    assert batch["arrivals"] == "4 users, think 200ms"
    assert "hides queueing" in batch["loop"]


def test_outcomes_that_nobody_had_are_left_out():
    rows = [
        {"outcomes": {"ok": 9, "timeout": 1}},
        {"outcomes": {"ok": 5}},
        {"outcomes": {}},
    ]
    found = measuring.outcomes(rows)
    assert found["names"] == ["ok", "timeout"]
    assert [(each["counts"], each["total"]) for each in found["rows"]] == [
        ([9, 1], 10), ([5, 0], 5),
    ]  # fmt: skip


def test_of_many_points_percentiles_have_a_line_each():
    curve = figures.Curve("qos", np.arange(1.0, 101), np.arange(1, 101) / 100, 100, 0)
    points = [f"rate={i}" for i in range(20)]
    groups = {(point, "chat"): [{"arm": "qos"}] for point in points}
    curves = {("qos", point, "chat", "latency"): curve for point in points}
    (found,) = distributions.by_point(groups, curves, KEYS, void=False)
    shown = list(dict.fromkeys(row["series"] for row in rows_of(found)))
    assert len(shown) == 8
    assert (shown[0], shown[-1]) == ("rate=0", "rate=19")
    assert "8 of 20" in found.caption
    assert found.key == "a0 p0"
