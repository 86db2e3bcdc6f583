"""So many sessions a repeat, and so many before, in real runs."""

import pytest

from command_kit import ACCEPT_NOISE, document, results, run_command
from djinnload.recording.recorder import read_samples

SCENARIO = """
[scenario]
name = "counted"
repeats = 2
order = "given"
warmup = { sessions = 3, at = "boot" }
duration = { sessions = 2 }

[[population]]
name = "users"
users = 2
workload = { use = "echo" }

[[population]]
name = "stream"
arrival = { process = "constant", rate = "50/s" }
workload = { use = "echo" }

[[arm]]
name = "a"

[[arm]]
name = "b"

[verify]
at_least = 0
"""


def told(tmp_path, *words, text=SCENARIO):
    (tmp_path / "counted.toml").write_text(text)
    done = run_command("run", "counted.toml", *words, *ACCEPT_NOISE, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    return results(tmp_path / "results")


def phases(run, cell):
    rows = read_samples(run / "cells/all" / cell).to_pylist()
    assert len({(row["worker"], row["seq"]) for row in rows}) == len(rows)
    return {
        (name, phase): sum(
            r["population"] == name and r["phase"] == phase for r in rows
        )
        for name in ("users", "stream")
        for phase in ("warmup", "measure", "cooldown")
    }


def counts(warm, measured=2):
    """Of two users and one stream."""
    return {
        ("users", "warmup"): 2 * warm,
        ("users", "measure"): 2 * measured,
        ("users", "cooldown"): 0,
        ("stream", "warmup"): warm,
        ("stream", "measure"): measured,
        ("stream", "cooldown"): 0,
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_a_repeat_is_so_many_sessions_and_a_boot_is_warmed_up_once(tmp_path, workers):
    run = told(tmp_path, "--workers", workers)
    for arm in ("a", "b"):  # they share a boot, each is warmed up on it
        assert phases(run, f"{arm}/r00") == counts(3)
        assert phases(run, f"{arm}/r01") == counts(0)
    for cell in ("a/r00", "a/r01"):
        manifest = document(run / "cells/all" / cell / "manifest.json")
        window = manifest["window"]
        assert window["sessions"] == 2
        assert window["warmup_sessions"] == (3 if cell == "a/r00" else None)
        rows = read_samples(run / "cells/all" / cell).to_pylist()
        measured = [row for row in rows if row["phase"] == "measure"]
        last = max(row["done_ns"] for row in measured)
        assert min(row["due_ns"] for row in measured) == window["begin_ns"]
        # It ends with the last reply, give or take the callback that took note of it.
        assert last <= window["end_ns"] <= last + 10_000_000
        summary = document(run / "cells/all" / cell / "summary.json")
        seconds = (window["end_ns"] - window["begin_ns"]) / 1e9
        achieved = summary["populations"]["users"]["achieved_per_s"]
        assert achieved == pytest.approx(4 / seconds, rel=1e-3)


def test_at_cell_each_is_warmed_up(tmp_path):
    text = SCENARIO.replace('sessions = 3, at = "boot"', "sessions = 3")
    run = told(tmp_path, "--arm", "a", text=text)
    assert phases(run, "a/r00") == phases(run, "a/r01") == counts(3)


def test_check_does_not_know_how_long_they_take(tmp_path):
    (tmp_path / "counted.toml").write_text(SCENARIO)
    done = run_command("check", "counted.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "as long as so many sessions take" in " ".join(done.stdout.split())
