"""Write a cell of very many rows at once: `python tests/many_rows.py RUN ROWS`.

Arrays instead of a simulation, in batches as the recorder makes them; two
populations, chat of a prefill and three decodes a turn. RUN becomes a run of one cell.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from djinnload.reading.files import write_json
from djinnload.recording.streams import StreamFiles
from djinnload.recording.writing import BATCH
from djinnload.sample import OUTCOMES, PHASES, schema

MS, SECOND = 10**6, 10**9
BEGIN, RATE = 123_456 * SECOND, 10_000
NAMES, STEPS = ("echo", "chat"), ("prefill", "decode", "request")


def times(n, rng):
    """(population, turn, number in turn, due, sent, done) of n requests."""
    population = (rng.random(n) < 0.1).astype(int)
    sizes = np.where(population == 1, 4, 1)
    kept = np.searchsorted(np.cumsum(sizes), n) + 1
    population, sizes = population[:kept], sizes[:kept]
    turn = np.repeat(np.arange(kept), sizes)[:n]
    first = np.cumsum(sizes) - sizes
    number = np.arange(n) - first[turn]
    starts = BEGIN + np.cumsum(rng.exponential(n / kept / RATE * SECOND, kept))
    service = rng.gamma(2.0, MS, n)
    ends = np.cumsum(service)
    since = ends - (ends - service)[first][turn]
    done = starts.astype(np.int64)[turn] + since.astype(np.int64) + MS
    due = np.where(number == 0, starts.astype(np.int64)[turn], np.roll(done, 1))
    sent = due + rng.integers(10_000, 90_000, n)
    return population[turn], turn, number, due, sent, done, service


def columns(n):
    rng = np.random.default_rng(1)
    population, turn, number, due, sent, done, service = times(n, rng)
    rows = np.argsort(done, kind="stable")
    seq = np.empty(n, np.int64)
    seq[np.argsort(due, kind="stable")] = np.arange(n)
    bad = rng.random(n) < 0.001
    step = np.where(population == 1, np.minimum(number, 1), 2)
    last = np.append(turn[1:] != turn[:-1], True)

    def words(codes, known):
        return pa.DictionaryArray.from_arrays(
            pa.array(codes, pa.int32()), pa.array(known, pa.string())
        )

    zeros, labels = np.zeros(n, np.int32), words(population[rows], NAMES)
    made = dict.fromkeys(("cell", "point", "arm"), words(zeros, ["all"]))
    made |= dict.fromkeys(("population", "workload", "qos_class"), labels)
    made |= dict.fromkeys(("first_ns", "sent_ns"), sent[rows])
    made |= dict.fromkeys(("due_ns", "ready_ns"), due[rows])
    made |= dict.fromkeys(("repeat", "worker", "turn"), zeros)
    made |= dict.fromkeys(("bytes_sent", "bytes_received"), np.full(n, 300))
    return made | {
        "qos_class_resolved": labels,
        "user": np.full(n, -1),
        "session": turn[rows],
        "session_end": last[rows],
        "step": words(step[rows], STEPS),
        "seq": seq[rows],
        "phase": words(zeros + 1, PHASES),
        "done_ns": done[rows],
        "outcome": words(np.where(bad, 2, 0)[rows], [str(each) for each in OUTCOMES]),
        "error": words(bad[rows].astype(int), ["", "synthetic"]).cast(pa.string()),
        "deadline_ns": np.full(n, 50 * MS),
        "units": np.ones(n),
        "server_queue_ns": 0.3 * service[rows],
        "server_exec_ns": 0.6 * service[rows],
        "reused_tokens": pa.nulls(n, pa.float64()),
        "output_hash": pa.nulls(n, pa.string()),
        "verified": pa.nulls(n, pa.bool_()),
        "provenance": words(zeros, ["measured"]),
    }


def write_cell(directory, n):
    made, fields = columns(n), schema()
    arrays = [pa.array(made[field.name]).cast(field.type) for field in fields]
    whole = pa.RecordBatch.from_arrays(arrays, schema=fields)
    files = StreamFiles(
        lambda number: directory / "samples" / f"w0-{number:03d}.arrows", fields
    )
    files.open()
    for at in range(0, n, BATCH):
        files.write(whole.slice(at, BATCH))
    files.close()
    write_json(directory / "manifest.json", manifest(int(made["due_ns"].max()) + 1))


def manifest(end):
    plan = {
        "loop": "open", "think": False, "random": True, "qos_class": "interactive",
        "deadline_ns": 50 * MS, "unit": "tokens",
        "objectives": ["p99(latency) <= 20ms", "miss_rate <= 1%"],
    }  # fmt: skip
    return {
        "cell": "all/default/r00", "point": "all", "arm": "default", "repeat": 0,
        "complete": True, "judged": True, "provenance": "measured", "dropped": 0,
        "window": {"begin_ns": BEGIN, "end_ns": end, "finished_ns": end},
        "populations": dict.fromkeys(NAMES, plan), "proof": {},
    }  # fmt: skip


def write_run(run, n):
    path = "cells/all/default/r00"
    write_cell(run / path, n)
    entry = {"id": "all/default/r00", "arm": "default", "repeat": 0, "path": path}
    write_json(run / "index.json", {"schema": 1, "cells": [entry]})
    scenario = {"name": "many_rows", "text": "", "sha256": "", "path": ""}
    write_json(run / "manifest.json", {"scenario": scenario, "complete": True})


if __name__ == "__main__":
    write_run(Path(sys.argv[1]), int(sys.argv[2]))
