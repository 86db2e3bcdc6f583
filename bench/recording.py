"""What a sample costs: to record, and later to fold and report, by the millions.

Recording: rows appended to a real Recorder on disk, and sent on as a cell's loop does;
the rest is the writing process's. Folding: a run of one cell is made with synthetic
samples (10,000/s for as long as it takes, batches of 500 rows as the recorder writes
them), and `djinnload report` reads, judges and renders it in a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kit
import null_server
import numpy as np
import peers
import pyarrow as pa

from djinnload.reading.files import read_samples
from djinnload.recording.link import shared
from djinnload.recording.recorder import Recorder
from djinnload.sample import Header, Labels, schema

RATE = 10_000
BATCH = 500
#: Rows that come between two looks at them, 5 ms at 10,000/s.
PUMPED = 50
_CHUNK = 1_000_000


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--quick", action="store_true")
    given.add_argument("--rounds", type=int, default=7)
    given.add_argument("--rows", type=int, default=500_000, help="recorded in a round")
    given.add_argument("--samples", type=int, default=10_000_000, help="folded")
    asked = given.parse_args()
    if asked.quick:
        asked.rounds, asked.rows, asked.samples = 3, 100_000, 500_000
    about = kit.machine()
    with tempfile.TemporaryDirectory(prefix="djinnload-recording-") as folder:
        recording = _record(Path(folder), asked)
        folding = _fold(Path(folder), asked.samples)
    figures = {"recording": recording, "folding": folding}
    kit.save("recording", figures, about, quick=asked.quick)


def _record(folder: Path, asked) -> dict:
    seen = [_record_once(folder / f"r{k}", asked.rows) for k in range(asked.rounds)]
    row = {key: kit.middle([each[key] for each in seen]) for key in seen[0]}
    title = f"recording {asked.rows:,} samples, medians of {asked.rounds} rounds"
    head = ["", "CPU here µs", "CPU of the writer µs", "bytes on disk"]
    kit.show(title, head, [["a sample", *row.values()]])
    return row


def _record_once(folder: Path, count: int) -> dict:
    header = Header(
        "all/default/r00",
        "all",
        "default",
        0,
        (Labels("load", "echo", "batch", 10**9),),
    )
    rows = [_row(number) for number in range(10_000)]
    (folder / "samples").mkdir(parents=True)
    writer = shared().writer
    began, theirs = time.process_time(), null_server.cpu_s(writer)
    with Recorder(folder, header) as recorder:
        append = recorder.append
        for _ in range(count // len(rows)):
            for first in range(0, len(rows), PUMPED):
                for row in rows[first : first + PUMPED]:
                    append(row)
                recorder.pump()
    assert recorder.error is None, recorder.error
    used, theirs = time.process_time() - began, null_server.cpu_s(writer) - theirs
    size = sum(path.stat().st_size for path in folder.rglob("*.arrows"))
    n = count // len(rows) * len(rows)
    return {
        "cpu_us": used / n * 1e6,
        "writer_cpu_us": theirs / n * 1e6,
        "bytes": size / n,
    }


def _row(k: int) -> tuple:
    due = 10**12 + k * 100_000
    times = (due, due, due + 50_000, due + 150_000, due + 160_000)
    return (
        0,
        -1,
        k,
        True,
        0,
        "echo",
        k,
        "measure",
        *times,
        "ok",
        "",
        1.0,
        320,
        290,
        {},
        "batch",
        {},
    )


def _fold(folder: Path, count: int) -> dict:
    run = _synthetic(folder, count)
    argv = [sys.executable, "-m", "djinnload", "report", run]
    began = time.monotonic()
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(argv, stdout=said, stderr=said)
        # wait4 tells the peak of this child alone, which getrusage(CHILDREN) does not.
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    took = time.monotonic() - began
    text = (folder / "said").read_text()
    assert process.returncode in (0, 1, 3), text
    n = json.loads((run / "summary.json").read_text())["arms"]["default"]["all"][
        "load"
    ]["n"]
    assert n == count, f"{n} of {count} samples were folded: {text[-500:]}"
    row = {
        "samples": count,
        "seconds": took,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_MB": used.ru_maxrss / 1000,
    }
    head = ["", "samples", "seconds", "CPU s", "peak RSS MB"]
    kit.show(
        "fold and report, in a process of its own",
        head,
        [["djinnload report", *row.values()]],
    )
    return row


def _synthetic(folder: Path, count: int) -> Path:
    """Make a run of *count* samples from a real one of a second; return its directory."""
    options = ["--rate", RATE / 10, "--seconds", 1]
    with peers.Client(
        peers.python("generator.py", "null", folder / "out", *options)
    ) as client:
        cell = peers.cell_of(client, 60)
    run = cell.parents[3]
    seconds = count / RATE
    begin = _stretch(cell, count, seconds)
    _write_samples(cell, count, begin)
    _write_probes(cell, begin, seconds)
    return run


def _stretch(cell: Path, count: int, seconds: float) -> int:
    """Make the cell's manifest say that measure took so long; return its begin in ns."""
    path = cell / "manifest.json"
    manifest = json.loads(path.read_text())
    window = manifest["window"]
    window["end_ns"] = window["begin_ns"] + round(seconds * 1e9)
    window["finished_ns"] = window["end_ns"] + 10**9
    manifest["sessions"]["load"] |= {"started": count, "done": count, "abandoned": 0}
    path.write_text(json.dumps(manifest))
    return window["begin_ns"]


