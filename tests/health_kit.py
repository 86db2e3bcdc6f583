"""Synthetic cells of known health, for tests of the void rules."""

import numpy as np
import pyarrow as pa

from djinnload.health.cell import CellEvidence
from djinnload.stats.populations import PopulationSamples, Requests, Turns
from djinnload.units import MS, SECOND, US

SEEDS = range(40)
BEGIN, SECONDS = 7 * SECOND, 10
END = BEGIN + SECONDS * SECOND


def population(
    seed,
    *,
    rate=100.0,
    service_ms=5.0,
    capacity=1,
    name="chat",
    sends=None,
    reshape=None,
    **changes,
):
    """An M/M/1 (Poisson arrivals) of one request a turn; *changes* to its requests.

    *sends*, given the due times, returns when the generator really sent each; *reshape*
    returns other due times of the same order.
    """
    rng = np.random.default_rng(seed)
    n = int(rng.poisson(rate * SECONDS))
    due = np.sort(rng.integers(BEGIN, END, n))
    if reshape is not None:
        due = reshape(due).astype(np.int64)
    lateness = rng.exponential(40 * US, n)
    if sends is not None:
        lateness = sends(due) - due
    work = rng.exponential(service_ms * MS / capacity, n)
    done = np.empty(n)
    free = 0.0
    for i in range(n):
        free = max(free, due[i] + lateness[i]) + work[i]
        done[i] = free
    columns = {name: np.full(n, np.nan) for name in Requests.__struct_fields__}
    columns |= {
        "step": np.full(n, "decode", object),
        "outcome": np.full(n, "ok", object),
        "verified": np.full(n, None, object),
        "due_ns": due,
        "ready_ns": due.astype(float),
        "sent_ns": due + lateness,
        "done_ns": done,
        "units": np.ones(n),
        "turn": np.zeros(n, int),
        "session": np.arange(n),
        "user": np.zeros(n, int),
        "worker": np.zeros(n, int),
        "session_end": np.ones(n, bool),
    }
    for field, change in changes.items():
        columns[field] = change(columns[field].copy(), rng)
    return fold(name, columns)


def fold(name, c, loop="open"):
    turns = {
        field: np.full(len(c["due_ns"]), np.nan) for field in Turns.__struct_fields__
    }
    turns |= {
        "due_ns": c["due_ns"],
        "done_ns": c["done_ns"].astype(np.int64),
        "ok": (c["outcome"] == "ok") & (c["verified"] != False),  # noqa: E712
        "latency_ns": c["done_ns"] - c["due_ns"],
        "service_ns": c["done_ns"] - c["sent_ns"],
        "number": np.asarray(c["turn"], np.int64),
    } | {name: c[name] for name in ("units", "bytes_sent", "bytes_received")}
    return PopulationSamples(
        name=name,
        loop=loop,
        qos_class="realtime",
        deadline_ns=None,
        window_ns=(BEGIN, END),
        turns=Turns(**turns),
        requests=Requests(**c),
    )


def dialogues(tokens, *, sessions=50, shift=0, name="chat", **changes):
    """Sessions of one prefill and *tokens* − 1 decodes, one each 100 ms."""
    n = sessions * tokens
    base = population(0, rate=10).requests
    columns = {f: np.resize(getattr(base, f), n) for f in base.__struct_fields__}
    session, at = np.divmod(np.arange(n), tokens)
    due = BEGIN + shift + session * 100 * MS + at * 5 * MS
    columns |= {
        "due_ns": due,
        "ready_ns": due.astype(float),
        "sent_ns": due.astype(float),
        "done_ns": due + (1.0 + at) * MS,
        "units": np.ones(n),
        "session": session,
        "session_end": at == tokens - 1,
        "step": np.where(at == 0, "prefill", "decode").astype(object),
    }
    for field, change in changes.items():
        columns[field] = change(columns[field].copy())
    return fold(name, columns)


def renamed(samples, name="chat", loop="open", kept=slice(None)):
    """The same requests, or *kept* of them, under another name or loop."""
    columns = {f: getattr(samples.requests, f) for f in Requests.__struct_fields__}
    return fold(name, {f: column[kept] for f, column in columns.items()}, loop)


def flights(seed, *populations):
    """Requests in flight at random instants 20 ms apart, as the engine counts them."""
    rng = np.random.default_rng([seed, 1])
    at = np.sort(rng.uniform(BEGIN, END, rng.poisson(SECONDS * 50)))
    count = np.zeros(len(at))
    for each in populations:
        sent, done = np.sort(each.requests.sent_ns), np.sort(each.requests.done_ns)
        count += np.searchsorted(sent, at) - np.searchsorted(done, at)
    return at, count


def probes(seed=0, *, stall=None, gc_ms=1.0, cpu=0.3, polled=0.0, seen=None):
    """Ticks each 5 ms; *stall* = (first tick, ticks, lag in ms); *seen*: flights."""
    rng = np.random.default_rng(seed)
    ticks = np.arange(BEGIN - SECOND, END + SECOND, 5 * MS)
    lags = rng.exponential(60 * US, len(ticks))
    if stall:
        first, count, lag_ms = stall
        lags[200 + first : 200 + first + count] = lag_ms * MS
    rows = [(int(t + v), "loop_lag_ns", v) for t, v in zip(ticks, lags, strict=True)]
    rows += [(BEGIN + SECOND, "gc_pause_ns", gc_ms * MS)]
    for second in range(SECONDS + 1):
        at = BEGIN + second * SECOND + 300 * US
        rows.append((at, "cpu_ns", 5e9 + second * SECOND * (cpu + polled)))
        rows.append((at, "polled_ns", second * SECOND * polled))
    sources = ["generator"] * len(rows)
    if seen is not None:
        rows += [(int(at), "in_flight", n) for at, n in zip(*seen, strict=True)]
        sources += ["engine"] * len(seen[0])
    t, name, value = zip(*rows, strict=True)
    n = len(rows)
    return pa.table(
        {
            "t_ns": pa.array(t, pa.int64()),
            "source": sources,
            "device": [""] * n,
            "name": pa.array(name).dictionary_encode(),
            "value": pa.array(value, pa.float64()),
        }
    )


def cell(*populations, arm="qos", probe=None, calibrated=None, plan=None, **manifest):
    plans = {
        each.name: {"loop": each.loop, "think": False, "random": True, "objectives": []}
        | (plan or {})
        for each in populations
    }
    window = {"begin_ns": BEGIN, "end_ns": END, "suspended_ns": 0, "stepped_ns": 0}
    known = {"arm": arm, "point": "all", "window": window, "gaps": []}
    return CellEvidence(
        populations={each.name: each for each in populations},
        probes=probes() if probe is None else probe,
        manifest=known | {"populations": plans} | manifest,
        calibration=calibrated,
    )


def codes(findings, *, void=True):
    return [each.code for each in findings if each.void is void]
