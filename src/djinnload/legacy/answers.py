"""Results of 2.1, 2.2, 2.3 in the original's shapes: a file an arm, a run a session."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from djinnload import units
from djinnload.legacy.study import Cell, Study, Turn, ratio, stats
from djinnload.units import Duration

__all__ = ("conversation", "decode", "streaming")

Document = dict[str, Any]
Files = dict[str, Document]


def decode(study: Study) -> Files:
    """Return a file an arm, and ``comparison.json``."""
    files: Files = {}
    for name, cells in _arms(study):
        runs = [
            {
                "run_id": number,
                "total_ms": turn.latency_ms,
                "per_token_ms": turn.latency_ms / turn.units,
                "tokens_generated": turn.units,
                "throughput_tokens_per_s": 1000 * turn.units / turn.latency_ms,
                **_moved(cell, turn),
                **cell.gpu(),
                "generated_text": None,
            }
            for number, (cell, (turn, *_)) in enumerate(_sessions(cells), 1)
        ]
        keys = ("total_ms", "per_token_ms", "throughput_tokens_per_s")
        files[name] = {
            **_asked(cells[0]),
            "runs": runs,
            "aggregates": {key: stats(each[key] for each in runs) for key in keys},
            **_about(study, cells[0]),
            "seed": study.manifest["seed"],
            "meta": {
                "prompt_file": None,
                "prompt_text": None,
                "sample_gpu": runs != [] and runs[0]["gpu_util_pct"] is not None,
            },
        }
    return files | {"comparison": _comparison(study, files)}


def streaming(study: Study) -> Files:
    """Return a file an arm; a chunk is due when it has been heard."""
    files: Files = {}
    for name, cells in _arms(study):
        asked = cells[0].workload
        window = _seconds(asked.get("window", "5s"))
        stride = _seconds(asked.get("stride", "1s"))
        runs = []
        for number, (cell, turns) in enumerate(_sessions(cells), 1):
            chunks = [
                {
                    "chunk_id": each.turn,
                    "start_s": each.turn * stride,
                    "end_s": each.turn * stride + window,
                    "chunk_duration_s": window,
                    "latency_ms": each.latency_ms,
                    "per_token_ms": None,
                    "tokens": asked.get("tokens", 64),
                    **_moved(cell, each),
                    "transcript": None,
                }
                for each in turns
            ]
            for each in chunks:
                each["per_token_ms"] = ratio(each["latency_ms"], each["tokens"])
            heard = [1000 * window / each["latency_ms"] for each in chunks]
            runs.append(
                {
                    "run_id": number,
                    "total_time_ms": _whole_ms(turns),
                    "chunks": chunks,
                    "aggregates": {
                        "chunk_latency_ms": stats(c["latency_ms"] for c in chunks),
                        "chunk_per_token_ms": stats(c["per_token_ms"] for c in chunks),
                        "chunk_throughput_audio_sec_per_sec": stats(heard),
                    },
                    "gpu": cell.gpu(),
                }
            )
        files[name] = {
            "baseline": cells[0].arm,
            "model_id": asked.get("model"),
            **_about(study, cells[0]),
            "sample_rate": 16_000,
            "chunk_seconds": window,
            "stride_seconds": stride,
            "runs": runs,
            "meta": {
                "audio_file": asked.get("audio") or None,
                "dummy_audio_seconds": _seconds(asked.get("length", "30s")),
            },
        }
    return files


def conversation(study: Study) -> Files:
    """Return a file an arm; latency by turn."""
    files: Files = {}
    for name, cells in _arms(study):
        tokens = cells[0].workload.get("new_tokens", 64)
        runs = []
        for number, (cell, turns) in enumerate(_sessions(cells), 1):
            listed = [
                {
                    "turn_id": each.turn + 1,
                    "prompt": None,
                    "response": None,
                    "latency_ms": each.latency_ms,
                    "per_token_ms": ratio(each.latency_ms, tokens),
                    "tokens": tokens,
                    "generated_text": None,
                    **_moved(cell, each),
                }
                for each in turns
            ]
            runs.append(
                {
                    "run_id": number,
                    "total_time_ms": _whole_ms(turns),
                    "turns": listed,
                    "aggregates": {
                        "turn_latency_ms": stats(t["latency_ms"] for t in listed),
                        "turn_per_token_ms": stats(t["per_token_ms"] for t in listed),
                        "total_host_to_device_mb": cell.mb(sum(t.sent for t in turns)),
                        "total_device_to_host_mb": cell.mb(
                            sum(t.received for t in turns)
                        ),
                    },
                    "gpu": cell.gpu(),
                }
            )
        files[name] = {
            "baseline": cells[0].arm,
            "model_id": cells[0].workload.get("model"),
            **_about(study, cells[0]),
            "runs": runs,
            "conversation_file": None,
        }
    return files


def _arms(study: Study) -> Iterator[tuple[str, list[Cell]]]:
    """Yield a name for the file, and the repeats, of each arm at each point."""
    every = list(study.groups())
    for point, arms in every:
        for arm, cells in arms.items():
            yield (arm if len(every) == 1 else f"{arm}-{point}"), cells


def _sessions(cells: Iterable[Cell]) -> Iterator[tuple[Cell, list[Turn]]]:
    return ((cell, turns) for cell in cells for turns in cell.sessions())


def _whole_ms(turns: Sequence[Turn]) -> float:
    return (turns[-1].done_ns - turns[0].due_ns) / 1e6


def _moved(cell: Cell, turn: Turn) -> Document:
    return {
        "host_to_device_mb": cell.mb(turn.sent),
        "device_to_host_mb": cell.mb(turn.received),
    }


def _asked(cell: Cell) -> Document:
    asked = cell.workload
    return {
        "baseline": cell.arm,
        "model_id": asked.get("model"),
        "prompt_tokens": asked.get("prompt_tokens"),
        "new_tokens": asked.get("new_tokens"),
        "batch_size": asked.get("batch", 1),
    }


def _about(study: Study, cell: Cell) -> Document:
    target = cell.document.get("target", {})
    settings = target.get("options" if cell.local else "server") or {}
    return {
        "device": settings.get("device", "cpu"),
        "dtype": cell.workload.get("dtype", "float32"),
        "backend": "local" if cell.local else "djinn",
        "djinn_server": cell.manifest["proof"]["address"] or None,
        "library_versions": study.versions,
        "provenance": study.provenance(),
    }


def _seconds(text: str) -> float:
    return int(units.parse(Duration, text)) / 1e9


def _comparison(study: Study, files: Files) -> Document:
    """Return arms side by side; ``full`` may be called ``full_djinn``."""
    made = {name: _row(name, each) for name, each in files.items()}
    full = made.get("full_djinn") or made.get("full")
    found: Document = {}
    for other, key in (
        ("native_pytorch", "full_djinn_vs_native"),
        ("semantic_blind", "full_djinn_vs_semantic_blind"),
        ("partially_aware", "full_djinn_vs_partially_aware"),
    ):
        if full and other in made:
            found[key] = _versus(full, made[other], native=other == "native_pytorch")
            if other == "partially_aware":
                del found[key]["throughput_improvement"]
    first = study.cells[0]
    return {
        "experiment": "exp2_1_llm_decode",
        **{k: v for k, v in _asked(first).items() if k != "baseline"},
        "runs_per_baseline": min(len(each["runs"]) for each in files.values()),
        "baselines": made,
        "comparisons": found,
        "provenance": study.provenance(),
    }


def _row(name: str, each: Document) -> Document:
    aggregates, runs = each["aggregates"], each["runs"]
    moved = [
        run["host_to_device_mb"] + run["device_to_host_mb"]
        for run in runs
        if run["host_to_device_mb"] is not None
    ]
    return {
        "mean_latency_ms": aggregates["total_ms"]["mean"],
        "p95_latency_ms": aggregates["total_ms"]["p95"],
        "mean_per_token_ms": aggregates["per_token_ms"]["mean"],
        "p95_per_token_ms": aggregates["per_token_ms"]["p95"],
        "mean_throughput_tps": aggregates["throughput_tokens_per_s"]["mean"],
        "result_file": f"{name}.json",
        "data_transfer_mb": stats(moved)["mean"],
    }


def _versus(full: Document, other: Document, *, native: bool) -> Document:
    slower = ratio(full["mean_latency_ms"], other["mean_latency_ms"])
    faster = ratio(full["mean_throughput_tps"], other["mean_throughput_tps"])
    if native:
        overhead = None if slower is None else 100 * (slower - 1)
        return {"latency_overhead_pct": overhead, "throughput_ratio": faster}
    left = ratio(full["data_transfer_mb"], other["data_transfer_mb"])
    return {
        "speedup": ratio(other["mean_latency_ms"], full["mean_latency_ms"]),
        "data_savings_pct": None if left is None else 100 * (1 - left),
        "throughput_improvement": faster,
    }
