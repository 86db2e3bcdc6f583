"""Samples of one or several cells → the numbers that people read, in ms; pure.

What is not known is None, never 0. Percentiles are printed where n × (1 − q) ≥ 10.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from djinnload import objective
from djinnload.sample import OUTCOMES
from djinnload.stats import populations as stats
from djinnload.stats.populations import Array, PopulationSamples, Turns
from djinnload.summary import fairness, windows
from djinnload.summary.spread import spread_of, times
from djinnload.summary.turns import by_turn
from djinnload.units import MS, SECOND

__all__ = (
    "OF_CELLS",
    "achieved",
    "decisions",
    "finite",
    "pooled",
    "population",
    "spread_of",
    "throughput",
    "time_split",
    "times",
    "turn_times",
)

#: Units that are seconds of media, for which a real-time factor means something.
_MEDIA_SECONDS = ("s", "seconds", "audio_seconds")

#: What `population` adds to `pooled`.
OF_CELLS = ("by_step", "units", "bytes", "rtf", "objectives", "windows")
#: Of ok turns alone; lateness and blocked of all that were sent.
_TIMES = ("latency", "service", "queue", "exec", "ttft", "tpot")
_TIMES_OF_ALL = ("lateness", "blocked")
_TIMES_OF_STEPS = ("latency", "service", "queue", "exec")


def finite(value: Any) -> Any:
    """Return *value* (nested) ready for JSON: +inf as ``"inf"``, NaN as None."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value


def turn_times(turns: Turns, metric: str) -> Array:
    """Return the known values (ns) of *metric*, of ok turns, in due order."""
    values: Array = getattr(turns, f"{metric}_ns")
    known = np.isfinite(values)
    if metric not in _TIMES_OF_ALL:
        known = known & turns.ok
    return values[known]


def pooled(repeats: Sequence[PopulationSamples]) -> dict[str, Any]:
    """Return what cells and arms have in common, of one population in *repeats*.

    Rates are means over repeats, their ``ci95`` (from five repeats on) beside them.
    """
    first = repeats[0]
    made: dict[str, Any] = {
        "loop": first.loop,
        "qos_class": first.qos_class,
        "deadline_ms": _ms(first.deadline_ns),
        "n": sum(len(each.turns.due_ns) for each in repeats),
        "ok": sum(int(each.turns.ok.sum()) for each in repeats),
        "requests": sum(len(each.requests.due_ns) for each in repeats),
        "outcomes": _outcomes(repeats),
        "sessions": _sessions(repeats),
    }
    rates: Mapping[str, Callable[[PopulationSamples], float]] = {
        "offered_per_s": _offered,
        "achieved_per_s": achieved,
        "goodput_per_s": stats.goodput,
        "units_per_s": throughput,
    }
    made["ci95"] = {}
    for name, rate in rates.items():
        seen = [rate(each) for each in repeats]
        made[name] = float(np.mean(seen))
        if interval := stats.repeat_interval(seen):
            made["ci95"][name] = list(interval)
    worths = [stats.n_eff(stats.values(each, "latency")) for each in repeats]
    made["miss_rate"] = _share("miss", repeats, worths)
    made["error_rate"] = _share("error", repeats, worths)
    for metric in (*_TIMES, *_TIMES_OF_ALL):
        made[f"{metric}_ms"] = times([turn_times(r.turns, metric) for r in repeats])
    made["starvation"] = fairness.starvation(repeats)
    made["user_fairness"] = fairness.over_users(repeats)
    made["in_system"] = _in_system(repeats)
    made["verified"] = _verified(repeats)
    made["time_split_ms"] = time_split(repeats)
    made["reused_tokens"] = _sum([each.requests.reused_tokens for each in repeats])
    made["by_turn"] = by_turn(repeats, made)
    return made


