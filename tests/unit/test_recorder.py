"""Samples survive what happens to files; nothing reaches the append path."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from djinnload import cell
from djinnload.clock import RealClock, monotonic_ns
from djinnload.errors import HostError
from djinnload.models.replay import CheckRow
from djinnload.recording import link, streams
from djinnload.recording.recorder import (
    Probes,
    Recorder,
    read_checks,
    read_json,
    read_probes,
    read_samples,
    write_checks,
    write_json,
)
from djinnload.recording.writing import BATCH, Samples
from djinnload.sample import OUTCOMES, ROW, Header, Labels, schema
from djinnload.units import MS

LABELS = (
    Labels("chat", "llm", "realtime", 50 * MS),
    Labels("batch", "echo", "batch", None),
)


def header(worker=0):
    return Header("all/qos/r00", "all", "qos", 0, LABELS, worker=worker)


def row(seq=0, **changes):
    plain = {
        "population": 0, "user": -1, "session": seq, "session_end": True, "turn": 0,
        "step": "decode", "seq": seq, "phase": "measure", "due_ns": seq * MS,
        "ready_ns": seq * MS, "sent_ns": seq * MS + 50, "first_ns": None,
        "done_ns": seq * MS + 5 * MS, "outcome": "ok", "error": "", "units": 1,
        "bytes_sent": 10, "bytes_received": 20,
        "metrics": {"queue_ns": 1.5, "exec_ns": 2.5}, "qos_class_resolved": "realtime",
        "echo": {},
    }  # fmt: skip
    assert not changes.keys() - plain.keys()
    return tuple((plain | changes)[name] for name in ROW)


def record(directory, rows, **options):
    with Recorder(directory, header(options.pop("worker", 0)), **options) as recorder:
        for each in rows:
            recorder.append(each)
    return recorder


def test_every_column_comes_back(tmp_path):
    record(tmp_path, [row(7, first_ns=9, error="x"), row(8, ready_ns=None, sent_ns=None,
           outcome="timeout", metrics={}, population=1, step="encode")])  # fmt: skip
    table = read_samples(tmp_path)
    assert [*table.column_names] == [*schema().names, "max_abs_diff"]
    first, second = table.to_pylist()
    assert first == {
        "cell": "all/qos/r00", "point": "all", "arm": "qos", "repeat": 0, "worker": 0,
        "population": "chat", "workload": "llm", "qos_class": "realtime",
        "qos_class_resolved": "realtime", "user": -1, "session": 7, "session_end": True,
        "turn": 0, "step": "decode", "seq": 7, "phase": "measure", "due_ns": 7 * MS,
        "ready_ns": 7 * MS, "sent_ns": 7 * MS + 50, "first_ns": 9, "done_ns": 12 * MS,
        "outcome": "ok", "error": "x", "deadline_ns": 50 * MS, "units": 1.0,
        "bytes_sent": 10, "bytes_received": 20, "server_queue_ns": 1.5,
        "server_exec_ns": 2.5, "reused_tokens": None, "output_hash": None,
        "verified": None, "provenance": "measured", "max_abs_diff": None,
    }  # fmt: skip
    assert second["sent_ns"] is None
    assert second["server_queue_ns"] is None
    assert second["deadline_ns"] is None
    assert (second["workload"], second["outcome"]) == ("echo", "timeout")


def test_a_file_torn_at_any_byte_gives_its_whole_batches(tmp_path):
    # Words that appear later make dictionaries grow within the file.
    writing = Samples(tmp_path, header())
    writing.open()
    for batch in range(3):
        writing.add([row(3 * batch + i, step=f"s{batch}") for i in range(3)])
        writing.flush()
    writing.close()
    (path,) = (tmp_path / "samples").iterdir()
    whole = path.read_bytes()
    counts = set()
    torn = tmp_path / "torn" / "samples" / "w0-000.arrows"
    torn.parent.mkdir(parents=True)
    last = 0
    for size in range(len(whole) + 1):
        torn.write_bytes(whole[:size])
        table = read_samples(tmp_path / "torn")
        assert table["seq"].to_pylist() == list(range(table.num_rows))
        assert table["step"].to_pylist() == [
            f"s{i // 3}" for i in range(table.num_rows)
        ]
        assert table.num_rows >= last
        last = table.num_rows
        counts.add(last)
    assert counts == {0, 3, 6, 9}


def test_a_full_disk_is_reported_and_never_raised(tmp_path, monkeypatch):
    room = 300_000
    monkeypatch.setattr(
        streams, "_open_sink", lambda path: pa.PythonFile(FullSoon(path, room), "w")
    )
    writing = Samples(tmp_path, header())
    writing.open()
    for seq in range(0, 3 * BATCH, 100):
        writing.add([row(seq + i) for i in range(100)])
    writing.close()
    assert isinstance(writing.error, OSError)
    assert writing.error.errno == errno.ENOSPC
    # The first batch was whole; what came after the disk was full is lost, but counted.
    assert read_samples(tmp_path).num_rows == BATCH
    assert writing.live()["chat"].n == 3 * BATCH


class FullSoon:
    """A file on a disk that is full after so many bytes, in the middle of a batch."""

    closed = False

    def __init__(self, path, room):
        self.real = path.open("wb", buffering=0)
        self.room = room

    def write(self, data):
        room = self.room - self.real.tell()
        self.real.write(memoryview(data)[:room])
        if len(data) > room:
            raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self):
        pass

    def tell(self):
        return self.real.tell()

    def close(self):
        self.closed = True
        self.real.close()


def test_dev_full_is_reported_and_never_raised(tmp_path, monkeypatch):
    def full(path):
        path.touch()
        return pa.output_stream("/dev/full", compression=None, buffer_size=1 << 18)

    monkeypatch.setattr(streams, "_open_sink", full)
    writing = Samples(tmp_path, header())
    writing.open()
    writing.add([row(seq) for seq in range(2000)])
    writing.close()
    assert writing.error.errno == errno.ENOSPC
    assert writing.live()["chat"].n == 2000
    assert read_samples(tmp_path).num_rows == 0


def test_no_directory_is_a_host_error(tmp_path):
    (tmp_path / "samples").touch()
    with pytest.raises(HostError, match="cannot record"), Recorder(tmp_path, header()):
        pass


LIMITED = """
    import resource, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_recorder import header, row
    from djinnload.recording import link
    from djinnload.recording.recorder import Recorder
    with Recorder(Path({out!r}), header()) as recorder:
        writer = link.shared().writer
        resource.prlimit(writer, resource.RLIMIT_FSIZE, (300_000, 300_000))
        for seq in range(5000):
            recorder.append(row(seq))
    print(type(recorder.error).__name__, recorder.live()["chat"].n)
