"""The command from end to end, in processes of its own: what a run leaves and says."""

import math
import os
import signal

import numpy as np
import psutil
import pytest

from command_kit import (  # tests/, by conftest.py
    ACCEPT_NOISE,
    ECHO,
    codes,
    document,
    misbehaving,
    results,
    run_command,
    started,
    until,
)
from djinnload.clock import monotonic_ns
from djinnload.reading import hlog
from djinnload.recording.recorder import read_samples
from djinnload.units import MS, SECOND

#: 3 significant digits: a bucket is at most 1/1000 of its values wide.
PRECISION = 1 / 1000
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}

QOS = """
verify = { share = "10%", at_least = 10 }

[scenario]
name = "tiny_mix"
warmup = "200ms"
duration = "2s"
grace = "10s"
overload = "expected"
load = 1.1

[calibrate]
arm = "fcfs"
users = 8
time = "1s"

[target.server]
policy = "qos"
slots = 2
shares = { realtime = 0.1, interactive = 0.7, batch = 0.2 }
admission_limit = 4096

[[population]]
name = "urgent"
qos_class = "realtime"
deadline = "1s"
arrival = { process = "poisson", rate = "0.3 of capacity" }
workload = { use = "llm", model = "gpt2-tiny", prompt_tokens = 16, new_tokens = 1 }
objectives = ["p50(latency) <= 10s"]

[[population]]
name = "bulk"
qos_class = "batch"
arrival = { process = "poisson", rate = "0.7 of capacity" }
workload = { use = "llm", model = "gpt2-tiny", prompt_tokens = 16, new_tokens = 1 }

[[arm]]
name = "qos"
[[arm]]
name = "fcfs"
judged = false
set = { "target.server.policy" = "fcfs" }

[comparison]
baseline = "fcfs"
metrics = ["p50(latency)"]
"""
ALONE = """
verify = { share = 1, at_least = 1 }

[scenario]
name = "alone"
warmup = "0s"
duration = "1s"
grace = "10s"

[[population]]
name = "chat"
users = 1
workload = { use = "llm", model = "gpt2-tiny", prompt_tokens = 8, new_tokens = 4 }
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where the tests of this module keep weights."""
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def compared(tmp_path_factory, cache):
    """A run of arm qos against arm fcfs: how the command ended, what it left."""
    cwd = tmp_path_factory.mktemp("compared")
    (cwd / "tiny_mix.toml").write_text(QOS)
    done = run_command(
        "run", "tiny_mix.toml", "--out", "out", *ACCEPT_NOISE, cwd=cwd, cache=cache
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return done, results(cwd / "out")


@pytest.mark.models
@pytest.mark.wallclock
def test_a_run_leaves_all_that_the_design_names(compared):
    done, run = compared
    for name in (
        "manifest.json", "index.json", "summary.json", "report.html",
        "calibration.json", "server-b0.log", "server-b1.log",
    ):  # fmt: skip
        assert (run / name).stat().st_size, name
    summary = document(run / "summary.json")
    assert summary.keys() >= {
        "schema", "scenario", "verdict", "exit_code", "cells", "arms", "comparisons",
        "claims", "knee", "efficiency",
    }  # fmt: skip
    assert summary["exit_code"] == done.returncode
    assert document(run / "manifest.json")["complete"]
    assert {each["arm"] for each in summary["comparisons"]} == {"qos"}
    index = document(run / "index.json")["cells"]
    assert [each["status"] for each in index] == ["done", "done"]
    assert len({each["boot"] for each in index}) == 2
    # What a reader looks for is said, and where the rest is.
    for words in ("urgent", "bulk", "verdict: ", str(run.name)):
        assert words in done.stdout


@pytest.mark.models
@pytest.mark.wallclock
@pytest.mark.parametrize("arm", ["qos", "fcfs"])
def test_a_cell_leaves_all_that_the_design_names(compared, arm):
    cell = compared[1] / "cells" / "all" / arm / "r00"
    for name in (
        "manifest.json",
        "intervals.hlog",
        "probes.arrows",
        "checks/w0.arrows",
    ):
        assert (cell / name).stat().st_size, name
    summary = document(cell / "summary.json")
    assert summary.keys() >= {
        "schema", "scenario", "point", "arm", "repeat", "complete", "verdict", "proof",
        "populations", "generator", "target", "gpu",
    }  # fmt: skip
    assert summary["proof"]["evidence"]["policy"] == {"how": "echoed", "value": arm}
    assert summary["target"]["embedded"]
    for found in summary["populations"].values():
        assert found.keys() >= {
            "loop", "qos_class", "n", "outcomes", "sessions", "offered_per_s",
            "achieved_per_s", "goodput_per_s", "miss_rate", "error_rate", "latency_ms",
            "service_ms", "lateness_ms", "blocked_ms", "queue_ms", "exec_ms", "ttft_ms",
            "tpot_ms", "by_step", "by_turn", "time_split_ms", "in_system", "units",
            "bytes", "rtf", "reused_tokens", "verified", "objectives",
        }  # fmt: skip
        assert found["verified"]["checked"] >= 10
        assert found["verified"]["wrong"] == 0


@pytest.mark.models
@pytest.mark.wallclock
@pytest.mark.parametrize("name", ["urgent", "bulk"])
@pytest.mark.parametrize("arm", ["qos", "fcfs"])
def test_summary_samples_and_hlog_say_the_same(compared, arm, name):
    """Here a turn is one request, so that the samples alone are enough to know."""
    cell = compared[1] / "cells" / "all" / arm / "r00"
    found = document(cell / "summary.json")["populations"][name]
    rows = [
        row
        for row in read_samples(cell).to_pylist()
        if (row["population"], row["phase"]) == (name, "measure")
    ]
    ok = [row for row in rows if row["outcome"] == "ok"]
    assert found["n"] == found["requests"] == len(rows)
    assert found["outcomes"]["ok"] == found["ok"] == len(ok)
    assert sum(found["outcomes"].values()) == len(rows)
    log = hlog.read_hlog(cell / "intervals.hlog")
    for metric, since in (("latency", "due_ns"), ("service", "sent_ns")):
        times = np.sort([row["done_ns"] - row[since] for row in ok])
        shown, logged = found[f"{metric}_ms"], log[f"{name}.{metric}"]
        assert shown["n"] == logged.get_total_count() == len(times)
        assert shown["max"] == pytest.approx(times[-1] / MS)
        assert shown["mean"] == pytest.approx(times.mean() / MS)
        for percentile, q in PERCENTILES.items():
            exact = times[math.ceil(q * len(times)) - 1]
            enough = len(times) * (1 - q) >= 10 - 1e-9
            assert shown[percentile] == (pytest.approx(exact / MS) if enough else None)
            bucket = hlog.percentile(logged, q)
            assert exact <= bucket <= exact * (1 + PRECISION)


@pytest.mark.models
@pytest.mark.wallclock
def test_arms_that_nobody_waits_in_are_not_compared(tmp_path, cache):
    (tmp_path / "tiny_mix.toml").write_text(QOS)
    done = run_command(
        "run", "tiny_mix.toml", "--out", "out", "--set", "scenario.load=0.2",
        "--set", "verify.share=0", "--set", "verify.at_least=0", *ACCEPT_NOISE,
        cwd=tmp_path, cache=cache,
    )  # fmt: skip
    assert done.returncode == 4, done.stdout + done.stderr
    run = results(tmp_path / "out")
    assert codes(run) == {"NO_CONTENTION"}
    assert "NO_CONTENTION" in done.stdout
    (compared,) = {
        each["status"] for each in document(run / "summary.json")["comparisons"]
    }
    assert compared == "void"


@pytest.mark.models
@pytest.mark.parametrize("kind", ["zeros", "forgets", "other-seed", "good"])
def test_a_server_that_answers_wrongly_voids_the_run(tmp_path, cache, kind):
    (tmp_path / "alone.toml").write_text(ALONE)
    with misbehaving(kind, cache) as (address, _):
        done = run_command(
            "run", "alone.toml", "--target", address, "--out", "out", *ACCEPT_NOISE,
            cwd=tmp_path, cache=cache,
        )  # fmt: skip
    verified = document(
        results(tmp_path / "out") / "cells/all/default/r00/summary.json"
    )
    assert verified["populations"]["chat"]["verified"]["checked"] >= 10
    if kind == "good":
        assert done.returncode == 0, done.stdout
        assert codes(results(tmp_path / "out")) == set()
    else:
        assert done.returncode == 4, done.stdout
        assert codes(results(tmp_path / "out")) == {"WRONG"}
        assert "WRONG" in done.stdout


@pytest.fixture
def long(tmp_path):
    """A scenario that a test need not wait for."""
    text = ECHO.replace('duration = "1s"', 'duration = "60s"')
    (tmp_path / "long.toml").write_text(text)
    return tmp_path


def measuring(cwd):
    """Whether a second of measure is on disk."""
    for path in cwd.glob("out/*/*/cells/all/default/r00"):
        rows = read_samples(path).to_pylist()
        done = [row["done_ns"] for row in rows if row["phase"] == "measure"]
        return bool(done) and max(done) - min(done) > SECOND
    return False


def children_of(process):
    return psutil.Process(process.pid).children(recursive=True)


def server_of(process):
    """The embedded server of a run."""
    (found,) = (each for each in children_of(process) if "serve" in each.cmdline())
    return found


@pytest.mark.wallclock
def test_sigkill_costs_the_last_second_and_leaves_no_process(long):
    with started("run", "long.toml", "--out", "out", cwd=long) as process:
        until(lambda: measuring(long))
        children = children_of(process)
        process.kill()
        killed_ns = monotonic_ns()
        process.wait()
    assert children
    assert not psutil.wait_procs(children, timeout=10)[1]
    run = results(long / "out")
    samples = read_samples(run / "cells/all/default/r00")
    assert killed_ns - max(samples["done_ns"].to_pylist()) <= SECOND
    done = run_command("report", run, cwd=long)
    assert done.returncode == 0, done.stderr
    assert str(samples.num_rows) in done.stdout.replace(",", "")
    assert "INCOMPLETE" in done.stdout
    assert (run / "report.html").stat().st_size
    summary = document(run / "summary.json")
    assert [each["status"] for each in summary["cells"]] == ["failed"]
    assert not summary["complete"]


@pytest.mark.wallclock
@pytest.mark.parametrize(
    ("number", "asked"),
    [(signal.SIGINT, ("--json", "none/such.json")), (signal.SIGTERM, ())],
)
def test_an_interrupted_run_reports_what_it_measured(long, number, asked):
    (long / "none").mkdir()
    with started("run", "long.toml", "--out", "out", *asked, cwd=long) as process:
        until(lambda: measuring(long))
        (long / "none").rmdir()
        children = children_of(process)
        process.send_signal(number)
        assert process.wait(timeout=30) == 130
    assert not psutil.wait_procs(children, timeout=10)[1]
    run = results(long / "out")
    summary = document(run / "summary.json")
    assert (summary["exit_code"], summary["interrupted"]) == (130, True)
    cell = run / "cells/all/default/r00"
    found = summary["arms"]["default"]["all"]["chat"]
    rows = read_samples(cell).to_pylist()
    kept = [r for r in rows if (r["phase"], r["outcome"]) == ("measure", "ok")]
    assert found["outcomes"]["ok"] == len(kept) >= 50
    assert "(interrupted)" in (long / "said").read_text()
    # JSON that cannot be written is said, and changes no exit code.
    said = (long / "err").read_text()
    assert ("--json: cannot write none/such.json" in said) is bool(asked)
    assert "Traceback" not in said
    assert (run / "report.html").stat().st_size


@pytest.mark.wallclock
def test_our_server_killed_mid_run_is_exit_3_and_loses_nothing(long):
    with started("run", "long.toml", "--out", "out", cwd=long) as process:
        until(lambda: measuring(long))
        server_of(process).kill()
        assert process.wait(timeout=30) == 3
    said = (long / "err").read_text()
    run = results(long / "out")
    assert "Traceback" not in said
    assert "the reference server ended during all/default/r00" in said
    assert "server-b0.log" in said
    samples = read_samples(run / "cells/all/default/r00")
    assert samples.num_rows >= 100
    summary = document(run / "summary.json")
    assert summary["exit_code"] == 3
    assert "ended during" in summary["error"]
    assert (run / "report.html").stat().st_size


@pytest.mark.wallclock
def test_a_foreign_server_killed_mid_run_is_an_outcome_and_exit_3(long):
    with (
        misbehaving("good") as (address, pid),
        started(
            "run", "long.toml", "--target", address, "--out", "out", cwd=long
        ) as run,
    ):
        until(lambda: measuring(long))
        os.kill(pid, signal.SIGKILL)
        assert run.wait(timeout=30) == 3
    said = (long / "err").read_text()
    assert "Traceback" not in said
    assert f"nothing listens at {address} any more" in said
    path = results(long / "out")
    rows = read_samples(path / "cells/all/default/r00").to_pylist()
    measured = [row for row in rows if row["phase"] == "measure"]
    refused = [row for row in measured if "Connection refused" in row["error"]]
    assert {row["outcome"] for row in refused} == {"error"}
    assert sum(row["outcome"] == "ok" for row in measured) >= 100
    assert "nothing listens" in document(path / "summary.json")["error"]
    assert (path / "report.html").stat().st_size
