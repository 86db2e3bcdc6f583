"""A load shared by several processes: the same load, merged exactly, broken honestly."""

import os
import signal

import psutil
import pytest

import djinnload
from command_kit import (  # tests/, by conftest.py
    ACCEPT_NOISE,
    document,
    results,
    run_command,
    started,
    until,
)
from djinnload import affinity
from djinnload.clock import monotonic_ns
from djinnload.errors import HostError, ScenarioError
from djinnload.recording.recorder import read_probes, read_samples, write_json
from djinnload.scenarios.load import loads
from djinnload.targets.null import Null
from djinnload.units import SECOND

MIX = """
verify = { share = 0, at_least = 0 }

[scenario]
name = "shared"
warmup = "100ms"
duration = "600ms"
grace = "2s"
max_in_flight = 1001

[target]
use = "null"

[[population]]
name = "open"
arrival = { process = "poisson", rate = "300/s" }
workload = { use = "echo" }

[[population]]
name = "bursts"
users = 3
arrival = { process = "gamma", rate = "40/s", shape = 0.25, per = "user" }
workload = { use = "echo" }

[[population]]
name = "closed"
users = 5
think = { distribution = "exponential", mean = "20ms" }
workload = { use = "echo" }
"""


def cell_of(run):
    return run / "cells/all/default/r00"