"""


def child(script, tmp_path, **options):
    text = textwrap.dedent(script).format(
        tests=os.path.dirname(__file__),  # noqa: PTH120
        out=str(tmp_path),
    )
    return subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, **options
    )


def test_a_write_cut_short_by_the_kernel_keeps_what_came_before(tmp_path):
    process = child(LIMITED, tmp_path)
    out, _ = process.communicate(timeout=60)
    assert out.split() == ["OSError", "5000"]
    (path,) = (tmp_path / "samples").iterdir()
    assert path.stat().st_size == 300_000
    rows = read_samples(tmp_path).num_rows
    assert rows > 0
    assert rows % BATCH == 0


KILLED = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_recorder import header, row
    from djinnload.recording.recorder import Recorder
    with Recorder(Path({out!r}), header()) as recorder:
        print("on", flush=True)
        for seq in range(100_000):
            now = time.monotonic_ns()
            recorder.append(row(seq, due_ns=now, done_ns=now))
            time.sleep(0.002)
"""


def test_sigkill_costs_at_most_the_last_second(tmp_path):
    process = child(KILLED, tmp_path)
    assert process.stdout.readline() == "on\n"
    time.sleep(2.3)
    process.send_signal(signal.SIGKILL)
    killed_ns = monotonic_ns()
    process.wait()
    process.stdout.close()
    table = read_samples(tmp_path)
    seqs = table["seq"].to_pylist()
    assert seqs == list(range(len(seqs)))
    assert killed_ns - table["done_ns"].to_pylist()[-1] <= 1_000 * MS


def test_what_was_sent_outlives_a_generator_that_is_killed(tmp_path):
    script = KILLED.replace("time.sleep(0.002)", "recorder.pump(); time.sleep(0.002)")
    process = child(script, tmp_path)
    assert process.stdout.readline() == "on\n"
    time.sleep(1.0)
    process.send_signal(signal.SIGKILL)
    killed_ns = monotonic_ns()
    process.wait()
    process.stdout.close()
    _until(lambda: killed_ns - _last(tmp_path) <= 300 * MS)