def _write_samples(cell: Path, count: int, begin: int) -> None:
    first = read_samples(cell).slice(0, 1)
    (only,) = (cell / "samples").glob("*.arrows")
    rng, due = np.random.default_rng(1), begin
    with (
        pa.OSFile(str(only), "wb") as sink,
        pa.ipc.new_stream(sink, schema()) as writer,
    ):
        for start in range(0, count, _CHUNK):
            n = min(_CHUNK, count - start)
            # Evenly, so that exactly *count* are due inside measure.
            dues = due + np.arange(start, start + n) * (10**9 // RATE)
            table = _table(first, rng, np.arange(start, start + n), dues)
            for batch in table.combine_chunks().to_batches(max_chunksize=BATCH):
                writer.write_batch(batch)


def _table(first: pa.Table, rng, numbers: np.ndarray, due: np.ndarray) -> pa.Table:
    n = len(due)
    sent = due + rng.gamma(2, 20_000, n).astype(np.int64)
    done = sent + rng.lognormal(13, 0.5, n).astype(np.int64)
    known = {
        "due_ns": due,
        "ready_ns": due,
        "sent_ns": sent,
        "first_ns": done - 1000,
        "done_ns": done,
    }
    known |= {"session": numbers, "seq": numbers}
    columns = {}
    for field in schema():
        if field.name in known:
            columns[field.name] = pa.array(known[field.name], field.type)
        else:
            columns[field.name] = (
                first[field.name].take(np.zeros(n, np.int64)).cast(field.type)
            )
    table = pa.table(columns, schema=schema())
    # As an engine writes them: in the order of their ends.
    return table.take(np.argsort(done))


def _write_probes(cell: Path, begin: int, seconds: float) -> None:
    """Write what the generator's probes would have said of so long a run."""
    rng = np.random.default_rng(2)
    lags, calls = int(seconds * 200), int(seconds * 50)
    mean = RATE * np.exp(13.125) / 1e9
    series = [
        (
            "generator",
            "loop_lag_ns",
            np.arange(lags) * 5_000_000,
            rng.gamma(2, 20_000, lags),
        ),
        (
            "generator",
            "cpu_ns",
            np.arange(int(seconds)) * 10**9,
            np.arange(int(seconds)) * 3e8,
        ),
        (
            "engine",
            "in_flight",
            np.sort(rng.uniform(0, seconds * 1e9, calls)),
            rng.poisson(mean, calls),
        ),
    ]
    tables = [_probe(begin, *each) for each in series]
    path = cell / "probes.arrows"
    with pa.ipc.open_stream(path.read_bytes()) as old:
        kind = old.schema
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, kind) as writer:
        for table in tables:
            writer.write_table(table.cast(kind), max_chunksize=BATCH)


def _probe(
    begin: int, source: str, name: str, at: np.ndarray, values: np.ndarray
) -> pa.Table:
    labels = {"source": source, "device": "", "name": name}
    words = {
        key: pa.array([word] * len(at)).dictionary_encode()
        for key, word in labels.items()
    }
    times = pa.array(begin + at.astype(np.int64))
    return pa.table({"t_ns": times, **words, "value": pa.array(values.astype(float))})


if __name__ == "__main__":
    main()
