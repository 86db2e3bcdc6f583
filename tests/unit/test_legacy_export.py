"""Results in the original's shapes: expected documents, from rows that are written here."""

import json

import pytest

from djinnload.errors import ScenarioError
from djinnload.legacy import study as studies
from djinnload.legacy.exporting import export, refuse
from djinnload.reading.files import write_json
from djinnload.recording.recorder import Probes, Recorder
from djinnload.sample import Header, Labels
from djinnload.scenarios.cells import cells
from djinnload.scenarios.load import loads

MS = 1_000_000
BEGIN, SECONDS = 5_000 * MS, 10
MIB = 2**20


class Row:
    """A request: when it is due and done in ms, what it moves in MiB."""

    def __init__(self, at, took, *, units=1, sent=1, received=1, population=0, **other):
        self.at, self.took, self.units = at, took, units
        self.sent, self.received, self.population = sent, received, population
        self.session = other.get("session", 0)
        self.turn, self.step = other.get("turn", 0), other.get("step", "request")
        self.outcome, self.end = other.get("outcome", "ok"), other.get("end", True)
        self.phase = other.get("phase", "measure")
        took_ns = other.get("took_ns")
        self.metrics = {} if took_ns is None else {"exec_ns": took_ns}

    def made(self, seq):
        due = BEGIN + self.at * MS
        return (
            self.population, -1, self.session, self.end, self.turn, self.step, seq,
            self.phase, due, due, due, None, due + self.took * MS, self.outcome, "",
            self.units, self.sent * MIB, self.received * MIB, self.metrics, "", {},
        )  # fmt: skip


def write(run_dir, text, rows, *, changes=None, gpu=None, objectives=()):
    """Write a run of *text*; *rows* by "point/arm" are those of each repeat."""
    scenario = loads(text)
    if changes:
        scenario = scenario.replace(changes)
    order = cells(scenario)
    entries = []
    for cell in order:
        path = run_dir / "cells" / cell.id
        declared = cell.scenario.populations
        labels = tuple(
            Labels(p.name, p.workload["use"], p.qos_class, p.deadline) for p in declared
        )
        header = Header(cell.id, cell.point, cell.arm, cell.repeat, labels)
        with Recorder(path, header) as recorder:
            for seq, each in enumerate(rows[cell.variant]):
                recorder.append(each.made(seq))
        write_json(
            path / "manifest.json",
            {
                "window": {"begin_ns": BEGIN, "end_ns": BEGIN + SECONDS * 1000 * MS},
                "proof": {"address": "127.0.0.1:5556"},
                "behaviours": {"phases": "apart", "state": "session", "plan": "cached", "result": "needed"},
                "populations": {p.name: {"unit": "tokens", "deadline_ns": p.deadline} for p in declared},
            },
        )  # fmt: skip
        write_json(path / "summary.json", {"gpu": gpu})
        entries.append(
            {
                "id": cell.id, "point": {"name": cell.point}, "arm": cell.arm,
                "repeat": cell.repeat, "path": f"cells/{cell.id}", "status": "done",
            }
        )  # fmt: skip
    write_json(run_dir / "index.json", {"cells": entries})
    write_json(
        run_dir / "manifest.json",
        {
            "scenario": {"name": scenario.scenario.name, "text": text, "sha256": "a" * 64, "path": "s.toml", "changes": changes or {}},
            "plan": scenario.document,
            "arms": {cell.arm: {} for cell in order},
            "seed": 3,
            "versions": {"djinnload": "0.1.0", "torch": "2.13.0"},
            "anchor": {"wall_ns": 1_795_571_163_000_000_000, "monotonic_ns": 4_000 * MS},
        },
    )  # fmt: skip
    at = {cell.arm: {} for cell in order}
    for cell in order:
        names = [p.name for p in cell.scenario.populations]
        at[cell.arm][cell.point] = {n: {"objectives": list(objectives)} for n in names}
    verdict = {"status": "void", "reasons": [{"code": "LATE"}]}
    write_json(
        run_dir / "summary.json", {"verdict": verdict, "arms": at, "objectives": []}
    )
    return {path.stem: json.loads(path.read_text()) for path in export(run_dir)}