def _last(directory):
    done = read_samples(directory)["done_ns"].to_pylist()
    return done[-1] if done else 0


def test_a_pumped_recorder_writes_every_row_in_order(tmp_path):
    with Recorder(tmp_path, header()) as recorder:
        for seq in range(5000):
            recorder.append(row(seq))
            if seq % 7 == 0:
                recorder.pump()
    assert recorder.error is None
    assert read_samples(tmp_path)["seq"].to_pylist() == list(range(5000))


@pytest.mark.parametrize(
    ("due_in_ns", "order"),
    [(50_000, ["due", "pumped"]), (10_000 * MS, ["pumped"])],
    ids=["what is due meanwhile goes first", "nothing is due"],
)
def test_a_cell_pumps_where_nothing_waits_for_it(due_in_ns, order):
    seen = []

    class Rows:
        def pump(self):
            seen.append("pumped")
            ended.set()
            return False

    async def main():
        with RealClock(asyncio.get_running_loop()) as clock:
            clock.at(clock.now() + due_in_ns, lambda: seen.append("due"))
            with cell._pumped(clock, (Rows(),)):
                await asyncio.wait_for(ended.wait(), 30)

    ended = asyncio.Event()
    asyncio.run(main())
    assert seen[: len(order)] == order


def test_the_death_of_the_writing_process_is_told_and_the_next_has_a_new_one(tmp_path):
    recorder = Recorder(tmp_path / "a", header())
    with recorder:
        recorder.append(row(0))
        os.kill(link.shared().writer, signal.SIGKILL)
        _until(lambda: recorder.error is not None)
        recorder.append(row(1))
        recorder.pump()
    assert isinstance(recorder.error, OSError)
    assert "writing process" in str(recorder.error)
    assert record(tmp_path / "b", [row(0)]).error is None
    assert read_samples(tmp_path / "b").num_rows == 1


def test_rows_that_are_no_plain_data_stop_nothing(tmp_path):
    proxy = MappingProxyType({"queue_ns": np.float64(2.0)})
    recorder = record(tmp_path, [row(0, metrics=proxy), row(1, units=object())])
    assert isinstance(recorder.error, TypeError)


def test_files_rotate_and_are_never_rewritten(tmp_path):
    record(tmp_path, map(row, range(3000)), rotate_bytes=100_000)
    names = sorted(each.name for each in (tmp_path / "samples").iterdir())
    assert len(names) > 2
    assert names[0] == "w0-000.arrows"
    assert read_samples(tmp_path)["seq"].to_pylist() == list(range(3000))
    with pytest.raises(HostError, match="never rewritten"):
        record(tmp_path, [])


def test_workers_are_put_together_and_checks_joined(tmp_path):
    for worker in (0, 1):
        record(tmp_path, [row(seq) for seq in range(3)], worker=worker)
    write_checks(tmp_path, 1, [
        CheckRow(2, "cc", False, 0.5, "differs"),
        CheckRow(0, "aa", True, 0.0, ""),
        CheckRow(1, "bb", None, None, ""),
    ])  # fmt: skip
    table = read_samples(tmp_path)
    assert table["outcome"].to_pylist() == ["ok"] * 5 + ["wrong"]
    assert table["verified"].to_pylist() == [None] * 3 + [True, None, False]
    assert table["output_hash"].to_pylist() == [None] * 3 + ["aa", "bb", "cc"]
    assert table["max_abs_diff"].to_pylist() == [None] * 3 + [0.0, None, 0.5]
    assert read_checks(tmp_path).num_rows == 3


def test_only_ok_turns_wrong(tmp_path):
    record(tmp_path, [row(0, outcome="timeout")])
    write_checks(tmp_path, 0, [CheckRow(0, "aa", False, 1.0, "")])
    assert read_samples(tmp_path)["outcome"].to_pylist() == ["timeout"]


def test_nothing_recorded_reads_as_no_rows(tmp_path):
    assert read_samples(tmp_path).num_rows == 0
    assert read_probes(tmp_path).num_rows == 0
    record(tmp_path, [])
    assert read_samples(tmp_path).num_rows == 0


