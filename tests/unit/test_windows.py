"""What a summary says over time and of the load, against plain loops over the turns."""

import itertools
import math

import numpy as np
import pytest

from djinnload.reading.files import read_json, read_samples
from djinnload.stats import populations as stats
from djinnload.summary import windows
from djinnload.units import MS, SECOND

POPULATIONS = ("realtime", "chat", "batch")


@pytest.fixture
def cell(synthetic_cell):
    summary = read_json(synthetic_cell / "summary.json")
    manifest = read_json(synthetic_cell / "manifest.json")
    return summary["populations"], stats.populations(
        read_samples(synthetic_cell), manifest
    )


def turns_of(samples):
    t = samples.turns
    columns = (t.due_ns, t.done_ns, t.ok)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def overlap(a, b, begin, end):
    return max(0, min(b, end) - max(a, begin))


def quantile(values, q):
    if len(values) * (1 - q) < 10 - 1e-6:
        return None
    found = sorted(values)[math.ceil(q * len(values) - 1e-6) - 1]
    return "inf" if math.isinf(found) else pytest.approx(found / MS)


@pytest.mark.parametrize("name", POPULATIONS)
def test_windows_are_what_a_loop_counts(cell, name):
    summary, samples = cell[0][name], cell[1][name]
    begin, end = samples.window_ns
    deadline = samples.deadline_ns or math.inf
    shown = summary["windows"]
    assert len(shown) == math.ceil((end - begin) / SECOND)
    assert sum(each["seconds"] for each in shown) == (end - begin) / SECOND
    for number, each in enumerate(shown):
        a = begin + number * SECOND
        b = min(end, a + SECOND)
        mine = [turn for turn in turns_of(samples) if a <= turn[0] < b]
        good = [1 for due, done, ok in mine if ok and done - due <= deadline]
        done_here = [1 for _, done, ok in turns_of(samples) if ok and a <= done < b]
        there = sum(overlap(due, done, a, b) for due, done, _ in turns_of(samples))
        latency = [done - due if ok else math.inf for due, done, ok in mine]
        seconds = (b - a) / SECOND
        assert each == {
            "at_s": number,
            "seconds": seconds,
            "offered_per_s": pytest.approx(len(mine) / seconds),
            "achieved_per_s": pytest.approx(len(done_here) / seconds),
            "goodput_per_s": pytest.approx(len(good) / seconds),
            "errors": sum(not ok for _, _, ok in mine),
            "misses": len(mine) - len(good),
            "in_system": pytest.approx(there / (b - a)),
            "p50_ms": quantile(latency, 0.5),
            "p99_ms": quantile(latency, 0.99),
        }


def test_windows_fit_any_duration():
    for seconds, count in ((0.5, 1), (1, 1), (1.5, 2), (120, 120), (121, 61)):
        at = windows.edges((7, 7 + round(seconds * SECOND)))
        assert len(at) == count + 1
        assert (at[0], at[-1]) == (7, 7 + round(seconds * SECOND))
        assert (np.diff(at) > 0).all()
    assert len(windows.edges((0, 24 * 3600 * SECOND))) == windows.MOST + 1
    assert windows.edges((5, 5)).tolist() == [5]


@pytest.mark.parametrize("name", POPULATIONS)
def test_the_load_is_what_a_sweep_counts(cell, name):
    summary, samples = cell[0][name], cell[1][name]
    begin, end = samples.window_ns
    turns = turns_of(samples)
    area = sum(overlap(due, done, begin, end) for due, done, _ in turns)
    events = [(max(due, begin), 1) for due, _, _ in turns if due <= end]
    events += [(min(done, end), -1) for _, done, _ in turns]
    # Those that leave go first.
    inside = itertools.accumulate(step for _, step in sorted(events))
    assert summary["in_system"] == {
        "mean": pytest.approx(area / (end - begin)),
        "max": max(inside),
    }
    deadline = samples.deadline_ns or math.inf
    good = sum(ok and done - due <= deadline for due, done, ok in turns)
    seconds = (end - begin) / SECOND
    assert summary["goodput_per_s"] == pytest.approx(good / seconds)
    assert summary["offered_per_s"] == pytest.approx(len(turns) / seconds)


@pytest.mark.parametrize("name", POPULATIONS)
def test_steps_turns_units_bytes_and_times_are_those_of_the_rows(
    cell, synthetic_cell, name
):
    summary = cell[0][name]
    manifest = read_json(synthetic_cell / "manifest.json")
    rows = [
        row
        for row in read_samples(synthetic_cell).to_pylist()
        if row["population"] == name and row["phase"] == "measure"
    ]
    ok = [row for row in rows if row["outcome"] == "ok"]
    for step, shown in summary["by_step"].items():
        assert shown["n"] == sum(row["step"] == step for row in rows)
        mine = [row for row in ok if row["step"] == step]
        for metric, value in (
            ("latency", lambda row: row["done_ns"] - row["due_ns"]),
            ("service", lambda row: row["done_ns"] - row["sent_ns"]),
            ("queue", lambda row: row["server_queue_ns"]),
        ):
            mean = sum(map(value, mine)) / len(mine) / MS
            assert shown[f"{metric}_ms"]["n"] == len(mine)
            assert shown[f"{metric}_ms"]["mean"] == pytest.approx(mean)
    assert {row["step"] for row in rows} == set(summary["by_step"])
    numbers = {(row["user"], row["session"], row["turn"]) for row in rows}
    for shown in summary["by_turn"]:
        assert shown["n"] == sum(turn == shown["turn"] for *_, turn in numbers)
    assert summary["bytes"]["request"] == {
        "sent": sum(row["bytes_sent"] for row in rows),
        "received": sum(row["bytes_received"] for row in rows),
    }
    assert summary["units"]["name"] == manifest["populations"][name]["unit"]
    assert summary["reused_tokens"] is None
    split = summary["time_split_ms"]
    whole = summary["service_ms"]["mean"]
    parts = split["queue"] + split["compute"] + split["transfer"]
    assert parts == pytest.approx(whole)
    by_session = {}
    for row in sorted(rows, key=lambda row: row["due_ns"]):
        by_session.setdefault((row["user"], row["session"]), []).append(row)
    idle = [
        later["ready_ns"] - row["done_ns"]
        for each in by_session.values()
        for row, later in itertools.pairwise(each)
    ]
    expected = pytest.approx(sum(idle) / len(idle) / MS, abs=1e-9) if idle else None
    assert split["idle"] == expected
