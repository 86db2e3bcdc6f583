"""Figures and tables of experiments: the same bytes, nothing drawn that is not there."""

import csv
import hashlib
import io
import json
import math
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import get_args

import pytest

from djinnload.errors import ScenarioError
from djinnload.report import drawing, html
from djinnload.report.experiments import EXPERIMENTS, captions, marks, rendering, tables
from djinnload.report.experiments.base import (
    Absent,
    Datum,
    Experiment,
    Figure,
    Panel,
    Run,
    Table,
)
from djinnload.scenarios.experiment import ExperimentId
from djinnload.summary.fold import fold_run
from djinnload.summary.measured import Measured
from experiment_kit import FOUR, edit_plan, write_experiment

CLAIMS = (
    {
        "arm": "native_pytorch",
        "population": "chat",
        "metric": "mean(tpot)",
        "value": "3ms",
        "infeasible": "memory is not that fast",
    },
    {"arm": "full", "population": "chat", "metric": "mean(tpot)", "value": "15ms"},
)


@pytest.fixture(scope="module")
def _runs(tmp_path_factory):
    """Written and folded once a module; a test has copies of its own."""
    base = tmp_path_factory.mktemp("experiments")
    made = {
        "bare": write_experiment(base / "bare", "2.1", claims=CLAIMS),
        "gpu": write_experiment(base / "gpu", "2.2", gpu=True, repeats=3),
    }
    for run in made.values():
        fold_run(run)
    return made


@pytest.fixture(scope="module")
def drawn(_runs, tmp_path_factory):
    """(run, what was made of it), for tests that only look."""
    copied = tmp_path_factory.mktemp("drawn")
    made = {}
    for name, path in _runs.items():
        run = shutil.copytree(path, copied / name)
        made[name] = run, rendered(run)
    html.write(made["bare"][0])
    return made


@pytest.fixture
def run(_runs, tmp_path):
    return shutil.copytree(_runs["bare"], tmp_path / "run")


def summary_of(run):
    return json.loads((run / "summary.json").read_text())


def rendered(run):
    return rendering.render(run, summary_of(run))


def digests(run):
    found = [p for folder in ("figures", "tables") for p in (run / folder).glob("*")]
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (*found, run / "report.html")
    }


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_every_experiment_that_draws_can_be_named():
    assert set(EXPERIMENTS) <= set(get_args(ExperimentId))
    for name, each in EXPERIMENTS.items():
        assert each.id == name
        stems = [drawn.stem for drawn in (*each.figures, *each.tables)]
        assert len(stems) == len(set(stems))
        for stem in stems:
            assert re.fullmatch(r"(fig|table)_[a-z0-9]+_[a-z0-9_]+", stem), stem


def test_the_document_names_each_figure_and_table():
    text = (Path(__file__).parents[2] / "docs/figures.md").read_text(encoding="utf-8")
    for name, each in EXPERIMENTS.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
        for figure in each.figures:
            assert re.search(rf"\b{figure.id} ", row), figure.id
        for table in each.tables:
            assert f"table {table.id}" in row, table.id


