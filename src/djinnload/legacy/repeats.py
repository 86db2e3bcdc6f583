"""Baselines, streaming, conversation, ablation, overhead, generality, session stress.

Each runs one piece of work after the other in each arm, again and again; pure.
"""

from collections.abc import Iterable
from typing import Any

from djinnload.legacy import arms, models
from djinnload.legacy.source import Source, plain

__all__ = (
    "ablation",
    "baselines",
    "conversation",
    "overhead",
    "session_stress",
    "streaming",
)

Document = dict[str, Any]

_PLACE = "results go to --out, each run in a directory of its own"
_TEXTS = "inputs are made of the seed, so that every arm is asked the same"
_FORCED = "decoding is forced: each arm is fed the same tokens"
#: Allocators, by the original's word for each.
_MEMORY = {"vmu": "arena", "cuda": "cudamalloc", "torch": "torch"}
#: What the ablation's two workloads are, which another file describes.
_KNOWN = {
    "llama7b_decode": {
        "use": "llm",
        "model": "llama-2-7b",
        "prompt_tokens": 72,
        "new_tokens": 50,
        "dtype": "float16",
    },
    "resnet50_batch": {
        "use": "vision",
        "model": "resnet-50",
        "batch": 32,
        "dtype": "float16",
    },
}


def baselines(source: Source) -> Document:
    """Return one answer after the other, of a prompt and new tokens."""
    defaults = source.into("defaults")
    defaults.leave(_PLACE, "result_dir")
    defaults.leave(_TEXTS, "prompt_file", "tokenizer_padding")
    defaults.leave(
        'nothing made it so; [target] network = { rate = "25Gbit/s" } does, as root',
        "transport_bandwidth_gbps",
    )
    every = list(source.each("baselines"))
    first = next((each for each in every if each.has("model_id")), defaults)
    dtype = str(first.take("dtype", "float16"))
    asked = models.llm(first, defaults) | {"dtype": dtype}
    made = arms.arms(every, "decode")
    return _alone(
        "llm_decode", "decode", asked, made, runs=defaults, device=_device(every)
    )


def streaming(source: Source) -> Document:
    """Return audio heard while it comes, a window after the other."""
    about, listed = source.into("experiment"), source.into("baselines")
    about.leave(_TEXTS, "prompt", "tokenizer_padding", "language", "task")
    about.leave(_FORCED, "temperature", "beam_size")
    about.leave("audio is of 16 kHz", "sample_rate")
    source.into("io").leave(_PLACE, "result_dir", "chunk_manifest")
    source.into("io").leave("name a file by workload.audio", "audio_file")
    every = list(listed.each("entries"))
    first = next((each for each in every if each.has("dtype")), about)
    seconds = about.number("total_duration_seconds", 30)
    asked = {
        "use": "speech",
        "model": models.model(about),
        "length": models.span(1000 * seconds),
        "window": models.span(1000 * about.number("chunk_seconds", 5)),
        "stride": models.span(1000 * about.number("stride_seconds", 1)),
        "dtype": str(first.take("dtype", "float16")),
    }
    made = arms.arms(every, "listener")
    shared = listed.into("shared")
    found = _alone(
        "streaming_audio", "listener", asked, made, runs=shared, device=_device(every)
    )
    nvml = source.into("nvml")
    if nvml.take("enabled"):
        interval = models.span(1000 * nvml.number("interval_seconds", 0.1))
        found["probes"] = {"nvml": interval}
    return found


def conversation(source: Source) -> Document:
    """Return a dialogue of ten turns, its history growing."""
    about = source.into("experiment")
    about.leave(_PLACE, "result_dir")
    about.leave(f"{_TEXTS}; ten turns of 16 tokens", "conversation_file")
    about.leave(_FORCED, "temperature", "top_p", "do_sample")
    asked = {
        "use": "conversation",
        "model": models.model(about),
        "turns": 10,
        "new_tokens": about.take("max_new_tokens_per_turn", 64),
        "dtype": str(about.take("dtype", "float16")),
    }
    made = arms.arms(source.each("baselines"), "user")
    device = str(about.take("device", "cpu"))
    return _alone("conversation", "user", asked, made, runs=about, device=device)


def ablation(source: Source) -> Document:
    """Return full, and full without one part at a time."""
    defaults, plan = source.into("defaults"), source.into("run_plan")
    defaults.leave("a server is always driven over its socket", "transport")
    defaults.leave("no bound", "deadline_ms")
    qos_class = defaults.take("qos_class", "interactive")
    wanted = plan.take("configurations") or list(source.into("configurations").table)
    made = []
    for name, each in source.named("configurations"):
        each.leave("a comment", "description")
        if name in wanted:
            if not each.has("enable_vmu"):
                each = Source({**defaults.table, **each.table}, each.path, source)  # noqa: PLW2901
            if found := arms.preset(each, plain(name), arms.of_toggles(each)):
                made.append(found)
    defaults.take("enable_vmu")
    described = dict(source.named("workloads"))
    names = plan.take("workloads") or list(described) or list(_KNOWN)
    work = {
        name: models.table(described[name], "float16")
        if name in described
        else _KNOWN[name]
        for name in names
        if name in described or name in _KNOWN
    }
    found = _several(
        "ablation", work, made, runs=plan, baseline="full_djinn", device="cpu"
    )
    found["population"][0]["qos_class"] = qos_class
    return found


