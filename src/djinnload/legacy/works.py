"""Results of 3.1, 5.1 and 6.1 in the original's shapes: a run a piece of work."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from djinnload.legacy.study import Cell, Study, ratio, stats

__all__ = ("ablation", "generality", "overhead")

Document = dict[str, Any]
Files = dict[str, Document]

_GROUPS: Mapping[str, tuple[str, ...]] = {
    "sequential": ("llm", "conversation", "speech"),
    "parallel": ("vision", "encoder"),
    "hybrid": ("multimodal", "speech_encoder", "synthetic"),
}
_METRICS = (
    "speedup_vs_blind",
    "data_savings_pct_vs_blind",
    "semantic_efficiency_ratio",
)


def overhead(study: Study) -> Files:
    """Return a file a workload, which is a point."""
    return {
        _name(point): {
            "config": study.manifest["scenario"]["path"],
            "experiment": _experiment(study),
            "workload": _workload(study, point, arms),
            "generated_at": _when(study),
            "provenance": study.provenance(),
        }
        for point, arms in study.groups()
    }


def generality(study: Study) -> Files:
    """Return one file of all workloads, in the original's three groups."""
    groups: dict[str, list[Document]] = {}
    for point, arms in study.groups():
        use = next(iter(arms.values()))[0].workload["use"]
        name = next((g for g, uses in _GROUPS.items() if use in uses), str(use))
        groups.setdefault(name, []).append(_workload(study, point, arms))
    return {
        "generality": {
            "config": study.manifest["scenario"]["path"],
            "generated_at": _when(study),
            "experiment": _experiment(study),
            "groups": [
                {"group": name, "description": None, "workloads": works}
                for name, works in groups.items()
            ],
            "summaries": [_summary(name, works) for name, works in groups.items()],
            "provenance": study.provenance(),
        }
    }


def ablation(study: Study) -> Files:
    """Return the matrix that the original wrote, and a file a workload as in 5.1."""
    runs = [
        {
            "workload": _name(point),
            "model_id": cells[0].workload.get("model"),
            "workload_type": cells[0].workload["use"],
            "config_name": arm,
            "config": _toggles(cells[0]),
        }
        for point, arms in study.groups()
        for arm, cells in arms.items()
    ]
    matrix = {
        "runs": runs,
        "run_count": len(runs),
        "provenance": study.provenance(),
    }
    return overhead(study) | {"matrix": matrix}


def _toggles(cell: Cell) -> Document:
    """Return behaviours as the original's toggles."""
    done = cell.manifest.get("behaviours") or {}
    kept = done.get("state") == "session"
    return {
        "enable_phase_detection": done.get("phases") == "apart",
        "enable_stateful_caching": kept,
        "enable_kv_persistence": kept,
        "enable_plan_cache": done.get("plan") == "cached",
        "enable_skeletonization": done.get("result") == "needed",
        "enable_vmu": done.get("memory", "arena") == "arena",
    }


def _workload(study: Study, point: str, arms: Mapping[str, list[Cell]]) -> Document:
    first = next(iter(arms.values()))[0]
    return {
        "workload": _name(point),
        "category": first.workload["use"],
        "timestamp": _when(study),
        "results": _results(arms),
    }


def _results(arms: Mapping[str, list[Cell]]) -> list[Document]:
    made = [_baseline(name, cells) for name, cells in arms.items()]
    native, blind, full = _roles(arms)
    by_name = {each["baseline"]: each for each in made}
    for each in made:
        if native in by_name and each["baseline"] != native:
            share = ratio(
                _mean(each, "latency_ms"), _mean(by_name[native], "latency_ms")
            )
            percent = None if share is None else 100 * (share - 1)
            each["derived"][f"latency_overhead_pct_vs_{native}"] = percent
    if full in by_name and blind in by_name:
        _derive(by_name[full], by_name[blind], blind, native)
    return made


