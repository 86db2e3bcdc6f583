"""Summaries, samples and hlog say the same; folding a run never crashes on what is left."""

import json
import shutil

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from djinnload.reading import hlog
from djinnload.recording.recorder import read_json, read_samples, write_json
from djinnload.stats import populations as stats
from djinnload.summary import spread
from djinnload.summary.fold import fold_cell, fold_run
from djinnload.units import MS, SECOND

POPULATIONS = ("realtime", "chat", "batch")
#: 3 significant digits: a bucket is at most 1/1024 of its values wide.
PRECISION = 1 / 1000


@pytest.fixture
def cell(synthetic_cell):
    summary = read_json(synthetic_cell / "summary.json")
    manifest = read_json(synthetic_cell / "manifest.json")
    return summary, stats.populations(read_samples(synthetic_cell), manifest)


@pytest.mark.parametrize("name", POPULATIONS)
def test_summary_samples_and_hlog_agree(synthetic_cell, cell, name):
    summary, samples = cell[0]["populations"][name], cell[1][name]
    log = hlog.read_hlog(synthetic_cell / "intervals.hlog")
    turns, shown = samples.turns, summary["latency_ms"]
    ok = np.sort(turns.latency_ns[turns.ok])
    assert summary["n"] == len(turns.due_ns)
    assert summary["ok"] == shown["n"] == len(ok)
    assert log[f"{name}.latency"].get_total_count() == len(ok)
    assert log[f"{name}.service"].get_total_count() == summary["service_ms"]["n"]
    assert log[f"{name}.lateness"].get_total_count() == summary["lateness_ms"]["n"]
    assert sum(summary["outcomes"].values()) == summary["requests"]
    assert summary["requests"] == len(samples.requests.due_ns)
    for percentile, q in spread.PERCENTILES.items():
        exact = stats.nearest_rank(ok, q)
        by_bucket = hlog.percentile(log[f"{name}.latency"], q)
        assert exact <= by_bucket <= exact * (1 + PRECISION)
        enough = len(ok) * (1 - q) >= 10
        assert shown[percentile] == (pytest.approx(exact / MS) if enough else None)
    assert shown["max"] == pytest.approx(ok[-1] / MS)
    assert shown["mean"] == pytest.approx(ok.mean() / MS)


def test_a_cell_has_every_key_of_the_design(cell):
    summary = cell[0]
    assert summary.keys() >= {
        "schema", "scenario", "point", "arm", "repeat", "complete", "verdict", "proof",
        "populations", "generator", "target", "gpu",
    }  # fmt: skip
    assert summary["scenario"] == "synthetic"
    assert summary["gpu"] is None
    assert summary["verdict"].keys() >= {"status", "reasons", "findings"}
    assert summary["generator"].keys() == {
        "lateness_us", "loop_lag_us", "cpu", "gc_ms", "dropped",
    }  # fmt: skip
    assert summary["generator"]["cpu"] == pytest.approx(0.12)
    chat = summary["populations"]["chat"]
    assert chat.keys() >= {
        "loop", "qos_class", "n", "outcomes", "sessions", "offered_per_s",
        "achieved_per_s", "goodput_per_s", "miss_rate", "error_rate", "latency_ms",
        "service_ms", "lateness_ms", "blocked_ms", "queue_ms", "exec_ms", "ttft_ms",
        "tpot_ms", "by_step", "by_turn", "time_split_ms", "in_system", "units", "bytes",
        "rtf", "reused_tokens", "verified", "objectives",
    }  # fmt: skip
    assert chat["reused_tokens"] is None
    assert chat["rtf"] is None
    assert chat["by_step"].keys() == {"prefill", "decode"}
    assert [each["turn"] for each in chat["by_turn"]] == [0, 1]
    assert chat["bytes"]["registration"] == {"sent": 4096, "received": 128}
    split = chat["time_split_ms"]
    whole = split["queue"] + split["compute"] + split["transfer"]
    assert whole == pytest.approx(chat["service_ms"]["mean"])
    assert chat["verified"]["wrong"] == 0
    assert 0 < chat["verified"]["wrong_rate_upper95"] < 0.5


