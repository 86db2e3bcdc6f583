"""Summaries, claims and figures of an allocator's memory, from what a probe read."""

import json

import numpy as np
import pyarrow as pa
import pytest

from djinnload.recording.recorder import Probes
from djinnload.report.experiments import rendering
from djinnload.summary import memory
from djinnload.summary.fold import fold_run
from djinnload.summary.run import Cell
from djinnload.units import MS, SECOND
from experiment_kit import write_experiment  # tests/, by conftest.py
from health_kit import BEGIN, cell, population
from make_synthetic import BEGIN as BEGUN

READ = {
    "memory_blocks": [9, 8, 8, 8],
    "memory_fragmentation": [0.9, 0.1, 0.2, 0.3],
    "memory_utilisation": [0.9, 0.4, 0.5, 0.6],
    "memory_requested_bytes": [1, 10, 20, 60],
    "memory_allocations": [0, 100, 150, 300],
    "memory_canaries_checked": [0, 200, 300, 600],
    "memory_corrupted": [0, 0, 1, 2],
}
CLAIMS = (
    {"arm": "arena", "metric": "fragmentation", "value": "0%"},
    {"arm": "malloc", "metric": "fragmentation", "value": "28%"},
    {"arm": "arena", "metric": "utilisation", "value": "91%"},
)


def looked(left_out=(), *, source="vmu"):
    """A cell whose allocator was read once before measure, and thrice in it."""
    rows = [
        (BEGIN + (i - 0.5) * SECOND, source, "", name, float(value))
        for name, values in READ.items()
        for i, value in enumerate(values)
        if name not in left_out
    ]
    names = ("t_ns", "source", "device", "name", "value")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    columns["t_ns"] = pa.array(np.array(columns["t_ns"], np.int64))
    return cell(population(0), probe=pa.table(columns), arm="arena")


def test_levels_are_means_over_measure_and_counts_its_growth():
    assert memory.memory_of_cell(looked()) == {
        "looks": 3,
        "fragmentation": {"mean": pytest.approx(0.2), "max": 0.3},
        "utilisation": {"mean": pytest.approx(0.5), "max": 0.6},
        "requested_bytes": {"mean": 30, "max": 60},
        "reserved_bytes": None,
        "allocations": 200,
        "canaries_checked": 400,
        "corrupted": 2,
    }


def test_what_nobody_looked_at_is_null():
    assert memory.memory_of_cell(cell(population(0))) is None
    assert memory.memory_of_cell(looked(source="host")) is None
    found = memory.memory_of_cell(looked(["memory_fragmentation"]))
    assert found["fragmentation"] is None
    assert found["utilisation"]["max"] == 0.6


def test_an_arm_is_its_repeats():
    entry = {"arm": "arena", "point": {"all": None}}
    several = [
        Cell(entry | {"repeat": i}, "done", manifest={}, evidence=looked())
        for i in range(2)
    ]
    ((row,),) = memory.memory_of_run(several).values()
    assert (row["arm"], row["repeats"], row["allocations"]) == ("arena", 2, 400)
    assert row["fragmentation"]["value"] == pytest.approx(0.2)
    assert (row["fragmentation"]["n"], row["fragmentation"]["of"]) == (6, "looks")
    # A repeat that does not say it leaves no mean of all.
    half = memory.mean("utilisation", [looked(), looked(["memory_utilisation"])])
    assert half.value is None


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    run = write_experiment(
        tmp_path_factory.mktemp("drawn") / "run", "3.2", arms=("arena", "malloc"),
        repeats=2, claims=CLAIMS,
    )  # fmt: skip
    for path in sorted(run.glob("cells/all/*/r*")):
        known = path.parent.name == "arena"
        with Probes(path, "devices") as probes:
            for i in range(40):
                at = BEGUN + i * 50 * MS
                probes.append((at, "vmu", "", "memory_blocks", 8.0))
                probes.append((at, "vmu", "", "memory_canaries_checked", 20.0 * i))
                probes.append((at, "vmu", "", "memory_utilisation", 0.5))
                if known:
                    share = 0.0 if i % 2 else 0.2
                    probes.append((at, "vmu", "", "memory_fragmentation", share))
    fold_run(run)
    return run, rendering.render(run, json.loads((run / "summary.json").read_text()))


def test_claims_stand_beside_what_was_measured(drawn):
    run, _ = drawn
    claims = json.loads((run / "summary.json").read_text())["claims"]
    found = {(c["arm"], c["metric"]): (c["claimed"], c["measured"]) for c in claims}
    assert found["arena", "fragmentation"] == (0.0, pytest.approx(0.1))
    assert found["malloc", "fragmentation"] == (0.28, None)
    assert found["arena", "utilisation"] == (0.91, pytest.approx(0.5))


def test_figures_and_table(drawn):
    run, made = drawn
    assert [each.name for each in made.shown] == [
        "Figure 9a",
        "Figure 9b",
        "Figure 9c",
        "Table 3",
    ]
    assert not any(each.absent for each in made.shown)
    fragmentation, used = (data for _, data in made.shown[0].data)
    assert {each.series for each in fragmentation} == {"arena"}
    assert {each.series for each in used} == {"arena", "malloc"}
    # The plan's number stands once, at the end of the arm's line.
    claimed = [each for each in fragmentation if each.claim is not None]
    assert [each.claim for each in claimed] == [0.0]
    assert claimed[0].x == max(each.x for each in fragmentation)
    read, corrupted = (data for _, data in made.shown[2].data)
    assert {each.value for each in read} == {2 * 20 * 39}
    assert {each.value for each in corrupted} == {0}
    heads, rows = made.shown[3].table
    assert dict(zip(heads, rows[1], strict=True))["fragmentation (%)"] == "–"
    assert (run / "figures/fig_9a_fragmentation.png").exists()


def test_a_run_without_probes_has_no_table(tmp_path):
    run = write_experiment(tmp_path / "run", "3.2", arms=("arena",), repeats=1)
    made = rendering.render(run, fold_run(run))
    (fragmentation, _, _, table) = made.shown
    assert "nobody measured" in fragmentation.absent
    assert "say probes = { vmu" in table.absent
