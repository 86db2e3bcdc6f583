"""A run, its bundle, and the run once more, each in a process of its own."""

import pytest

from command_kit import ACCEPT_NOISE, document, results, run_command
from djinnload.bundles.packing import pack
from djinnload.recording.recorder import write_json

#: Two arms, rates of a capacity that is measured, and a model whose weights are told.
MIX = """
[scenario]
name = "mix"
warmup = "200ms"
duration = "1s"
grace = "10s"
overload = "expected"

[calibrate]
users = 4
time = "600ms"

[target.server]
policy = "qos"
slots = 2

[[population]]
name = "urgent"
arrival = { process = "poisson", rate = "0.4 of capacity" }
workload = { use = "llm", model = "gpt2-tiny", prompt_tokens = 8, new_tokens = 2 }
objectives = ["p50(latency) <= 10s"]

[[population]]
name = "users"
users = 1
think = { distribution = "constant", mean = "50ms" }
workload = { use = "echo" }
"""
NULL = """
[scenario]
name = "nothing"
warmup = "0s"
duration = "500ms"
grace = "1s"
[target]
use = "null"
[[population]]
name = "chat"
arrival = { process = "poisson", rate = "100/s" }
workload = { use = "echo" }
objectives = ["p50(latency) <= 10s"]
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run that asked nothing of anybody: its directory."""
    folder = tmp_path_factory.mktemp("null")
    (folder / "s.toml").write_text(NULL, "utf-8")
    run = run_command(
        "run", "s.toml", "--seed", "9", *ACCEPT_NOISE, "--quiet", cwd=folder
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return results(folder / "results")


@pytest.mark.models
def test_a_bundle_repeats_schedule_inputs_weights_and_verdict(tmp_path, cache):
    (tmp_path / "s.toml").write_text(MIX, "utf-8")
    options = ("--set", "population.urgent.workload.new_tokens=3", *ACCEPT_NOISE)
    run = run_command("run", "s.toml", *options, cwd=tmp_path, cache=cache)
    assert run.returncode == 0, run.stdout + run.stderr
    first = results(tmp_path / "results")
    text = (first / "RUNBOOK.md").read_text("utf-8")
    assert (
        "djinnload run scenario.toml --set population.urgent.workload.new_tokens=3"
        in text
    )
    assert "| `gpt2-tiny` | 1 | float32 | random | `" in text
    # The scenario's own file is not needed any more.
    (tmp_path / "s.toml").unlink()
    packed = run_command("bundle", first, "--out", "b.tar.zst", cwd=tmp_path)
    assert packed.returncode == 0, packed.stderr
    assert "repeat it with: djinnload rerun b.tar.zst" in packed.stdout
    again = run_command(
        "rerun", "b.tar.zst", "--out", "again", cwd=tmp_path, cache=cache
    )
    assert again.returncode == 0, again.stdout + again.stderr
    second = results(tmp_path / "again")
    found = document(second / "rerun.json")
    assert (found["identical"], found["first_difference"], found["not_known"]) == (
        True,
        None,
        [],
    )
    assert found["verdict"] == {"then": "pass", "now": "pass", "same": True}
    assert found["versions"] == []
    assert found["comparison"]["comparisons"]
    assert "identical: schedule, inputs, weights" in again.stdout
    for name in ("capacity_per_s", "solo"):
        assert document(first / "calibration.json")[name] == document(second / "calibration.json")[name]  # fmt: skip
    assert (second / "RUNBOOK.md").is_file()


def test_another_schedule_or_other_inputs_are_named(done, tmp_path):
    cell = done / "cells/all/default/r00/manifest.json"
    before = document(cell)
    other = {"chat": before["inputs"]["chat"] | {"sha256": "0" * 64}}
    write_json(cell, before | {"inputs": other})
    pack(done, tmp_path / "inputs.tar.gz")
    write_json(cell, before)
    root = document(done / "manifest.json")
    changes = root["scenario"]["changes"] | {"scenario.seed": 10}
    scenario = root["scenario"] | {"changes": changes}
    write_json(done / "manifest.json", root | {"scenario": scenario})
    pack(done, tmp_path / "schedule.tar.gz")
    write_json(done / "manifest.json", root)
    for kind in ("inputs", "schedule"):
        again = run_command("rerun", f"{kind}.tar.gz", "--quiet", cwd=tmp_path)
        assert again.returncode == 2, again.stdout + again.stderr
        assert (
            f"NOT the same: {kind} of all/default/r00, population chat" in again.stdout
        )


def test_without_samples_it_is_the_verdict_that_is_compared(done, tmp_path):
    packed = run_command("bundle", done, "--without", "samples", cwd=tmp_path)
    assert packed.returncode == 0, packed.stderr
    (bundle,) = tmp_path.glob("nothing-*.tar.gz")
    again = run_command("rerun", bundle.name, "--quiet", "--json", "-", cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    found = document(results(tmp_path / "results") / "rerun.json")
    assert found["identical"] is True
    assert found["not_known"] == ["weights"]
    assert found["comparison"] is None
    assert "--without samples" in found["not_compared"]
    assert again.stdout.startswith('{"schema"')


def test_what_cannot_be_packed_or_repeated_is_said(done, tmp_path):
    (tmp_path / "half").mkdir()
    write_json(tmp_path / "half/manifest.json", {"complete": False})
    for words, reason in (
        (("bundle", "half"), "is not complete; djinnload run --resume half"),
        (("bundle", "gone"), "holds no manifest.json; give the directory"),
        (("bundle", done, "--out", "x.zip"), "should end in .tar.gz"),
        (("rerun", "gone.tar.gz"), "no such file; djinnload bundle DIR makes one"),
    ):
        said = run_command(*words, cwd=tmp_path)
        assert said.returncode == 2
        assert reason in said.stderr


def test_report_makes_the_runbook_again_byte_for_byte(done, tmp_path):
    path = done / "RUNBOOK.md"
    before = path.read_bytes()
    path.unlink()
    assert run_command("report", done, cwd=tmp_path).returncode == 0
    assert path.read_bytes() == before