def population(
    samples: PopulationSamples, plan: Mapping[str, Any], proof: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the entry of one population in a cell's summary."""
    unit = plan.get("unit")
    made = pooled([samples])
    return made | {
        "windows": windows.windows(samples),
        "by_step": _by_step(samples, made),
        "units": {"name": unit, "per_s": _units_per_s(samples)},
        "bytes": _bytes(samples, proof),
        "rtf": _rtf(samples.turns) if unit in _MEDIA_SECONDS else None,
        "objectives": msgspec.to_builtins(decisions(plan, [samples])),
    }


def decisions(
    plan: Mapping[str, Any], repeats: Sequence[PopulationSamples]
) -> list[objective.Decision]:
    """Decide the objectives of *plan* from *repeats*; values in base units (ns)."""
    texts = plan.get("objectives") or ()
    return [objective.decide(objective.parse(text), repeats) for text in texts]


def _ms(ns: float | None) -> float | None:
    return None if ns is None else ns / MS


def _seconds(samples: PopulationSamples) -> float:
    begin, end = samples.window_ns
    return (end - begin) / SECOND if end > begin else math.nan


def _offered(samples: PopulationSamples) -> float:
    return len(samples.turns.due_ns) / _seconds(samples)


def achieved(samples: PopulationSamples) -> float:
    """Return turns that came back ok within the window, per second."""
    inside = samples.turns.ok & (samples.turns.done_ns <= samples.window_ns[1])
    return int(inside.sum()) / _seconds(samples)


def throughput(samples: PopulationSamples) -> float:
    """Return units of ok requests that came back within the window, per second.

    Those of turns that were not over by then count too: where a server shares itself
    among many, no turn may be, however much work it does.
    """
    r = samples.requests
    inside = (r.outcome == "ok") & (r.done_ns <= samples.window_ns[1])
    return float(np.nansum(r.units[inside])) / _seconds(samples)


def _units_per_s(samples: PopulationSamples) -> float:
    inside = samples.turns.ok & (samples.turns.done_ns <= samples.window_ns[1])
    return float(samples.turns.units[inside].sum()) / _seconds(samples)


def _outcomes(repeats: Sequence[PopulationSamples]) -> dict[str, int]:
    """Count requests by outcome; those found wrong are wrong already when read."""
    every = [each.requests.outcome for each in repeats]
    return {
        str(name): sum(int((each == str(name)).sum()) for each in every)
        for name in OUTCOMES
    }


def _sessions(repeats: Sequence[PopulationSamples]) -> dict[str, int | None]:
    def total(key: str) -> int | None:
        known = [each.sessions.get(key) for each in repeats]
        return None if None in known else sum(n for n in known if n is not None)

    return {key: total(key) for key in ("started", "done", "abandoned")}


def _share(
    metric: str, repeats: Sequence[PopulationSamples], worths: Sequence[float]
) -> dict[str, Any]:
    """Return the share of turns, all repeats pooled, with Clopper-Pearson on n_eff.

    *worths* is the n_eff of each repeat's latencies: hits that are all alike hide it.

    Never over repeats: five repeats without a miss do not prove that there is none.
    """
    hits = [stats.values(each, metric) for each in repeats]
    n = sum(map(len, hits))
    if not n:
        return {"value": None, "ci95": None, "n": 0}
    value = float(np.concatenate(hits).mean())
    worth = sum(
        min(stats.n_eff(hit), worth) for hit, worth in zip(hits, worths, strict=True)
    )
    return {"value": value, "ci95": list(stats.share_of(value, worth)), "n": n}


def _in_system(repeats: Sequence[PopulationSamples]) -> dict[str, Any]:
    seen = [stats.in_system(each) for each in repeats]
    return {
        "mean": float(np.mean([mean for mean, _ in seen])),
        "max": max(most for _, most in seen),
    }


def _verified(repeats: Sequence[PopulationSamples]) -> dict[str, Any]:
    checked = wrong = 0
    largest = math.nan
    for requests in (each.requests for each in repeats):
        bad = (requests.verified == False) | (requests.outcome == "wrong")  # noqa: E712
        good = ~bad & (requests.verified == True)  # noqa: E712
        wrong += int(bad.sum())
        checked += int(bad.sum() + good.sum())
        known = requests.max_abs_diff[~np.isnan(requests.max_abs_diff)]
        largest = float(np.fmax(largest, known.max())) if len(known) else largest
    upper = stats.clopper_pearson_upper(wrong, checked) if checked else None
    return {
        "checked": checked,
        "wrong": wrong,
        "max_abs_diff": None if math.isnan(largest) else largest,
        "wrong_rate_upper95": upper,
    }


def _sum(every: Sequence[Array]) -> float | None:
    known = [values[~np.isnan(values)] for values in every]
    return float(sum(v.sum() for v in known)) if any(map(len, known)) else None


def time_split(repeats: Sequence[PopulationSamples]) -> dict[str, float | None]:
    """Return means of ok turns in ms; idle is between requests, per pair of them."""
    # First, and forgotten before the others are there: of millions each takes its room.
    idle = _mean_ms(np.concatenate([_idle(each) for each in repeats]))
    turns = [each.turns for each in repeats]
    queue, compute, service = (
        np.concatenate([getattr(t, f"{name}_ns")[t.ok] for t in turns])
        for name in ("queue", "exec", "service")
    )
    return {
        "queue": _mean_ms(queue),
        "compute": _mean_ms(compute),
        "transfer": _mean_ms(service - queue - compute),
        "idle": idle,
    }


def _idle(samples: PopulationSamples) -> Array:
    """Return ready − previous done of requests with one before in their session."""
    r = samples.requests
    order, starts = stats.by_session(r)
    later = np.ones(len(order), bool)
    later[starts] = False
    if not later.any():
        return np.empty(0)
    at = np.flatnonzero(later)
    idle: Array = r.ready_ns[order[at]] - r.done_ns[order[at - 1]]
    return idle


def _mean_ms(values: Array) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) / MS if len(known) else None


