"""How a cell went over time, as the report draws it."""

import csv
import re

import pytest

from djinnload.reading.files import write_json
from djinnload.report import course_figures

CELL = {"point": "all", "arm": "default", "path": "cells/all/default/r00"}


def windows(n=4, **changes):
    one = {"seconds": 1.0, "offered_per_s": 120.0, "achieved_per_s": 100.0}
    one |= {"p50_ms": 2.0, "p99_ms": 9.0}
    return [one | {"at_s": float(i)} | changes for i in range(n)]


def drawn(run, *cells):
    for cell, populations in cells:
        found = {name: {"windows": each} for name, each in populations.items()}
        write_json(run / cell["path"] / "summary.json", {"populations": found})
    return list(course_figures.drawn(run, [cell for cell, _ in cells], void=False))


def test_throughput_and_tail_of_each_population(tmp_path):
    found = drawn(tmp_path, (CELL, {"chat": windows(), "echo": windows()}))
    assert [each.slug for each in found] == ["chat", "echo"]
    assert "windows of 1 s" in found[0].caption
    for words in ("turns /s", "p99 (ms)", "seconds since measure began", ">offered<"):
        assert words in found[0].svg


def test_arms_have_a_name_and_repeats_share_it(tmp_path):
    cells = [
        CELL | {"arm": arm, "path": f"cells/all/{arm}/r0{i}"}
        for arm in ("qos", "fcfs")
        for i in range(3)
    ]
    (found,) = drawn(tmp_path, *((cell, {"chat": windows()}) for cell in cells))
    named = re.findall(r">((?:qos|fcfs), \w+)<", found.svg)
    assert named == ["qos, offered", "qos, achieved", "fcfs, offered", "fcfs, achieved"]
    assert "3 repeats an arm" in found.caption


def test_its_data_are_what_is_drawn(tmp_path):
    (found,) = drawn(tmp_path, (CELL, {"chat": windows(2, p99_ms=None)}))
    rows = list(csv.DictReader(found.csv.splitlines()))
    told = [(r["panel"], r["series"], r["seconds"], r["value"]) for r in rows]
    assert told == [
        ("turns /s", "offered", "0.5", "120"), ("turns /s", "offered", "1.5", "120"),
        ("turns /s", "achieved", "0.5", "100"), ("turns /s", "achieved", "1.5", "100"),
        ("p50 (ms)", "", "0.5", "2"), ("p50 (ms)", "", "1.5", "2"),
    ]  # fmt: skip


def test_of_very_many_windows_there_is_the_median_of_repeats(tmp_path):
    cells = [
        (CELL | {"path": f"cells/all/default/r0{i}"}, {"chat": windows(120, p50_ms=i)})
        for i in range(6)
    ]
    (found,) = drawn(tmp_path, *cells)
    assert "the median of 6 repeats" in found.caption
    rows = list(csv.DictReader(found.csv.splitlines()))
    assert len(rows) == 3 * 120
    assert {row["repeat"] for row in rows} == {"1"}


def test_a_window_between_gaps_is_seen(tmp_path):
    alone = windows(1) + [w | {"at_s": 1.0, "p99_ms": None} for w in windows(1)]
    (found,) = drawn(tmp_path, (CELL, {"chat": alone}))
    tail = found.svg.rpartition('id="axes_2"')[2]
    # Two points in a line as wide as the window; of one alone nothing would be drawn.
    assert re.search(r'd="M [\d.]+ ([\d.]+) \s*L [\d.]+ \1 \s*" clip-path', tail)


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"p99_ms": None}, "p50 (ms)"),
        ({"p99_ms": "inf"}, "p99 (ms)"),
        ({"p99_ms": None, "p50_ms": None}, None),
    ],
)
def test_the_furthest_percentile_that_is_known(tmp_path, changes, shown):
    (found,) = drawn(tmp_path, (CELL, {"chat": windows(**changes)}))
    assert re.findall(r">(p\d+ \(ms\))<", found.svg) == ([shown] if shown else [])
    assert ("too few for a percentile" in found.caption) is (shown is None)


def test_points_are_told_apart_and_what_has_no_course_is_left_out(tmp_path):
    other = CELL | {"point": "x2", "path": "cells/x2/default/r00"}
    short = CELL | {"point": "x3", "path": "cells/x3/default/r00"}
    cells = ((CELL, {"chat": windows()}), (other, {"chat": windows()}))
    found = drawn(tmp_path, *cells, (short, {"chat": windows(1)}))
    assert [each.slug for each in found] == ["chat at all", "chat at x2"]
    (tmp_path / other["path"] / "summary.json").write_text("{torn")
    gone = CELL | {"path": "cells/none"}
    found = course_figures.drawn(tmp_path, [CELL, other, gone], void=False)
    assert [each.slug for each in found] == ["chat"]


def test_windows_without_a_server_are_grey(tmp_path):
    (plain,) = drawn(tmp_path, (CELL, {"chat": windows()}))
    lost = windows(2) + [each | {"lost": True, "at_s": 2.0} for each in windows(1)]
    (found,) = drawn(tmp_path, (CELL, {"chat": lost}))
    grey = "fill: #808080"
    assert plain.svg.count(grey) < found.svg.count(grey)
    assert found.caption.endswith("; grey: the server did not answer.")
    assert "grey" not in plain.caption