def overhead(source: Source) -> Document:
    """Return one piece of work of each kind after the other; generality has groups."""
    about = source.into("experiment")
    about.leave(_PLACE, "result_dir", "result_file")
    about.leave("give --target HOST:PORT to drive it", "djinn_server_address")
    about.leave("the arms are executed, whatever they are compared with",
                "blind_baseline", "target_baseline")  # fmt: skip
    dtype = str(about.take("dtype", "float32"))
    work: dict[str, Document] = {}
    for each in (*source.each("workloads"), *_grouped(source)):
        each.leave("a comment", "category")
        work[plain(each.take("name"))] = models.workload(each, dtype)
    made = arms.arms(source.each("baselines"), "work")
    name = plain(f"overhead-{about.take('tag', '')}")
    if source.has("workload_groups"):
        name = name.replace("overhead", "generality", 1)
    baseline = about.take("reference_baseline")
    device = str(about.take("device", "cpu"))
    return _several(name, work, made, runs=about, baseline=baseline, device=device)


def session_stress(source: Source) -> Document:
    """Return sessions that take memory on the server, hold and free it."""
    about = source.into("session_workload")
    about.leave("sizes end at the largest of alloc_sizes_mb", "max_allocation_mb")
    # Drawn log-uniform between the two, not from the list.
    sizes = sorted(about.take("alloc_sizes_mb", [0.25, 16]))
    least, most = (f"{round(1024 * mb)}KiB" for mb in (sizes[0], sizes[-1]))
    asked = {
        "use": "allocations",
        "allocations": about.take("operations_per_session", 100),
        "smallest": least,
        "largest": most,
        "reuse": about.number("reuse_probability", 0.3),
        "hold": models.span(about.number("hold_time_ms", 5)),
    }
    made = []
    for name, each in source.named("allocators"):
        each.leave("a comment", "description")
        kind = str(each.take("type"))
        if kind in _MEMORY:
            memory = {"behaviours": {"memory": _MEMORY[kind]}}
            made.append({"name": plain(name), **memory})
        else:
            each.drop(f"no allocator is known as {kind!r}")
    found: Document = {
        "scenario": {"name": "session_stress", "repeats": 3, "duration": "30s"},
        "target": {"server": {"device": "cuda"}},
        "population": [
            {
                "name": "sessions",
                "users": about.take("num_sessions", 8),
                "workload": asked,
            }
        ],
        "probes": {"vmu": "100ms"},
    }
    compared = arms.comparison(made, "torch_cache")
    if compared:
        compared["comparison"]["metrics"] = ["p50(exec)", "p99(exec)", "throughput"]
    return found | ({"arm": made} if made else {}) | compared


def _grouped(source: Source) -> Iterable[Source]:
    for group in source.each("workload_groups"):
        group.leave("a comment", "name", "description")
        yield from group.each("workloads")


def _device(every: Iterable[Source]) -> str:
    """Return the device that the baselines name first; the server gets it too."""
    named = (each.table.get("device") for each in every)
    return str(next((each for each in named if each), "cpu"))


def _alone(
    name: str,
    population: str,
    asked: Document,
    made: list[Document],
    *,
    runs: Source,
    device: str,
) -> Document:
    """Return one user's work in every arm, as often as *runs* says."""
    scenario: Document = {
        "name": name,
        "repeats": runs.take("runs", 30),
        "order": "shuffled",
        "duration": {"sessions": 1},
    }
    if runs.has("seed"):
        scenario["seed"] = runs.take("seed")
    if runs.has("warmup_runs"):
        warmup = {"sessions": runs.take("warmup_runs"), "at": "boot"}
        scenario["warmup"] = warmup
    found: Document = {"scenario": scenario}
    if device != "cpu":
        found |= {
            "verify": {"device": device},
            "target": {"server": {"device": device}},
        }
        for each in made:
            if "target" in each:
                each["target"] = {"use": "local", "options": {"device": device}}
    return (
        found
        | {
            "population": [{"name": population, "users": 1, "workload": asked}],
            "arm": made,
        }
        | arms.comparison(made, None)
    )


def _several(
    name: str,
    work: dict[str, Document],
    made: list[Document],
    *,
    runs: Source,
    baseline: str | None,
    device: str,
) -> Document:
    """Return `_alone` of each piece of work, a point of a sweep each."""
    first = next(iter(work.values()))
    found = _alone(name, "work", first, made, runs=runs, device=device)
    if len(work) > 1:
        points = [
            {"name": plain(each), "set": {"population.work.workload": asked}}
            for each, asked in work.items()
        ]
        found["sweep"] = [{"name": "model", "points": points}]
    return found | arms.comparison(made, baseline)