def test_report_makes_all_files_again_byte_for_byte_in_new_processes(run):
    def report():
        command = [sys.executable, "-m", "djinnload", "report", str(run)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in {0, 4}, done.stderr
        return digests(run)

    first = report()
    for kind in ("svg", "pdf", "png", "csv", "txt"):
        assert f"figures/fig_6a_latency.{kind}" in first
    shutil.rmtree(run / "figures")
    shutil.rmtree(run / "tables", ignore_errors=True)
    (run / "report.html").unlink()
    assert report() == first
    for path in run.glob("figures/fig_*.svg"):
        assert ET.fromstring(path.read_bytes()).tag.endswith("svg")  # noqa: S314 - ours
    for path in run.glob("figures/fig_*.pdf"):
        assert b"/CreationDate" not in path.read_bytes()


def test_values_of_a_figure_are_those_of_the_summary(drawn):
    run, _ = drawn["bare"]
    summary = summary_of(run)
    found = [
        row
        for row in rows_of(run / "figures/fig_6a_latency.csv")
        if row["panel"] == "ms a token" and row["population"] == "chat"
    ]
    assert [row["arm"] for row in found] == list(FOUR)
    for row in found:
        tpot = summary["arms"][row["arm"]]["all"]["chat"]["tpot_ms"]
        assert float(row["value"]) == pytest.approx(tpot["mean"], rel=0.1)
        assert float(row["low"]) == pytest.approx(tpot["ci95"]["mean"][0])
        assert float(row["high"]) == pytest.approx(tpot["ci95"]["mean"][1])
        assert int(row["n"]) == tpot["n"]
        assert row["start"] == "first token"
        assert row["interval"] == "t over 5 repeats"
        assert row["cells"].split() == [
            f"cells/all/{row['arm']}/r{repeat:02d}" for repeat in range(5)
        ]
    assert [row["claim"] for row in found] == ["3.0", "", "", "15.0"]
    assert found[0]["infeasible"] == "memory is not that fast"


def test_parts_of_the_time_add_up_to_the_latency(drawn):
    run, _ = drawn["bare"]
    summary = summary_of(run)
    parts = rows_of(run / "figures/fig_6b_time_split.csv")
    for arm in FOUR:
        mine = [
            row
            for row in parts
            if (row["arm"], row["population"], row["panel"])
            == (arm, "chat", "ms an answer")
        ]
        assert [row["series"] for row in mine] == [
            *("queue", "compute", "transfer", "idle")
        ]
        latency = summary["arms"][arm]["all"]["chat"]["latency_ms"]["mean"]
        total = sum(float(row["value"]) for row in mine)
        assert total == pytest.approx(latency, rel=0.1)


def test_captions_say_n_interval_start_arms_and_host(drawn):
    run, made = drawn["bare"]
    (text,) = (each.caption for each in made.shown if each.name == "Figure 6a")
    for words in (
        *("n = ", "turns", "95 % intervals (t over 5 repeats", "first token"),
        *(*FOUR, "none (2 cores), no GPU", "claims of the plan, which nobody measured"),
        "a cross is infeasible: memory is not that fast",
    ):
        assert words in text, words
    assert (run / "figures/fig_6a_latency.txt").read_text().strip() == text


def test_a_void_run_says_so_in_each_caption(run):
    void = summary_of(run) | {"verdict": {"status": "void"}}
    for each in rendering.render(run, void).shown:
        assert each.absent or each.caption.startswith("VOID, this run is no evidence.")


def test_no_gpu_is_not_drawn_and_says_why(drawn):
    run, made = drawn["bare"]
    shown = {each.name: each for each in made.shown}
    gpu = shown["Figure 6c"]
    assert "no GPU was looked at" in gpu.absent
    assert gpu.files == ("figures/fig_6c_gpu.txt",)
    assert "absent is not zero" in (run / gpu.files[0]).read_text()
    assert not list(run.glob("figures/fig_6c_gpu.[!t]*"))


def test_a_gpu_that_was_looked_at_is_drawn_over_time(drawn):
    shown = {each.name: each for each in drawn["gpu"][1].shown}
    ((_, data),) = shown["Figure 7c"].data
    for number, arm in enumerate(FOUR):
        mine = [each for each in data if each.arm == arm]
        assert len(mine) > 10
        assert {round(each.value) for each in mine} == {20 * (number + 1)}
        assert all(0 <= each.x <= 2.0 for each in mine)
        assert {each.n for each in mine} == {3}


def test_bytes_over_time_end_at_those_of_a_session(drawn):
    gpu_run, made = drawn["gpu"]
    shown = {each.name: each for each in made.shown}
    ((_, data),) = shown["Figure 7b"].data
    run = Run(gpu_run, summary_of(gpu_run))
    mine = [e.value for e in data if e.arm == "full" and e.population == "realtime"]
    assert mine == sorted(mine)
    (samples, *_) = run.samples("full", "realtime")
    # A session of realtime is one request of 200 + 1,000 bytes.
    assert mine[-1] == pytest.approx(1200e-6)
    assert len(samples.turns.due_ns) > 20


def test_turns_are_drawn_one_by_one(tmp_path):
    arms = ("native_pytorch", "semantic_blind", "full")
    run = write_experiment(tmp_path / "run", "2.3", arms=arms, repeats=3)
    shown = rendering.render(run, fold_run(run)).shown
    (_, data) = shown[0].data[1]
    chat = [each for each in data if each.population == "chat"]
    assert [(each.arm, each.x) for each in chat] == [
        (arm, turn) for arm in arms for turn in (1, 2)
    ]
    assert all(each.start == "due" and each.value > 0 for each in chat)


def test_a_missing_arm_is_an_error_that_names_it(run):
    edit_plan(run, lambda plan: plan["arm"].pop(1))
    with pytest.raises(ScenarioError) as caught:
        html.write(run)
    assert caught.value.path == "$.scenario.experiment"
    assert "'semantic_blind'" in caught.value.reason
    text = (run / "report.html").read_text()
    assert "Nothing is drawn." in text
    assert not list(run.glob("figures/fig_*"))


def test_an_arm_without_a_result_draws_nothing_and_is_named(run):
    shutil.rmtree(run / "cells/all/full")
    found = rendering.render(run, fold_run(run))
    assert found.problem is None
    assert found.shown == ()
    assert found.absent.startswith("no result of full")


def test_what_an_earlier_rendering_left_is_removed(run):
    (run / "figures").mkdir(exist_ok=True)
    (run / "figures/fig_6c_gpu.svg").write_text("of another day")
    rendered(run)
    assert not (run / "figures/fig_6c_gpu.svg").exists()


def test_a_run_of_no_experiment_draws_nothing(run):
    edit_plan(run, lambda plan: plan["scenario"].pop("experiment"))
    assert rendered(run) is None
    html.write(run)
    assert not list(run.glob("figures/fig_*"))


def test_the_report_names_n_interval_start_and_files_of_each_bar(drawn):
    run, _ = drawn["bare"]
    text = (run / "report.html").read_text()
    section = text[text.index('id="experiment"') : text.index('id="comparison"')]
    for arm in FOUR:
        for repeat in range(5):
            cell = f"cells/all/{arm}/r{repeat:02d}"
            assert f'<a href="{cell}/summary.json">' in section
            assert f'<a href="{cell}/samples/">' in section
    for words in ("first token", "t over 5 repeats", "turns", "Claim (plan)"):
        assert words in section
    links = re.findall(r'href="((?!data:)[^"#]+)"', section)
    assert links
    assert [link for link in links if not (run / link).exists()] == []
    claims = section[section.index('id="claims"') :]
    assert "memory is not that fast" in claims
    assert "3 ms" in claims


def datum(**values):
    usual = {"series": "a", "x": "a", "value": 1.0, "arm": "a", "n": 3}
    return Datum(**usual | values)


def svg_of(draw, data):
    def fill(canvas):
        axes = canvas.add_subplot()
        draw(axes, data)
        canvas.legend(*axes.get_legend_handles_labels())

    return drawing.render(fill, (5, 3), void=False)


@pytest.mark.parametrize("infeasible", ["", "no"])
def test_a_claim_is_marked_as_one(infeasible):
    svg = svg_of(marks.bars, [datum(claim=2.0, infeasible=infeasible)])
    assert (marks.INFEASIBLE in svg) == bool(infeasible)
    assert (marks.CLAIM in svg) == (not infeasible)
    assert "claim (plan)" not in svg_of(marks.bars, [datum()])


@pytest.mark.parametrize(
    ("value", "words"), [(None, "n/a"), (math.inf, "turns"), (0.0, ">0<")]
)
def test_what_has_no_bar_says_why(value, words):
    # The second makes the axis logarithmic, on which nothing is zero.
    data = [datum(value=value), datum(series="b", x="b", value=1.0)]
    data.append(datum(series="c", x="c", value=1000.0))
    assert words in svg_of(marks.bars, data)


def test_series_differ_without_colour():
    data = [datum(series=name, x="x", value=v) for name, v in (("a", 1.0), ("b", 2.0))]
    hatched = svg_of(marks.bars, data)
    assert "<pattern" in hatched
    lines = [datum(series=s, x=float(x)) for s in "ab" for x in range(3)]
    assert "stroke-dasharray" in svg_of(marks.lines, lines)


def test_curves_of_many_points_are_lines():
    data = [datum(x=float(x), value=x / 100) for x in range(1, 101)]
    assert "100%" in svg_of(marks.cdf, data)


def test_stacks_stand_on_each_other():
    heights = []

    class Axes:
        def bar(self, at, height, width, *, bottom, **style):
            heights.append((at, bottom, height))

        def __getattr__(self, name):
            return self if name == "spines" else lambda *args, **options: None

        def __getitem__(self, names):
            return self

    data = [
        datum(series=series, x=x, value=value)
        for x in ("a", "b")
        for series, value in (("queue", 1.0), ("compute", 2.0))
    ]
    marks.stacked(Axes(), data)
    assert heights == [(0, 0.0, 1.0), (1, 0.0, 1.0), (0, 1.0, 2.0), (1, 1.0, 2.0)]


HOSTILE = r"50 % of a_b & {x} \cmd $5 #1 ~ ^ <|>"


def table_of(rows):
    return Table(
        id="9", slug="made_up", title="T", said=HOSTILE,
        columns=("name & more", "value"), rows=rows,
    )  # fmt: skip


def test_tables_are_escaped_for_latex():
    rows = [(HOSTILE, Measured(1.5, (1.0, 2.0), 7, "t")), ("none", None)]
    text = tables.latex(table_of(lambda run: rows), rows, HOSTILE).decode()
    body = text.partition("\n")[2]
    assert r"50 \% of a\_b \& \{x\} \textbackslash{}cmd \$5 \#1" in body
    assert r"\textasciitilde{} \textasciicircum{} \textless{}" in body
    assert "1.50 [1.00, 2.00]" in body
    assert body.count(r" & ") == 3
    assert r"\label{tab:made\_up}" in body


def test_intervals_of_a_table_are_columns_of_its_csv():
    rows = [
        ("a", Measured(1.5, (1.0, 2.0), 7, "t")),
        ("b", Measured(None, None, 0, "")),
    ]
    found = list(csv.reader(io.StringIO(tables.csv_of(("arm", "ms"), rows).decode())))
    assert found == [
        ["arm", "ms", "ms low", "ms high", "ms n"],
        ["a", "1.5", "1.0", "2.0", "7"],
        ["b", "", "", "", "0"],
    ]


def test_a_table_is_written_or_says_why_not(run, monkeypatch):
    def none(run):
        raise Absent("nobody counted")

    def some(run):
        return [(arm, len(run.evidence(arm))) for arm in run.arms]

    made = Experiment(id="2.1", title="T", tables=(table_of(some), table_of(none)))
    monkeypatch.setattr(rendering, "EXPERIMENTS", {"2.1": made})
    first, second = rendered(run).shown
    assert first.files == ("tables/table_9_made_up.csv", "tables/table_9_made_up.tex")
    assert first.table[1][0] == ["native_pytorch", "5"]
    assert (second.files, second.table) == ((), None)
    assert "not made: nobody counted" in second.caption


def test_a_panel_without_data_is_left_out_and_named(run, monkeypatch):
    def gone(run):
        raise Absent("no such thing")

    def known(run):
        return [run.datum("mean(latency)", arm="full", population="chat", scale=1e-6)]

    figure = Figure(
        id="1", slug="x", title="X", said="Time",
        panels=(
            Panel("arm", "ms", known, marks.bars), Panel("arm", "?", gone, marks.bars),
        ),
    )  # fmt: skip
    made = Experiment(id="2.1", title="T", figures=(figure,))
    monkeypatch.setattr(rendering, "EXPERIMENTS", {"2.1": made})
    (shown,) = rendered(run).shown
    assert "Not drawn: no such thing." in shown.caption
    assert [axis for axis, _ in shown.data] == ["ms"]


def test_a_caption_counts_values_without_an_interval():
    data = [
        datum(ci95=(0.5, 1.5), interval="t over 5 repeats"),
        datum(series="b", x="b"),
    ]
    figure = Figure(id="1", slug="x", title="X", said="Time", panels=())

    class Nothing:
        manifest, summary = {}, {}

    text = captions.figure(Nothing(), figure, data, ())
    assert "1 of 2 values have none" in text
    assert "n = 3 turns" in text
