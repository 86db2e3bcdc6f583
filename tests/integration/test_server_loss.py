"""`on_server_loss`: real servers, killed by their process id, that come back or do not."""

import subprocess
from contextlib import contextmanager

import numpy as np
import psutil
import pytest

from command_kit import (  # tests/, by conftest.py
    ACCEPT_NOISE,
    DJINNLOAD,
    ECHO,
    codes,
    document,
    environment,
    results,
    started,
    until,
)
from djinnload.boots.hook import free_port
from djinnload.recording.recorder import read_samples
from djinnload.units import MS, SECOND

pytestmark = pytest.mark.wallclock

CELL = "cells/all/default/r00"
#: Long enough for a server to be started in it, on a busy machine.
SECONDS = 9
#: A gap is far longer than gaps between rows; these may void what it leaves.
TOLERANT = (*ACCEPT_NOISE, "--accept", "LITTLE")


def scenario(tmp_path, policy, *, seconds=SECONDS, more=""):
    text = ECHO.replace('duration = "1s"', f'duration = "{seconds}s"')
    text = text.replace("[scenario]", f'[scenario]\non_server_loss = "{policy}"')
    text = text.replace('objectives = ["p50(latency) <= 10s"]', more)
    (tmp_path / "s.toml").write_text(text)
    return tmp_path


def answered(cwd):
    """How many requests of measure are on disk, and ok."""
    for path in cwd.glob(f"out/*/*/{CELL}"):
        rows = read_samples(path)
        found = zip(*(rows[c].to_pylist() for c in ("phase", "outcome")), strict=True)
        return sum(each == ("measure", "ok") for each in found)
    return 0


def server_of(process):
    below = psutil.Process(process.pid).children(recursive=True)
    (found,) = (each for each in below if "serve" in each.cmdline())
    return found


