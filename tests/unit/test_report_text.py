"""The terminal's report: what a person reads, from a summary alone."""

import io
import json

import pytest
from rich.console import Console

from djinnload import regressions
from djinnload.describe import describe
from djinnload.report import plan_text, text
from djinnload.scenarios.load import load
from djinnload.summary.fold import fold_run, read_run


@pytest.fixture
def shown(synthetic_run, monkeypatch):
    def show(change=lambda summary: None, *, width=80, quiet=False):
        fold_run(synthetic_run)
        summary = json.loads((synthetic_run / "summary.json").read_text())
        change(summary)
        out = io.StringIO()
        console = Console(file=out, width=width, color_system=None, highlight=False)
        monkeypatch.setattr(text, "Console", lambda **_: console)
        text.show(summary, synthetic_run, quiet=quiet)
        return out.getvalue()

    return show


@pytest.mark.parametrize("width", [80, 120])
def test_every_class_arm_and_objective_has_its_line(shown, width):
    lines = shown(width=width).splitlines()
    first = [line.split() for line in lines]
    for arm in ("qos", "fcfs"):
        assert any(
            words[:2] == ["realtime", arm] or words[:1] == [arm] for words in first
        )
    assert any("p95(latency) <= " in line and " met " in line for line in lines)
    assert any("not judged" in line for line in lines)
    assert max(map(len, lines[:-2])) <= width


def test_a_percentile_that_n_does_not_support_says_so(shown):
    def few(summary):
        summary["arms"]["qos"]["all"]["chat"]["latency_ms"]["p99"] = None

    assert "n too small" in shown(few, width=120)
    assert " few " in shown(few, width=80)


def test_comparison_has_its_interval_and_a_reason_only_once(shown):
    def doubt(summary):
        for each in summary["comparisons"]:
            each |= {"status": "void", "reasons": ["LATE in all/qos/r00"]}

    found = shown(doubt)
    assert "comparison by repeats, 95 % intervals" in found
    assert " × [" in found
    assert found.count("LATE in all/qos/r00 (all of them)") == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("pass", "verdict: PASS, every judged objective is met"),
        ("fail", "verdict: FAIL, at least one judged objective is missed"),
        ("void", "verdict: VOID, cannot be trusted"),
    ],
)
def test_verdict_in_words_and_where_the_results_lie(
    shown, synthetic_run, status, words
):
    def decide(summary):
        summary["verdict"] |= {
            "status": status,
            "reasons": [{"code": "LATE", "message": "sent late; use fewer users"}],
        }

    found = shown(decide, quiet=True)
    assert words in found
    assert "LATE: sent late; use fewer users" in found
    assert str(synthetic_run) in found.replace("\n", "")
    assert "comparison" not in found


def test_answers_checked_have_a_bound(shown):
    assert "answers checked, none wrong: at most" in shown()


def test_names_are_text_not_markup(shown):
    def odd(summary):
        arms = summary["arms"]
        arms["[red]x[/]"] = arms.pop("qos")

    assert "[red]x[/]" in shown(odd, width=120)


def test_plan_says_what_a_run_would_do(monkeypatch):
    out = io.StringIO()
    console = Console(file=out, width=110, color_system=None)
    monkeypatch.setattr(plan_text, "Console", lambda **_: console)
    plan_text.show_plan(describe(load("quick")))
    found = out.getvalue()
    for words in ("4 cells", "arm qos", "arm fcfs", "0.2 of capacity", "gpt2-tiny"):
        assert words in found
    assert "nothing was opened" in found


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("miss_rate", "tolerance 5.00 %, 5 points of a share)"),
        ("mean(latency)", "tolerance 5.00 %)"),
    ],
)
def test_a_tolerance_of_a_share_is_told_in_points(
    synthetic_run, monkeypatch, metric, said
):
    question = regressions.ask(1, arms="qos,fcfs", metrics=[metric])
    run = regressions.Run("run", *read_run(synthetic_run))
    out = io.StringIO()
    console = Console(file=out, width=120, color_system=None, highlight=False)
    monkeypatch.setattr(text, "Console", lambda **_: console)
    text.show_decision(regressions.answer(question, [run]))
    assert said in out.getvalue()
