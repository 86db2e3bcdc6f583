"""qos_mix, load_sweep, production_load_test → populations of an open load; pure."""

from typing import Any

from djinnload.legacy.models import model, span, workload
from djinnload.legacy.source import Source, plain

__all__ = ("load_sweep", "production", "qos_mix")

Document = dict[str, Any]

_SIMULATED = "of the analytic model that stood for a server: here one answers"
_CLASSES = ("realtime", "interactive", "batch")


def qos_mix(source: Source) -> Document:
    """Return three classes on one server, by both policies."""
    populations = [_class(name, each) for name, each in source.named("workload_mix")]
    system, simulation = source.into("system"), source.into("simulation")
    system.leave(_SIMULATED, "base_latency_ms", "gpu_capacity_tokens_per_s")
    simulation.leave(_SIMULATED, "latency_jitter_ms")
    server: Document = {"policy": "qos", "slots": system.take("max_concurrency", 12)}
    if shares := system.take("qos_class_shares"):
        server["shares"] = dict(shares)
    return {
        "scenario": {
            "name": "qos_mix",
            "repeats": 5,
            "duration": span(1000 * simulation.number("duration_s", 60)),
        },
        "target": {"server": server},
        "population": populations,
        "arm": [
            {"name": "qos"},
            {
                "name": "fcfs",
                "judged": False,
                "set": {"target.server.policy": "fcfs"},
            },
        ],
        "comparison": {
            "baseline": "fcfs",
            "metrics": ["p95(latency)", "miss_rate", "mean(queue)"],
        },
    }


def _class(name: str, source: Source) -> Document:
    rate = source.number("arrival_rate_rps")
    source.leave(
        "nothing read it: shares follow from the rates of arrival", "percentage"
    )
    source.leave("the class says it", "priority")
    of_class = name if name in _CLASSES else "batch"
    made: Document = {"name": plain(name), "qos_class": of_class}
    if source.has("target_p99_ms"):
        bound = span(source.number("target_p99_ms"))
        made |= {"deadline": bound, "objectives": [f"p99(latency) <= {bound}"]}
    else:
        source.leave("no bound", "target_p99_ms")
    tokens = source.take("payload_tokens", 16)
    asked = {"use": "llm", "model": "gpt2", "prompt_tokens": tokens, "new_tokens": 1}
    return made | {
        "arrival": {"process": "poisson", "rate": f"{rate:g}/s"},
        "workload": asked,
    }


def load_sweep(source: Source) -> Document:
    """Return one open population, of more users at each point."""
    about, arrival = source.into("model"), source.into("arrival")
    about.leave("the model's own, where texts are asked for", "tokenizer")
    about.leave(
        "prompts are made of the seed, 72 tokens as that file has", "prompt_path"
    )
    rate = arrival.number("request_rate_per_user", 1.0)
    process = str(arrival.take("arrival_process", "poisson"))
    levels = [each.take("concurrency") for each in source.each("load_levels")]
    drivers = source.into("driver_defaults")
    drivers.leave(_SIMULATED, "synthetic")
    djinn, metrics = drivers.into("djinn"), source.into("metrics")
    metrics.leave("all are printed that their n allows", "latency_percentiles")
    made: Document = {
        "name": "chat",
        "qos_class": djinn.take("qos_class", "interactive"),
        "users": 1,
        "arrival": {"process": process, "rate": f"{rate:g}/s", "per": "user"},
        "workload": {
            "use": "llm",
            "model": model(about, "name"),
            "prompt_tokens": 72,
            "new_tokens": about.take("new_tokens", 10),
        },
    }
    if djinn.has("deadline_ms"):
        made["deadline"] = span(djinn.number("deadline_ms"))
    found: Document = {
        "scenario": {
            "name": "load_sweep",
            "repeats": 3,
            "duration": "60s",
            "overload": "expected",
        },
        "sweep": [{"name": "users", "path": "population.chat.users", "values": levels}],
        "population": [made],
    }
    watched = [metrics.take(k) for k in ("track_gpu_utilization", "track_memory_bw")]
    return found | ({"probes": {"nvml": "100ms"}} if any(watched) else {})


def production(source: Source) -> Document:
    """Return classes of users who come in bursts, held to one agreement."""
    about = source.into("experiment")
    about.leave("a comment", "description")
    about.leave("give --target HOST:PORT to drive it", "djinn_server_address")
    sla, metrics = about.into("sla"), source.into("metrics")
    metrics.leave("all is written, at its own rate; --out says where",
                  "collection_interval_seconds", "output_file")  # fmt: skip
    metrics.leave("all are printed that their n allows", "latency")
    metrics.leave("both are always told, by population", "throughput", "error_rate")
    look = metrics.into("gpu_utilization")
    run: Document = {
        "name": plain(about.take("name", "production")),
        "duration": span(1000 * about.number("duration_seconds", 3600)),
        "overload": "expected",
    }
    found: Document = {"scenario": run}
    if sla.has("gpu_utilization"):
        run["objectives"] = [f"gpu_util >= {100 * sla.number('gpu_utilization'):g}%"]
        interval = span(look.number("sample_interval_ms", 100))
        found["probes"] = {"nvml": interval}
    bounds = []
    if sla.has("p99_latency_ms"):
        bounds.append(f"p99(latency) <= {span(sla.number('p99_latency_ms'))}")
    if sla.has("error_rate"):
        bounds.append(f"error_rate <= {100 * sla.number('error_rate'):g}%")
    users = [_users(name, each, bounds) for name, each in source.named("user_classes")]
    return found | {"population": users}


def _users(name: str, source: Source, objectives: list[str]) -> Document:
    source.leave("it follows from the numbers of users", "percentage")
    asked, pattern = source.into("workload"), source.into("request_pattern")
    hints = asked.into("semantic_hints")
    hints.leave("the workload's steps say it", "phase", "kv_cache_size_mb")
    wanted = hints.take("priority", "interactive")
    rate = pattern.number("requests_per_minute")
    chance = pattern.number("burst_probability", 0.1)
    return {
        "name": plain(name),
        "qos_class": wanted if wanted in _CLASSES else "interactive",
        "users": source.take("count", 1),
        "arrival": {
            "process": "bursts",
            "rate": f"{rate:g}/min",
            "probability": chance,
            "size": [3, 5],
            "per": "user",
        },
        "workload": workload(asked, "float32"),
        "objectives": objectives,
    }