def went(tmp_path, name="out", **options):
    """Run the mix and return its cell: directory, manifest, rows."""
    found = djinnload.run_sync(loads(MIX), out=tmp_path / name, **options)
    assert not found.error
    cell = cell_of(found.path)
    return cell, document(cell / "manifest.json"), read_samples(cell).to_pylist()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return went(tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return went(tmp_path_factory.mktemp("shared"), workers=3)


def starts(manifest, rows, populations=("open", "bursts")):
    begin = manifest["window"]["begin_ns"]
    return sorted(
        (r["population"], r["user"], r["session"], r["due_ns"] - begin)
        for r in rows
        if r["population"] in populations
    )


def test_several_workers_send_what_one_would_at_the_same_due_times(alone, shared):
    _, one, rows_of_one = alone
    _, three, rows_of_three = shared
    found = starts(three, rows_of_three)
    assert found == starts(one, rows_of_one)
    assert len(found) >= 250
    assert {row["worker"] for row in rows_of_three} == {0, 1, 2}
    assert {row["worker"] for row in rows_of_one} == {0}


def test_seq_is_unique_in_a_worker_and_session_ids_in_the_run(shared):
    _, _, rows = shared
    assert len({(r["worker"], r["seq"]) for r in rows}) == len(rows)
    names = [(r["population"], r["user"], r["session"]) for r in rows]
    assert len(set(names)) == len(rows)  # echo: one request a session


def test_a_closed_user_stays_with_one_worker(shared):
    _, _, rows = shared
    workers = {}
    for row in rows:
        if row["population"] == "closed":
            workers.setdefault(row["user"], set()).add(row["worker"])
    assert sorted(workers) == [0, 1, 2, 3, 4]
    assert all(len(each) == 1 for each in workers.values())
    assert {worker for each in workers.values() for worker in each} == {0, 1, 2}


CROWD = """
verify = { share = 0, at_least = 0 }

[scenario]
name = "crowd"
warmup = "100ms"
duration = "600ms"
grace = "2s"

[target]
use = "null"

[[population]]
name = "return"
arrival = { process = "poisson", rate = "80/s" }
return_probability = "60%"
think = { distribution = "constant", mean = "20ms" }
workload = { use = "echo" }

[[population]]
name = "ramp"
users = { start = 1, end = 9, over = "500ms" }
think = { distribution = "constant", mean = "20ms" }
workload = { use = "echo" }
"""


def test_users_who_come_and_come_back_do_so_in_one_worker_when_they_would(tmp_path):
    firsts = []
    for workers in (1, 3):
        found = djinnload.run_sync(loads(CROWD), out=tmp_path / "out", workers=workers)
        cell = cell_of(found.path)
        begin = document(cell / "manifest.json")["window"]["begin_ns"]
        users, first = {}, {}
        for row in read_samples(cell).to_pylist():
            user = row["population"], row["user"]
            users.setdefault(user, set()).add(row["worker"])
            due = row["due_ns"] - begin
            first[user] = min(due, first.get(user, due))
        assert all(len(each) == 1 for each in users.values())
        firsts.append(first)
    assert firsts[0] == firsts[1]
    assert len(firsts[0]) >= 30


def test_the_manifest_adds_the_workers_up(alone, shared):
    _, one, _ = alone
    cell, three, rows = shared
    assert [each["worker"] for each in three["workers"]] == [0, 1, 2]
    assert three["complete"]
    assert set(three) - {"workers"} == set(one)
    assert set(three["window"]) == set(one["window"])
    for name in ("open", "bursts"):
        assert three["sessions"][name] == one["sessions"][name]
    measured = [r for r in rows if r["phase"] == "measure"]
    assert sum(t["started"] for t in three["sessions"].values()) == len(measured)
    devices = set(read_probes(cell)["device"].to_pylist())
    assert devices == {"", "w0", "w1", "w2"}
    sources = read_probes(cell).to_pylist()
    assert {p["device"] for p in sources if p["source"] == "host"} == {""}
    assert len({each["pid"] for each in three["workers"]} | {os.getpid()}) == 4
    assert not psutil.Process().children()


def test_isolate_runs_one_engine_in_a_child_and_leaves_the_same(alone, tmp_path):
    _, one, rows = alone
    cell, manifest, found = went(tmp_path, isolate=True)
    assert starts(manifest, found) == starts(one, rows)
    (worker,) = manifest["workers"]
    assert worker["pid"] != os.getpid()
    assert (cell / "probes.arrows").exists()


def test_pinned_workers_keep_to_their_cores(tmp_path):
    core = max(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    scenario = loads(MIX).replace({"scenario.pin": [core]})
    writers = []

    def seen(_):
        writers.extend(
            set(each.cpu_affinity())
            for each in psutil.Process().children(recursive=True)
            if each.ppid() != os.getpid()
            and "djinnload.recording.writer" in each.cmdline()
        )

    found = djinnload.run_sync(scenario, out=tmp_path, on_progress=seen)
    # A core that a generator polls on has no room for who writes its samples.
    assert writers
    assert all(each in (before, before - {core}) for each in writers)
    (worker,) = document(cell_of(found.path) / "manifest.json")["workers"]
    assert worker["cores"] == [core]
    assert os.sched_getaffinity(0) == before


def test_cores_are_dealt_out_and_those_that_do_not_exist_are_refused():
    usable = sorted(os.sched_getaffinity(0))
    assert affinity.shares(False, 2) is None
    assert affinity.shares(True, 1) == ((usable[0],),)
    assert affinity.shares(tuple(usable), 1) == (tuple(usable),)
    assert affinity.spare(None) is None
    assert affinity.spare([tuple(usable)]) is None
    if len(usable) > 1:
        assert affinity.spare([(usable[0],)]) == tuple(usable[1:])
    with pytest.raises(ScenarioError, match=r"scenario\.pin: .* may not use core 6000"):
        affinity.shares((6000,), 1)
    with pytest.raises(ScenarioError, match=r"workers need a core each"):
        affinity.shares(True, len(usable) + 1)


def test_workers_without_users_have_nothing_to_do(tmp_path):
    changes = {
        "population.closed.users": 1, "population.bursts.arrival.rate": "1/h",
        "population.open.arrival.rate": "1/h",
    }  # fmt: skip
    found = djinnload.run_sync(
        loads(MIX).replace(changes), out=tmp_path, isolate=True, workers=2
    )
    assert not found.error
    rows = read_samples(cell_of(found.path)).to_pylist()
    assert {r["worker"] for r in rows if r["population"] == "closed"} == {0}


@pytest.mark.parametrize("options", [{"workers": 2}, {"isolate": True}])
def test_a_target_object_cannot_go_to_another_process(tmp_path, options):
    with pytest.raises(ScenarioError, match="target: an object cannot be driven by"):
        djinnload.run_sync(
            loads(MIX), out=tmp_path, target=Null(Null.Options()), **options
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("workers", [0, -1, 257])
def test_a_number_of_workers_that_cannot_be_is_refused(workers):
    with pytest.raises(ScenarioError, match=r"\$\.scenario\.workers: must be a whole"):
        djinnload.run_sync(loads(MIX), workers=workers)


def test_parts_on_another_clock_are_not_merged(shared, tmp_path):
    cell, _, _ = shared
    copy = tmp_path / "cell"
    copy.mkdir()
    for number, boot in enumerate("aba"):
        write_json(
            copy / f"worker-{number}.json",
            {"worker": number, "boot_id": boot, "time_namespace": "time:[1]"},
        )
    with pytest.raises(HostError, match=r"worker-1\.json: .*another boot"):
        read_samples(copy)
    assert read_samples(cell).num_rows


# Real processes, killed and interrupted


@pytest.fixture
def long(tmp_path):
    text = MIX.replace('duration = "600ms"', 'duration = "60s"')
    (tmp_path / "long.toml").write_text(text)
    return tmp_path


def measuring(cwd):
    """Whether a second of measure of both workers is on disk."""
    for cell in cwd.glob("out/*/*/cells/all/default/r00"):
        rows = read_samples(cell).to_pylist()
        for worker in (0, 1):
            done = [
                row["done_ns"]
                for row in rows
                if (row["phase"], row["worker"]) == ("measure", worker)
            ]
            if not done or max(done) - min(done) < SECOND:
                return False
        return True
    return False


def workers_of(process):
    children = psutil.Process(process.pid).children()
    return [each for each in children if "djinnload.workers.worker" in each.cmdline()]


def running(cwd):
    return started(
        "run", "long.toml", "--workers", 2, "--out", "out", cwd=cwd
    )  # fmt: skip


@pytest.mark.wallclock
def test_a_killed_worker_breaks_the_run_off_and_costs_its_last_second(long):
    with running(long) as process:
        until(lambda: measuring(long))
        workers = workers_of(process)
        assert len(workers) == 2
        workers[1].kill()
        killed_ns = monotonic_ns()
        assert process.wait(timeout=30) == 3
    assert not psutil.wait_procs(workers, timeout=10)[1]
    said = (long / "err").read_text()
    assert "Traceback" not in said
    assert "worker 1" in said
    assert "was killed by SIGKILL" in said
    run = results(long / "out")
    rows = read_samples(cell_of(run)).to_pylist()
    last = {k: max(r["done_ns"] for r in rows if r["worker"] == k) for k in (0, 1)}
    assert killed_ns - last[1] <= SECOND
    assert last[0] >= killed_ns - SECOND
    manifest = document(cell_of(run) / "manifest.json")
    assert not manifest["complete"]
    assert "was killed" in manifest["error"]
    summary = document(run / "summary.json")
    assert summary["exit_code"] == 3
    assert summary["verdict"]["status"] == "void"
    done = run_command("report", run, cwd=long)
    assert done.returncode == 0, done.stderr
    # What it has measured is folded, and counts for nothing.
    found = document(cell_of(run) / "summary.json")
    assert not found["complete"]
    assert "INCOMPLETE" in {each["code"] for each in found["verdict"]["reasons"]}
    assert found["populations"]["closed"]["n"] >= 50
    assert found["populations"]["closed"]["achieved_per_s"] >= 20
    assert summary["arms"] == {}
    assert f"{len(rows):,}".replace(",", "") in done.stdout.replace(",", "")


@pytest.mark.wallclock
def test_an_interrupted_run_stops_its_workers_and_reports(long):
    with running(long) as process:
        until(lambda: measuring(long))
        workers = workers_of(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 130
    assert not psutil.wait_procs(workers, timeout=10)[1]
    run = results(long / "out")
    summary = document(run / "summary.json")
    assert (summary["exit_code"], summary["interrupted"]) == (130, True)
    rows = read_samples(cell_of(run)).to_pylist()
    measured = [r for r in rows if r["phase"] == "measure"]
    assert {r["worker"] for r in measured if r["outcome"] == "ok"} == {0, 1}
    assert not list(run.glob("worker-*.log"))  # nobody had anything to say


@pytest.mark.wallclock
def test_workers_end_when_the_run_is_killed(long):
    with running(long) as process:
        until(lambda: measuring(long))
        workers = workers_of(process)
        process.kill()
        killed_ns = monotonic_ns()
    assert not psutil.wait_procs(workers, timeout=10)[1]
    assert monotonic_ns() - killed_ns < 10 * SECOND
    run = results(long / "out")
    manifest = document(cell_of(run) / "manifest.json")
    assert not manifest["complete"]
    # Written before it began, so that what there is can be folded.
    assert manifest["window"]["end_ns"] - manifest["window"]["begin_ns"] == 60 * SECOND
    rows = read_samples(cell_of(run)).to_pylist()
    last = {k: max(r["done_ns"] for r in rows if r["worker"] == k) for k in (0, 1)}
    assert all(killed_ns - each <= SECOND for each in last.values())


SEARCH = """
verify = { share = 0, at_least = 0 }

[scenario]
name = "sought"
warmup = "0s"
duration = "300ms"
grace = "1s"
workers = 2

[target]
use = "null"

[search]
path = "population.chat.arrival.rate"
low = "100/s"
high = "200/s"
looks = 1
probes = 2

[[population]]
name = "chat"
arrival = { process = "constant", rate = "1/s" }
workload = { use = "echo" }
objectives = ["p50(latency) <= 10s"]
"""


@pytest.mark.wallclock
def test_workers_share_each_load_of_a_search_too(tmp_path):
    (tmp_path / "sought.toml").write_text(SEARCH)
    done = run_command("search", "sought.toml", *ACCEPT_NOISE, cwd=tmp_path)
    assert done.returncode in {0, 4}, done.stderr
    run = results(tmp_path / "results")
    cells = document(run / "index.json")["cells"]
    assert [cell["point"]["population.chat.arrival.rate"] for cell in cells] == [
        "100.0/s", "200.0/s",
    ]  # fmt: skip
    for cell, expected in zip(cells, (30, 60), strict=True):
        rows = read_samples(run / cell["path"]).to_pylist()
        assert len(rows) == expected
        assert {row["cell"] for row in rows} == {cell["id"]}
        assert sum(row["worker"] == 1 for row in rows) == expected // 2
