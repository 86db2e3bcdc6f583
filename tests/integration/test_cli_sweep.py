"""A sweep in processes of its own: killed, resumed; and one with a slow generator."""

import shutil
import signal

import pytest

from command_kit import (  # tests/, by conftest.py
    ACCEPT_NOISE,
    codes,
    document,
    environment,
    results,
    run_command,
    started,
    until,
)
from djinnload.reading.files import read_samples

SWEEP = """
verify = { share = 0, at_least = 2 }
[scenario]
name = "steps"
repeats = 2
warmup = "100ms"
duration = "700ms"
grace = "2s"
[[sweep]]
name = "users"
path = "population.chat.users"
values = [1, 4]
[[population]]
name = "chat"
users = 1
arrival = { process = "poisson", rate = "40/s", per = "user" }
workload = { use = "echo" }
[[arm]]
name = "open"
[[arm]]
name = "closed"
unset = ["population.chat.arrival"]
set = { "population.chat.think" = { distribution = "constant", mean = "25ms" } }
skip = { users = [4] }
"""
CELLS = [f"users={n}/{arm}/r{r:02d}" for n, arm, r in (
    (1, "open", 0), (1, "closed", 0), (4, "open", 0),
    (4, "open", 1), (1, "closed", 1), (1, "open", 1),
)]  # fmt: skip
SKIPPED = ["users=4/closed/r00", "users=4/closed/r01"]

pytestmark = pytest.mark.wallclock


def statuses(run):
    cells = document(run / "index.json")["cells"]
    return {each["id"]: each["status"] for each in cells}