def test_echoes_are_folded_by_content(tmp_path):
    shared = {"policy": "qos", "a": 1}
    rows = [row(i, echo=shared) for i in range(3)]
    rows += [row(i, echo={"a": 1, "policy": "qos"}) for i in range(3, 2000)]
    rows += [row(2000, echo={"policy": "fcfs"}), row(2001), row(2002, echo=None)]
    recorder = record(tmp_path, rows)
    assert recorder.echoes() == [
        {"n": 2000, "value": shared},
        {"n": 1, "value": {"policy": "fcfs"}},
    ]


def test_live_counts(tmp_path):
    recorder = Recorder(tmp_path, header())
    with recorder:
        recorder.append(row(0, done_ns=MS))
        _until(lambda: recorder.live()["chat"].n == 1)
        early = recorder.live()["chat"]
        assert early.p50_ms is None
        assert early.rate_per_s > 0
        for i in range(1, 1000):
            recorder.append(row(i, due_ns=0, done_ns=(i + 1) * MS))
        recorder.append(row(1000, outcome="refused"))
        recorder.append(row(1001, outcome="timeout"))
        recorder.append(row(1002, phase="warmup"))
    live = recorder.live()["chat"]
    assert (live.n, live.errors, live.refused) == (1002, 1, 1)
    assert live.p50_ms == pytest.approx(500, rel=0.03)
    assert live.p99_ms == pytest.approx(990, rel=0.03)
    assert recorder.live()["batch"].n == 0


def test_a_broken_row_is_reported_and_not_raised(tmp_path):
    recorder = record(tmp_path, [row(0, due_ns="soon")])
    assert isinstance(recorder.error, Exception)


def test_appending_costs_under_a_microsecond(tmp_path):
    one, n = row(), 50_000

    def lap():
        begin = monotonic_ns()
        for _ in range(n):
            append(one)
        return (monotonic_ns() - begin) / n

    with Recorder(tmp_path, header()) as recorder:
        append = recorder.append
        assert min(lap() for _ in range(5)) < 1_000


def test_probes_come_back(tmp_path):
    rows = [
        (i, "generator", "", name, float(i))
        for i in range(600)
        for name in ("loop_lag_ns", f"n{i % 7}")
    ]
    with Probes(tmp_path) as probes:
        for each in rows:
            probes.append(each)
    assert probes.error is None
    assert [tuple(each.values()) for each in read_probes(tmp_path).to_pylist()] == rows


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a" / "x.json"
    value = {"n": np.int64(3), "x": float("nan"), "y": np.float64(0.5), "z": [None]}
    write_json(path, value)
    assert read_json(path) == {"n": 3, "x": None, "y": 0.5, "z": [None]}
    assert json.loads(path.read_text())["n"] == 3
    with pytest.raises(TypeError):
        write_json(path, {"n": object()})
    assert read_json(path)["n"] == 3
    assert [each.name for each in path.parent.iterdir()] == ["x.json"]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.sampled_from([str(each) for each in OUTCOMES]),
            st.text(max_size=3),
            st.none() | st.integers(0, 10**15),
        ),
        max_size=1200,
    )
)
def test_every_row_appended_is_one_row_read(tmp_path_factory, drawn):
    directory = tmp_path_factory.mktemp("rows")
    rows = [
        row(i, population=p, outcome=o, step=s, sent_ns=sent)
        for i, (p, o, s, sent) in enumerate(drawn)
    ]
    recorder = record(directory, rows)
    assert recorder.error is None
    table = read_samples(directory)
    assert table["seq"].to_pylist() == list(range(len(rows)))
    assert table["step"].to_pylist() == [each[2] for each in drawn]
    assert table["sent_ns"].to_pylist() == [each[3] for each in drawn]
    assert Counter(table["outcome"].to_pylist()) == Counter(e[1] for e in drawn)
    live = recorder.live()
    assert sum(each.n for each in live.values()) == len(rows)


def _until(done, seconds=10.0):
    limit = time.monotonic() + seconds
    while not done() and time.monotonic() < limit:
        time.sleep(0.01)
    assert done()


def test_echoes_that_never_repeat_are_bounded(tmp_path):
    """1,024 are known by value, the others by their number."""
    rows = [row(i, echo={"at": i // 2}) for i in range(3000)]
    found = record(tmp_path, rows).echoes()
    assert found[0] == {"n": 3000 - 2 * 1024, "value": {}}
    assert [each["n"] for each in found[1:]] == [2] * 1024
    assert {each["value"]["at"] for each in found[1:]} == set(range(1024))