def _by_step(samples: PopulationSamples, pooled: Mapping[str, Any]) -> dict[str, Any]:
    r = samples.requests
    step, n = r.step, len(r.step)
    counts, shown = step.counts(), [f"{metric}_ms" for metric in _TIMES_OF_STEPS]
    if len(counts) == 1 and n == pooled["n"]:
        # Each turn is one such request: nothing to sort again.
        same = {key: pooled[key] for key in shown}
        return {str(name): {"n": n} | same for name in counts}
    ok, due = r.outcome == "ok", r.due_ns
    made = {}
    for name in sorted(counts):
        mine = step == name
        columns: dict[str, Callable[[], Array]] = {
            "latency": lambda: r.done_ns - due,
            "service": lambda: r.done_ns - r.sent_ns,
            "queue": lambda: r.queue_ns,
            "exec": lambda: r.exec_ns,
        }
        made[str(name)] = {"n": int(mine.sum())} | {
            f"{metric}_ms": times([_known(values()[mine & ok])])
            for metric, values in columns.items()
        }
    return made


def _known(values: Array) -> Array:
    numbers = values.astype(np.float64)
    return numbers[np.isfinite(numbers)]


def _bytes(samples: PopulationSamples, proof: Mapping[str, Any]) -> dict[str, Any]:
    r = samples.requests
    sent, received = _sum([r.bytes_sent]), _sum([r.bytes_received])
    units = float(samples.turns.units.sum())
    known = sent is not None and received is not None and units > 0
    return {
        "registration": proof.get("registration"),
        "request": {"sent": sent, "received": received},
        "per_unit": ((sent or 0) + (received or 0)) / units if known else None,
        "per_unit_sent": (sent or 0) / units if known else None,
        "per_unit_received": (received or 0) / units if known else None,
    }


def _rtf(turns: Turns) -> float | None:
    """Return seconds of service per second of media; under 1 keeps up."""
    ok = turns.ok & np.isfinite(turns.service_ns)
    media = float(turns.units[ok].sum())
    return float(turns.service_ns[ok].sum()) / SECOND / media if media else None