def test_unknown_is_null_and_never_zero(synthetic_cell):
    (synthetic_cell / "probes.arrows").unlink()
    shutil.rmtree(synthetic_cell / "samples")
    shutil.rmtree(synthetic_cell / "checks")
    summary = fold_cell(synthetic_cell)
    generator, chat = summary["generator"], summary["populations"]["chat"]
    assert [generator[key] for key in ("loop_lag_us", "cpu", "gc_ms")] == [None] * 3
    assert chat["n"] == 0
    assert chat["latency_ms"]["mean"] is None
    assert chat["latency_ms"]["p50"] is None
    assert chat["miss_rate"] == {"value": None, "ci95": None, "n": 0}
    assert chat["verified"]["wrong_rate_upper95"] is None
    assert chat["objectives"][0]["met"] is None
    assert hlog.read_hlog(synthetic_cell / "intervals.hlog") == {}


def test_gpus_are_summed_up_from_their_probes(synthetic_run, make_synthetic):
    from djinnload.recording.recorder import Probes

    cell = synthetic_run / "cells/all/qos/r01"
    (cell / "probes.arrows").unlink()
    with Probes(cell) as probes:
        for second in range(-1, 3):
            at = make_synthetic.BEGIN + second * SECOND
            probes.append((at, "gpu", "0", "util", second / 4))
            probes.append((at, "host", "", "load1", 9.0))
    found = fold_cell(cell)["gpu"]
    assert found == [{"device": "0", "util": {"mean": 0.25, "max": 0.5}}]


def test_the_run_says_what_was_simulated(synthetic_run):
    summary = read_json(synthetic_run / "summary.json")
    assert (summary["verdict"]["status"], summary["exit_code"]) == ("pass", 0)
    assert [each["status"] for each in summary["cells"]] == ["done"] * 10
    assert [each["verdict"] for each in summary["cells"]] == ["pass"] * 10
    qos, fcfs = (summary["arms"][arm]["all"] for arm in ("qos", "fcfs"))
    assert qos["realtime"]["repeats"] == 5
    assert qos["realtime"]["judged"] is True
    assert fcfs["realtime"]["judged"] is False
    p95 = [each["realtime"]["latency_ms"]["p95"] for each in (qos, fcfs)]
    assert p95[0] < 0.8 * p95[1]
    low, high = qos["realtime"]["latency_ms"]["ci95"]["p95"]
    assert low < p95[0] < high
    found = {
        (each["population"], each["metric"]): each for each in summary["comparisons"]
    }
    assert len(found) == 9
    first = found["realtime", "p95(latency)"]
    assert (first["arm"], first["baseline"], first["status"]) == ("qos", "fcfs", "ok")
    assert first["ci95"][1] < 1
    assert first["p"] < first["p_holm"] < 0.05
    # A failed turn makes its mean infinite: printed, not voided.
    assert found["batch", "mean(latency)"]["a"] == "inf"


def test_pooled_numbers_are_of_all_repeats(synthetic_run):
    entry = read_json(synthetic_run / "summary.json")["arms"]["qos"]["all"]["realtime"]
    every = []
    for repeat in range(5):
        directory = synthetic_run / f"cells/all/qos/r{repeat:02d}"
        manifest = read_json(directory / "manifest.json")
        every.append(stats.populations(read_samples(directory), manifest)["realtime"])
    latency = np.sort(np.concatenate([s.turns.latency_ns[s.turns.ok] for s in every]))
    assert entry["latency_ms"]["n"] == len(latency)
    exact = stats.nearest_rank(latency, 0.99) / MS
    assert entry["latency_ms"]["p99"] == pytest.approx(exact)
    offered = np.mean([len(s.turns.due_ns) / 20 for s in every])
    assert entry["offered_per_s"] == pytest.approx(offered)


def test_folding_again_changes_nothing(synthetic_run):
    before = read_json(synthetic_run / "summary.json")
    assert (
        fold_run(synthetic_run) == before == read_json(synthetic_run / "summary.json")
    )


def test_a_killed_run_still_has_a_summary(synthetic_run):
    cells = synthetic_run / "cells" / "all"
    shutil.rmtree(cells / "qos" / "r04")
    manifest = cells / "fcfs" / "r04" / "manifest.json"
    write_json(manifest, read_json(manifest) | {"complete": False})
    (cells / "fcfs" / "r03" / "manifest.json").write_text("{")
    (sample,) = (cells / "qos" / "r00" / "samples").iterdir()
    sample.write_bytes(sample.read_bytes()[:-1000])
    (synthetic_run / "summary.json").unlink()
    summary = fold_run(synthetic_run)
    states = {each["id"]: each["status"] for each in summary["cells"]}
    lost = ("all/qos/r04", "all/fcfs/r04", "all/fcfs/r03")
    assert [states.pop(each) for each in lost] == ["missing", "failed", "failed"]
    assert set(states.values()) == {"done"}
    assert summary["verdict"]["status"] == "void"
    assert summary["exit_code"] == 4
    codes = [each["code"] for each in summary["verdict"]["reasons"]]
    # The torn file lost rows that the baseline has: as if they had never been due.
    assert set(codes) == {"UNEQUAL", "INCOMPLETE"}
    index = read_json(synthetic_run / "index.json")
    assert {e["id"]: e["status"] for e in index["cells"]}["all/fcfs/r04"] == "failed"