ARMS = """
[[arm]]
name = "native_pytorch"
target = { use = "local" }
[[arm]]
name = "semantic_blind"
behaviours = { preset = "semantic_blind" }
[[arm]]
name = "full"
behaviours = { preset = "full" }
"""
DECODE = f"""
[scenario]
name = "exp2_1_small"
duration = "10s"
[[population]]
name = "decode"
users = 1
workload = {{ use = "llm", model = "gpt2-tiny", prompt_tokens = 8, new_tokens = 2 }}
{ARMS}
"""


def answer(session, at, took, **other):
    """Two requests: half of the time each."""
    first = Row(at, took // 2, session=session, step="prefill", end=False, **other)
    return [first, Row(at + took // 2, took - took // 2, session=session, step="decode", **other)]  # fmt: skip


@pytest.fixture
def decoded(tmp_path):
    rows = {
        "all/native_pytorch": [r for i in range(20) for r in answer(i, 400 * i, 10 + 2 * (i % 2))],
        "all/semantic_blind": answer(0, 0, 200, sent=50, received=49),
        "all/full": answer(0, 0, 20) + answer(1, 50, 40, outcome="error") + [Row(-9, 1, session=-1, phase="warmup")],
    }  # fmt: skip
    gpu = [{"device": "gpu0", "util": {"mean": 0.5, "max": 1.0}, "memory_bytes": {"mean": 3 * MIB, "max": 3 * MIB}}]  # fmt: skip
    return write(tmp_path, DECODE, rows, gpu=gpu)


def test_an_answer_has_what_it_took_and_moved(decoded):
    assert set(decoded) == {"native_pytorch", "semantic_blind", "full", "comparison"}
    full = decoded["full"]
    provenance = full.pop("provenance")
    assert full == {
        "baseline": "full",
        "model_id": "gpt2-tiny",
        "prompt_tokens": 8,
        "new_tokens": 2,
        "batch_size": 1,
        "runs": [
            {
                "run_id": 1,
                "total_ms": 20.0,
                "per_token_ms": 10.0,
                "tokens_generated": 2.0,
                "throughput_tokens_per_s": 100.0,
                "host_to_device_mb": 2.0,
                "device_to_host_mb": 2.0,
                "gpu_util_pct": 50.0,
                "mem_util_pct": None,
                "mem_used_mb": 3.0,
                "generated_text": None,
            }
        ],
        "aggregates": {
            "total_ms": {"mean": 20.0, "median": None, "p95": None, "min": 20.0, "max": 20.0},
            "per_token_ms": {"mean": 10.0, "median": None, "p95": None, "min": 10.0, "max": 10.0},
            "throughput_tokens_per_s": {"mean": 100.0, "median": None, "p95": None, "min": 100.0, "max": 100.0},
        },
        "device": "cpu",
        "dtype": "float32",
        "backend": "djinn",
        "djinn_server": "127.0.0.1:5556",
        "library_versions": {"torch": "2.13.0", "transformers": None},
        "seed": 3,
        "meta": {"prompt_file": None, "prompt_text": None, "sample_gpu": True},
    }  # fmt: skip
    assert provenance["measured"] is True
    assert (provenance["verdict"], provenance["reasons"]) == ("void", ["LATE"])


def test_bytes_that_nobody_counted_are_null_and_few_have_no_p95(decoded):
    native = decoded["native_pytorch"]
    assert native["runs"][0]["host_to_device_mb"] is None
    found = native["aggregates"]["total_ms"]
    # 20 of them: a median by nearest rank, but 5 % of 20 is less than ten.
    assert (found["mean"], found["median"], found["p95"]) == (11.0, 10.0, None)


def test_arms_are_compared_by_what_was_measured(decoded):
    found = decoded["comparison"]
    assert found["baselines"]["semantic_blind"]["data_transfer_mb"] == 198.0
    versus = found["comparisons"]
    assert versus["full_djinn_vs_native"] == {
        "latency_overhead_pct": pytest.approx(100 * (20 / 11 - 1)),
        "throughput_ratio": pytest.approx(100 / ((200 + 2000 / 12) / 2)),
    }
    assert versus["full_djinn_vs_semantic_blind"] == {
        "speedup": 10.0,
        "data_savings_pct": pytest.approx(100 * (1 - 4 / 198)),
        "throughput_improvement": 10.0,
    }
    assert "full_djinn_vs_partially_aware" not in versus


STREAM = """
[scenario]
name = "s"
experiment = "2.2"
duration = "10s"
[[population]]
name = "a"
users = 1
workload = { use = "speech", model = "whisper-micro", length = "6s", window = "5s", tokens = 4 }
"""


def test_a_chunk_is_late_from_when_it_was_due(tmp_path):
    rows = [Row(5000 + 1000 * k, 250 + k, turn=k, units=5.0) for k in range(2)]
    found = write(tmp_path, STREAM, {"all/default": rows})["default"]
    (run,) = found["runs"]
    assert run["chunks"][1] == {
        "chunk_id": 1, "start_s": 1.0, "end_s": 6.0, "chunk_duration_s": 5.0,
        "latency_ms": 251.0, "per_token_ms": 62.75, "tokens": 4,
        "host_to_device_mb": 1.0, "device_to_host_mb": 1.0, "transcript": None,
    }  # fmt: skip
    assert run["total_time_ms"] == 1251.0
    audio = run["aggregates"]["chunk_throughput_audio_sec_per_sec"]
    assert audio["max"] == 20.0
    assert found["meta"]["dummy_audio_seconds"] == 6.0


TALK = """
[scenario]
name = "s"
experiment = "2.3"
duration = "10s"
[[population]]
name = "a"
users = 1
workload = { use = "conversation", model = "gpt2-tiny", turns = 2, new_tokens = 4 }
"""


def test_a_conversation_has_its_turns(tmp_path):
    rows = [Row(0, 40, turn=0, sent=2, units=4), Row(100, 80, turn=1, sent=3, units=4)]
    rows += [Row(200, 9, session=1, outcome="timeout")]
    found = write(tmp_path, TALK, {"all/default": rows})["default"]
    (run,) = found["runs"]
    assert [each["turn_id"] for each in run["turns"]] == [1, 2]
    assert run["turns"][1]["latency_ms"] == 80.0
    assert run["turns"][1]["per_token_ms"] == 20.0
    assert run["aggregates"]["total_host_to_device_mb"] == 5.0


WORK = f"""
[scenario]
name = "s"
experiment = "EXPERIMENT"
repeats = 2
duration = "10s"
[[population]]
name = "work"
users = 1
workload = {{ use = "llm", model = "gpt2-tiny" }}
[[sweep]]
name = "model"
points = [
  {{ name = "llm" }},
  {{ name = "cnn", set = {{ "population.work.workload" = {{ use = "synthetic", block = "cnn", batch = 2 }} }} }},
]
{ARMS}
"""
TOOK = {"native_pytorch": (10, 1), "semantic_blind": (40, 100), "full": (12, 2)}


def worked(run_dir, experiment):
    rows = {
        f"model={point}/{arm}": [Row(0, took, sent=mb, received=mb, units=3)]
        for point in ("llm", "cnn")
        for arm, (took, mb) in TOOK.items()
    }
    return write(run_dir, WORK.replace("EXPERIMENT", experiment), rows)


def test_5_1_says_what_follows_from_what_was_measured(tmp_path):
    found = worked(tmp_path, "5.1")
    assert set(found) == {"llm", "cnn"}
    work = found["cnn"]["workload"]
    assert (work["workload"], work["category"]) == ("cnn", "synthetic")
    native, blind, full = work["results"]
    assert [each["runner_type"] for each in work["results"]] == [
        "local_synthetic", "remote_djinn", "remote_djinn",
    ]  # fmt: skip
    assert full["runs"][1] == {
        "run_id": 2, "latency_ms": 12.0, "input_mb": 2.0, "output_mb": 2.0,
        "total_data_mb": 4.0, "units_processed": 3.0, "throughput_units_per_s": 250.0,
    }  # fmt: skip
    assert native["derived"] == {}
    assert blind["derived"] == {
        "latency_overhead_pct_vs_native_pytorch": pytest.approx(300)
    }
    assert full["derived"] == {
        "latency_overhead_pct_vs_native_pytorch": pytest.approx(20),
        "speedup_vs_semantic_blind": pytest.approx(40 / 12),
        "data_savings_pct_vs_semantic_blind": pytest.approx(98),
        "semantic_efficiency_ratio": pytest.approx(4.9),
    }
    assert full["metadata"]["spec"]["block"] == "cnn"
    assert found["cnn"]["experiment"]["reference_baseline"] == "native_pytorch"


def test_of_no_overhead_there_is_no_efficiency(tmp_path, monkeypatch):
    monkeypatch.setitem(TOOK, "full", (5, 2))
    full = worked(tmp_path, "5.1")["llm"]["workload"]["results"][2]
    assert full["derived"]["latency_overhead_pct_vs_native_pytorch"] == pytest.approx(
        -50
    )
    assert full["derived"]["semantic_efficiency_ratio"] is None


def test_6_1_has_groups_and_what_they_come_to(tmp_path):
    found = worked(tmp_path, "6.1")["generality"]
    assert [each["group"] for each in found["groups"]] == ["sequential", "hybrid"]
    summary = found["summaries"][0]
    assert summary["num_workloads"] == 1
    assert summary["metrics"]["speedup_vs_blind"]["mean"] == pytest.approx(40 / 12)
    assert summary["metrics"]["data_savings_pct_vs_blind"]["max"] == pytest.approx(98)


def test_3_1_has_the_matrix_and_measured_files(tmp_path):
    found = worked(tmp_path, "3.1")
    assert set(found) == {"llm", "cnn", "matrix"}
    assert found["matrix"]["run_count"] == 6
    assert found["matrix"]["runs"][0]["config"]["enable_plan_cache"] is True


LOAD = """
[scenario]
name = "s"
experiment = "4.1"
repeats = 2
duration = "10s"
[[population]]
name = "chat"
users = 1
arrival = { process = "poisson", rate = "1/s", per = "user" }
workload = { use = "llm", model = "gpt2-tiny", new_tokens = 2 }
[[sweep]]
name = "users"
path = "population.chat.users"
values = [1, 4]
"""


def test_4_1_counts_what_was_done_within_measure(tmp_path):
    rows = {
        "users=1/default": [Row(100 * i, 10, units=2, session=i) for i in range(20)],
        "users=4/default": [Row(100 * i, 10, units=2, session=i) for i in range(60)]
        + [
            Row(9990, 50, units=2, session=90),
            Row(50, 1, session=91, outcome="refused"),
        ],
    }
    found = write(tmp_path, LOAD, rows)["default"]
    one, four = found["results"]
    assert one == {
        "concurrency": 1, "requests_total": 40, "tokens_per_request": 2.0,
        "latency_ms": {"p50": 10.0, "p90": None, "p99": None},
        "throughput_tokens_per_s": 4.0, "gpu_util_pct": None, "efficiency_pct": 100.0,
        "notes": "2 repeats; 0 requests failed",
    }  # fmt: skip
    assert four["throughput_tokens_per_s"] == 12.0
    assert four["efficiency_pct"] == pytest.approx(75.0)
    assert four["requests_total"] == 124
    assert four["latency_ms"]["p90"] == 10.0
    assert four["notes"] == "2 repeats; 2 requests failed"
    assert found["metadata"]["duration_s"] == 10.0


QOS = """
[scenario]
name = "s"
experiment = "4.2"
duration = "10s"
[[population]]
name = "realtime"
qos_class = "realtime"
deadline = "20ms"
arrival = { process = "PROCESS", rate = "1/s"MORE }
workload = { use = "echo" }
[[population]]
name = "batch"
arrival = { process = "poisson", rate = "1/s" }
workload = { use = "echo" }
[[arm]]
name = "qos"
"""
TURNS = {
    "all/qos": [Row(100 * i, 10 + 20 * (i % 2), session=i) for i in range(24)]
    + [Row(5, 1, session=90, outcome="refused")]
    + [Row(7, 500, session=1, population=1)],
}


def test_4_2_a_refusal_breaks_the_promise_too(tmp_path):
    text = QOS.replace("PROCESS", "poisson").replace("MORE", "")
    found = write(tmp_path, text, TURNS)["qos"]
    assert found["metrics"]["per_class"] == {
        "realtime": {
            "count": 25,
            "latency_ms": {"p50": 10.0, "p90": None, "p99": None},
            "sla_violation_rate": 13 / 25,
        },
        "batch": {
            "count": 1,
            "latency_ms": {"p50": None, "p90": None, "p99": None},
            "sla_violation_rate": None,
        },
    }
    assert found["metrics"]["total_requests"] == 26
    assert found["metadata"]["policy"] == "qos"


def test_the_production_mix_is_told_by_its_bursts(tmp_path):
    text = QOS.replace("PROCESS", "bursts").replace(
        "MORE", ", probability = 0.1, size = [3, 5]"
    )
    decided = [{"text": "p99(latency) <= 100ms", "met": None}, {"text": "error_rate <= 1%", "met": False}]  # fmt: skip
    found = write(tmp_path, text, TURNS, objectives=decided)["qos"]
    metrics = found["metrics"]
    assert metrics["total_requests"] == 26
    assert metrics["error_rate"] == 1 / 26
    assert (metrics["latency_ms_p50"], metrics["latency_ms_p99"]) == (30.0, None)
    assert metrics["throughput_per_s"] == 2.5
    assert metrics["gpu_utilization_pct"] is None
    assert metrics["per_class_metrics"]["realtime"]["failed_requests"] == 1
    # As the objectives were decided: of what is not decided, or not asked, null.
    assert metrics["sla_violations"] == {
        "p99_latency": None, "error_rate": True, "gpu_utilization": None,
    }  # fmt: skip
    # No cut at 1,000 rows, and what failed has no latency.
    assert len(found["raw_metrics"]) == 26
    assert {
        each["latency_ms"] for each in found["raw_metrics"] if not each["success"]
    } == {None}


STRESS = """
[scenario]
name = "s"
experiment = "3.2"
duration = "10s"
[[population]]
name = "sessions"
users = 1
workload = { use = "allocations" }
[[arm]]
name = "vmu"
behaviours = { memory = "arena" }
"""


def test_3_2_has_what_each_allocation_took_and_what_memory_came_to(tmp_path):
    rows = [Row(10 * i, 1, session=i, took_ns=2000 + 1000 * (i % 2)) for i in range(40)]
    rows += [Row(500, 1, session=99, outcome="error", took_ns=9)]
    cell = tmp_path / "cells" / "all" / "vmu" / "r00"
    with Probes(cell) as probes:
        for at, used in ((-50, 0.9), (100, 0.5), (200, 0.7)):
            t_ns = BEGIN + at * MS
            probes.append((t_ns, "vmu", "", "memory_utilisation", used))
            probes.append((t_ns, "vmu", "", "memory_fragmentation", 0.25))
            probes.append((t_ns, "vmu", "", "active_sessions", 3.0))
    found = write(tmp_path, STRESS, {"all/vmu": rows})["vmu"]
    assert found["summary"] == {
        "num_events": 40, "avg_latency_us": 2.5, "p50_latency_us": 2.0,
        "p95_latency_us": None, "p99_latency_us": None,
        "data_utilization_pct": pytest.approx(60), "fragmentation_ratio": 0.25,
    }  # fmt: skip
    assert found["events"][1]["latency_us"] == 3.0
    assert found["events"][1]["session_id"] == "-1/1"
    # 5,011 ms on the monotonic clock, which was at 4,000 ms when the run began.
    assert found["events"][1]["timestamp"] == pytest.approx(1_795_571_163 + 1.011)
    assert len(found["session_metrics"]) == 2
    assert found["final_metrics"]["utilization"] == 0.7


def test_other_experiments_are_refused_before_a_run():
    for about in ({"name": "chat"}, {"name": "x", "experiment": "9.9"}):
        with pytest.raises(
            ScenarioError, match=r"of no experiment that has legacy files \(2\.1"
        ):
            refuse({"scenario": about})
    refuse({"scenario": {"name": "exp4_1_scalability_smoke"}})


def test_a_run_without_cells_has_nothing_to_export(tmp_path):
    write(tmp_path, STREAM, {"all/default": []})
    write_json(tmp_path / "index.json", {"cells": []})
    with pytest.raises(ScenarioError, match="no cell of it was measured"):
        studies.study(tmp_path)


def test_stats_of_nothing_are_null():
    assert set(studies.stats([None]).values()) == {None}
    assert studies.ratio(1.0, 0.0) is None
    assert studies.ratio(None, 2.0) is None