def _derive(full: Document, blind: Document, name: str, native: str) -> None:
    derived = full["derived"]
    faster = ratio(_mean(blind, "latency_ms"), _mean(full, "latency_ms"))
    left = ratio(_mean(full, "total_data_mb"), _mean(blind, "total_data_mb"))
    saved = None if left is None else 100 * (1 - left)
    cost = derived.get(f"latency_overhead_pct_vs_{native}")
    derived[f"speedup_vs_{name}"] = faster
    derived[f"data_savings_pct_vs_{name}"] = saved
    # Of no overhead, or of less than none, there is no ratio.
    costly = saved is not None and cost is not None and cost > 0
    derived["semantic_efficiency_ratio"] = ratio(saved, cost) if costly else None


def _baseline(name: str, cells: list[Cell]) -> Document:
    pairs = [(cell, turn) for cell in cells for turn in cell.turns if turn.ok]
    runs = [
        {
            "run_id": number,
            "latency_ms": turn.latency_ms,
            "input_mb": cell.mb(turn.sent),
            "output_mb": cell.mb(turn.received),
            "total_data_mb": cell.mb(turn.sent + turn.received),
            "units_processed": turn.units,
            "throughput_units_per_s": 1000 * turn.units / turn.latency_ms,
        }
        for number, (cell, turn) in enumerate(pairs, 1)
    ]
    first = cells[0]
    population = next(iter(first.manifest["populations"].values()))
    kind = "local_synthetic" if first.local else "remote_djinn"
    keys = ("latency_ms", "throughput_units_per_s", "total_data_mb")
    return {
        "baseline": name,
        "runner_type": kind,
        "runs": runs,
        "aggregates": {key: stats(each[key] for each in runs) for key in keys},
        "metadata": {
            "unit_name": population["unit"],
            "device": _device(first),
            "dtype": first.workload.get("dtype", "float32"),
            "spec": dict(first.workload),
            "baseline": name,
            "runner_type": kind,
        },
        "derived": {},
    }


def _device(cell: Cell) -> str:
    target = cell.document.get("target", {})
    settings = target.get("options" if cell.local else "server") or {}
    return str(settings.get("device", "cpu"))


def _roles(arms: Mapping[str, list[Cell]]) -> tuple[str, str, str]:
    """Return the arms that are native, blind and full; empty where there is none."""
    native = next((name for name, cells in arms.items() if cells[0].local), "")
    blind = next((name for name in arms if "blind" in name), "")
    full = next((name for name in ("full_djinn", "full") if name in arms), "")
    return native, blind, full


def _mean(each: Document, key: str) -> float | None:
    found: float | None = each["aggregates"][key]["mean"]
    return found


def _experiment(study: Study) -> Document:
    native, blind, full = _roles(next(arms for _, arms in study.groups()))
    first = study.cells[0]
    return {
        "device": _device(first),
        "dtype": first.workload.get("dtype", "float32"),
        "runs": first.document["scenario"].get("repeats", 1),
        "warmup_runs": None,
        "tag": study.manifest["scenario"]["name"],
        "result_dir": None,
        "reference_baseline": native or None,
        "blind_baseline": blind or None,
        "target_baseline": full or None,
    }


def _summary(name: str, works: list[Document]) -> Document:
    found: dict[str, list[float]] = {metric: [] for metric in _METRICS}
    for work in works:
        for result in work["results"]:
            for key, value in result["derived"].items():
                metric = key.replace("vs_semantic_blind", "vs_blind")
                if metric in found and value is not None:
                    found[metric].append(value)
    return {
        "group": name,
        "num_workloads": len(works),
        "metrics": {key: stats(values) for key, values in found.items() if values},
    }


def _name(point: str) -> str:
    return point.partition("=")[2] or point


def _when(study: Study) -> str:
    seconds = study.manifest["anchor"]["wall_ns"] / 1e9
    return datetime.fromtimestamp(seconds, UTC).isoformat()