@pytest.mark.parametrize("name", ["index.json", "manifest.json", "calibration.json"])
def test_a_document_that_is_missing_is_no_crash(synthetic_run, name):
    (synthetic_run / name).unlink()
    summary = fold_run(synthetic_run)
    assert len(summary["cells"]) == 10
    assert {each["status"] for each in summary["cells"]} == {"done"}


def test_an_empty_directory_is_no_crash(tmp_path):
    summary = fold_run(tmp_path)
    assert summary["cells"] == []
    assert summary["exit_code"] == 4
    assert json.loads((tmp_path / "summary.json").read_text()) == summary


def test_an_interrupted_run_exits_130(synthetic_cell, synthetic_run):
    path = synthetic_cell / "manifest.json"
    write_json(path, read_json(path) | {"interrupted": True})
    assert fold_run(synthetic_run)["exit_code"] == 130


def test_accepted_reasons_void_nothing(synthetic_cell, synthetic_run):
    path = synthetic_cell / "manifest.json"
    write_json(path, read_json(path) | {"dropped": 3})
    voided = fold_run(synthetic_run)
    assert voided["verdict"]["status"] == "void"
    assert [e["status"] for e in voided["cells"]].count("void") == 1
    assert all(each["status"] == "void" for each in voided["comparisons"])
    root = synthetic_run / "manifest.json"
    write_json(root, read_json(root) | {"accepted": ["DROPPED"]})
    assert fold_run(synthetic_run)["verdict"]["status"] == "pass"


@pytest.mark.parametrize("value", [-1, hlog.HIGHEST_NS + 1, np.nan, np.inf])
def test_out_of_range_is_raised_and_does_not_vanish(value):
    with pytest.raises(ValueError, match="out of the histogram's range"):
        hlog.record(hlog.new(), np.array([1.0, value]))


def test_the_hdr_percentile_is_the_nearest_rank():
    histogram = hlog.new()
    hlog.record(histogram, np.array([1000.0] * 59 + [1e6]))
    # The package rounds the rank: what this guards against.
    assert histogram.get_value_at_percentile(99) == 1000
    assert hlog.percentile(histogram, 0.99) == pytest.approx(1e6, rel=PRECISION)
    assert hlog.percentile(histogram, 0.98) == 1000


def test_bulk_buckets_are_those_of_the_package():
    values = np.concatenate(
        [np.arange(5000.0), 2.0 ** np.arange(46), [hlog.HIGHEST_NS]]
    )
    ours, theirs = hlog.new(), hlog.new()
    hlog.record(ours, values)
    for value in values:
        assert theirs.record_value(int(value))
    assert list(ours.counts) == list(theirs.counts)


def test_a_log_is_read_by_the_package_too(tmp_path):
    done = np.array([0, SECOND - 1, SECOND, 5 * SECOND])
    series = [("a.latency", done, np.array([1.0, 2.0, 3.0, 4.0]) * MS)]
    path = tmp_path / "x.hlog"
    path.write_text("\n".join(hlog.hlog_lines(series, begin_ns=0)) + "\n")
    found = hlog.read_hlog(path)["a.latency"]
    assert found.get_total_count() == 4
    reader = HistogramLogReader(str(path), HdrHistogram(1, hlog.HIGHEST_NS, 3))
    counts = []
    while (interval := reader.get_next_interval_histogram()) is not None:
        assert interval.get_tag() == "a.latency"
        counts.append(interval.get_total_count())
    reader.close()
    assert counts == [2, 1, 1]


def test_the_synthetic_arms_share_a_schedule(synthetic_run):
    def due(arm):
        directory = synthetic_run / f"cells/all/{arm}/r01"
        manifest = read_json(directory / "manifest.json")
        found = stats.populations(read_samples(directory), manifest)["realtime"]
        return found.turns.due_ns.tolist()

    assert due("qos") == due("fcfs")