@contextmanager
def serving(port):
    """A reference server of the test's own on *port*."""
    process = subprocess.Popen(
        [*DJINNLOAD, "serve", "--port", str(port)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert "ready" in process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def measured(cell):
    """Rows of measure, in due order: outcome and due of each."""
    rows = [r for r in read_samples(cell).to_pylist() if r["phase"] == "measure"]
    rows.sort(key=lambda row: row["due_ns"])
    return rows


def check_gap(run, seconds):
    """The loss is in manifest, summary and report, and the load was kept up in it."""
    cell = document(run / CELL / "summary.json")
    (gap,) = cell["gaps"]
    assert 0 < gap["from_s"] < gap["to_s"] < seconds
    (found,) = (f for f in cell["verdict"]["findings"] if f["code"] == "server-lost")
    assert not found["void"]
    windows = cell["populations"]["chat"]["windows"]
    lost = [w["at_s"] for w in windows if w.get("lost")]
    assert lost
    assert lost[0] <= gap["from_s"]
    assert lost[-1] <= gap["to_s"]
    assert "server-lost" in (run / "report.html").read_text()
    rows = measured(run / CELL)
    # Every session had its due time, 10 ms apart, whatever the server did.
    dues = np.array([row["due_ns"] for row in rows])
    assert len(dues) == 100 * seconds
    assert (np.diff(dues) == 10 * MS).all()
    begin = document(run / CELL / "manifest.json")["window"]["begin_ns"]
    inside = [
        row["outcome"]
        for row in rows
        if gap["from_s"] + 0.2 < (row["due_ns"] - begin) / SECOND < gap["to_s"] - 0.2
    ]
    assert set(inside) <= {"error"}
    after = [r for r in rows if (r["due_ns"] - begin) / SECOND > gap["to_s"] + 1]
    return gap, rows, after


def test_void_ends_the_cell_and_says_so(tmp_path):
    scenario(tmp_path, "void", seconds=60)
    with started("run", "s.toml", "--out", "out", *TOLERANT, cwd=tmp_path) as process:
        until(lambda: answered(tmp_path) > 100)
        server_of(process).kill()
        assert process.wait(timeout=30) == 3
    run = results(tmp_path / "out")
    assert codes(run) == {"SERVER_LOST", "INCOMPLETE"}
    cell = document(run / CELL / "summary.json")
    (gap,) = cell["gaps"]
    assert gap["from_s"] > 1
    assert gap["to_s"] is None
    assert "SERVER_LOST" in {each["code"] for each in cell["verdict"]["reasons"]}
    assert "SERVER_LOST" in (tmp_path / "said").read_text()


@pytest.mark.parametrize("workers", [1, 2])
def test_wait_starts_our_server_once_more_and_the_run_comes_to_its_verdict(
    tmp_path, workers
):
    scenario(tmp_path, "wait")
    arguments = ("--out", "out", "--workers", workers, *TOLERANT)
    with started("run", "s.toml", *arguments, cwd=tmp_path) as process:
        until(lambda: answered(tmp_path) > 100)
        first = server_of(process)
        port = first.net_connections()[0].laddr.port
        first.kill()
        first.wait()
        until(lambda: any("serve" in c.cmdline() for c in alive_below(process)))
        assert server_of(process).pid != first.pid
        until(lambda: server_of(process).net_connections())
        assert server_of(process).net_connections()[0].laddr.port == port
        assert process.wait(timeout=60) == 0, (tmp_path / "err").read_text()
    run = results(tmp_path / "out")
    assert codes(run) == set()
    _, rows, after = check_gap(run, SECONDS)
    assert after
    assert {row["outcome"] for row in after} == {"ok"}
    assert any("refused" in row["error"] for row in rows)
    # What was due meanwhile counts, as turns that were not ok.
    found = document(run / "summary.json")["arms"]["default"]["all"]["chat"]
    failed = sum(row["outcome"] != "ok" for row in rows)
    assert found["error_rate"]["value"] == pytest.approx(failed / len(rows))


def alive_below(process):
    below = psutil.Process(process.pid).children(recursive=True)
    return [each for each in below if each.status() != psutil.STATUS_ZOMBIE]


def test_a_server_of_ours_that_dies_twice_is_not_waited_for_again(tmp_path):
    scenario(tmp_path, "wait", seconds=60)
    with started("run", "s.toml", "--out", "out", *TOLERANT, cwd=tmp_path) as process:
        until(lambda: answered(tmp_path) > 50)
        for more in (50, 0):
            seen = answered(tmp_path)
            server_of(process).kill()
            if more:
                until(lambda seen=seen: answered(tmp_path) > seen + 150)
        assert process.wait(timeout=30) == 3
    assert "has ended a second time" in (tmp_path / "err").read_text()
    assert "Traceback" not in (tmp_path / "err").read_text()
    run = results(tmp_path / "out")
    gaps = document(run / CELL / "summary.json")["gaps"]
    assert [gap["to_s"] is None for gap in gaps] == [False, True]


def test_a_server_elsewhere_that_comes_back_is_taken_up_again(tmp_path):
    scenario(tmp_path, "go_on")
    assert killed_and_served_again(tmp_path, 100) == 0, (tmp_path / "err").read_text()
    _, _, after = check_gap(results(tmp_path / "out"), SECONDS)
    assert {row["outcome"] for row in after} == {"ok"}


def killed_and_served_again(cwd, seen):
    """Run against a server that is killed after *seen* answers, and another; the code."""
    port = free_port()
    target = ("--target", f"127.0.0.1:{port}", "--out", "out")
    with started("run", "s.toml", *target, *TOLERANT, cwd=cwd) as process:
        with serving(port):
            until(lambda: answered(cwd) > seen, 60)
        until(lambda: lost(cwd))
        with serving(port):
            return process.wait(timeout=90)


def lost(cwd):
    """Whether the run has noticed, and written down, that its server is lost."""
    (path,) = cwd.glob(f"out/*/*/{CELL}/manifest.json")
    return document(path).get("gaps")


def test_go_on_starts_nothing(tmp_path):
    scenario(tmp_path, "go_on", seconds=4)
    with started("run", "s.toml", "--out", "out", *TOLERANT, cwd=tmp_path) as process:
        until(lambda: answered(tmp_path) > 50)
        server_of(process).kill()
        code = process.wait(timeout=60)
    assert code == 0, (tmp_path / "err").read_text()
    run = results(tmp_path / "out")
    (gap,) = document(run / CELL / "summary.json")["gaps"]
    assert gap["to_s"] is None
    rows = measured(run / CELL)
    assert len(rows) == 400
    assert {row["outcome"] for row in rows[-50:]} == {"error"}


@pytest.mark.models
def test_what_comes_back_is_told_its_models_again(tmp_path, monkeypatch):
    workload = 'workload = { use = "llm", model = "gpt2-tiny", prompt_tokens = 4 }'
    # PyTorch is imported again meanwhile.
    scenario(tmp_path, "wait", seconds=15)
    text = (tmp_path / "s.toml").read_text()
    text = text.replace('workload = { use = "echo" }', workload)
    (tmp_path / "s.toml").write_text(text.replace('"100/s"', '"20/s"'))
    monkeypatch.setenv("DJINNLOAD_CACHE", str(tmp_path / "weights"))
    monkeypatch.setenv("DJINNLOAD_SERVER_NICE", "0")  # it has to be up in time
    assert killed_and_served_again(tmp_path, 20) == 0, (tmp_path / "err").read_text()
    run = results(tmp_path / "out")
    (gap,) = document(run / CELL / "summary.json")["gaps"]
    begin = document(run / CELL / "manifest.json")["window"]["begin_ns"]
    rows = measured(run / CELL)
    after = [r for r in rows if (r["due_ns"] - begin) / SECOND > gap["to_s"] + 0.5]
    assert after
    assert {row["outcome"] for row in after} == {"ok"}
    checked = document(run / CELL / "summary.json")["populations"]["chat"]["verified"]
    assert checked["wrong"] == 0