def samples(run):
    """Every sample file of the cells that are done, and its bytes."""
    done = [f"cells/{name}" for name, s in statuses(run).items() if s == "done"]
    return {p: p.read_bytes() for d in done for p in (run / d / "samples").iterdir()}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Where a sweep was killed after two of its cells, and the samples of these."""
    cwd = tmp_path_factory.mktemp("killed")
    (cwd / "steps.toml").write_text(SWEEP)
    words = ("run", "steps.toml", "--out", "out", "--seed", 5, *ACCEPT_NOISE)
    with started(*words, cwd=cwd) as process:
        index = lambda: list((cwd / "out").glob("*/*/index.json"))  # noqa: E731
        until(lambda: index() and "done" in statuses(index()[0].parent).values())
        run = results(cwd / "out")
        until(lambda: list(statuses(run).values()).count("done") >= 2)
        # In the midst of the third.
        until((run / "cells" / CELLS[2] / "manifest.json").exists)
        process.send_signal(signal.SIGKILL)
    return run, samples(run)


@pytest.fixture(scope="module")
def resumed(killed, tmp_path_factory):
    run = tmp_path_factory.mktemp("resumed") / "out" / "steps" / killed[0].name
    shutil.copytree(killed[0], run)
    done = run_command("run", "--resume", run, cwd=run.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return run, done


def test_only_what_is_missing_is_done_again(killed, resumed):
    run, before = killed[0], killed[1]
    lacking = [name for name, status in statuses(run).items() if status == "missing"]
    assert lacking == CELLS[2:]
    run = resumed[0]
    assert statuses(run) == dict.fromkeys(CELLS, "done") | dict.fromkeys(
        SKIPPED, "skipped"
    )
    after = {p.relative_to(run): data for p, data in samples(run).items()}
    kept = {p.relative_to(killed[0]): data for p, data in before.items()}
    assert kept
    assert kept.items() <= after.items()
    # What was broken off is kept, where nobody takes it for a cell.
    assert (run / "superseded" / "01" / "cells" / CELLS[2] / "manifest.json").exists()
    manifest = document(run / "manifest.json")
    (entry,) = manifest["resumed"]
    assert (entry["cells"], entry["was"]) == (CELLS[2:], "killed")
    assert manifest["complete"]
    assert manifest["scenario"]["changes"] == {"scenario.seed": 5}
    boots = {each["id"]: each["boot"] for each in document(run / "index.json")["cells"]}
    assert [boots[name] for name in CELLS] == ["b0"] * 2 + ["b1"] * 4
    assert (run / "server-b1.log").exists()


def test_all_arms_have_the_schedule_of_their_point_and_repeat(resumed):
    run = resumed[0]
    manifests = {
        name: document(run / "cells" / name / "manifest.json") for name in CELLS
    }
    seeds = {name: each["seed"] for name, each in manifests.items()}
    assert seeds["users=1/open/r00"] == seeds["users=1/closed/r00"]
    assert len(set(seeds.values())) == 4
    for each in manifests.values():
        assert each["drained"]["idle"]
    users = {
        name: set(read_samples(run / "cells" / name)["user"].to_pylist())
        for name in CELLS
    }
    assert users["users=4/open/r01"] == {0, 1, 2, 3}
    assert users["users=1/closed/r01"] == {0}


def test_a_resumed_run_is_summed_up_as_a_whole(resumed):
    run, done = resumed
    summary = document(run / "summary.json")
    assert summary["complete"]
    assert set(summary["arms"]["open"]) == {"users=1", "users=4"}
    assert set(summary["arms"]["closed"]) == {"users=1"}
    (last,) = [e for e in summary["efficiency"] if e["point"] == "users=4"]
    assert 0.4 < last["value"] < 2.5
    assert (last["load"], last["n"]) == (4, 2)
    assert "n/a" in done.stdout
    assert list((run / "figures").glob("*throughput-chat.svg"))


def test_a_run_that_is_whole_is_not_resumed(resumed):
    done = run_command("run", "--resume", resumed[0], cwd=resumed[0])
    assert done.returncode == 2
    assert "is complete, nothing is left to do" in done.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--set", "population.chat.users=3"], "population.chat.users was 'as in the"),
        (["--seed", "6"], "scenario.seed was 5, now 6"),
        (["--arm", "open"], "arms were open, closed, now open"),
        (["quick"], "the scenario file is another"),
    ],
)
def test_another_run_is_not_gone_on_with(killed, words, reason):
    before = statuses(killed[0])
    done = run_command("run", "--resume", killed[0], *words, cwd=killed[0])
    assert (done.returncode, reason in done.stderr) == (2, True), done.stderr
    assert statuses(killed[0]) == before


def test_other_versions_are_refused_by_name(killed, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(killed[0], run)
    text = (run / "manifest.json").read_text()
    numpy = document(run / "manifest.json")["versions"]["numpy"]
    (run / "manifest.json").write_text(text.replace(f'"{numpy}"', '"0.0.7"'))
    done = run_command("run", "--resume", run, cwd=tmp_path)
    assert done.returncode == 2
    assert f"numpy was 0.0.7, now {numpy}" in done.stderr
    done = run_command("run", "--resume", tmp_path, cwd=tmp_path)
    assert "holds no manifest.json" in done.stderr


# A generator that is too slow

SLOW = '''
import time
from djinnload.workloads.echo import Echo

class Burns(Echo):
    """Takes 12 ms of CPU for every session: 128 a second are more than a core has."""
    def session(self, session):
        end = time.thread_time() + 0.012
        while time.thread_time() < end:
            pass
        yield from super().session(session)
'''


def test_a_slow_generator_voids_the_smoke_of_experiment_4_1(tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "djinnload_burns-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "burns.py").write_text(SLOW)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: djinnload-burns\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(
        "[djinnload.workloads]\nburns = burns:Burns\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(site))
    assert environment()["PYTHONPATH"]
    changes = {
        "sweep.users.values": "[1, 64]",
        "population.chat.workload": '{ use = "burns" }',
        "scenario.grace": "3s",
    }
    done = run_command(
        "run", "exp4_1_scalability_smoke", "--out", "out", "--arm", "open",
        "--repeats", 1, "--duration", "1500ms",
        *(word for path, value in changes.items() for word in ("--set", f"{path}={value}")),
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 4, done.stdout + done.stderr
    run = results(tmp_path / "out")
    assert codes(run) & {"LATE", "CPU", "UNDELIVERED", "ARRIVALS"}
    (knee,) = document(run / "summary.json")["knee"]
    assert knee["bottleneck"]["what"] == "generator"
    assert knee["held_up_by"].startswith("the generator or its host: ")
