"""Experiment 3.2 by the command: allocators side by side, and one that is broken."""

import numpy as np
import pytest

from command_kit import (  # tests/, by conftest.py
    codes,
    document,
    misbehaving,
    results,
    run_command,
)
from djinnload.reading.files import read_samples

pytestmark = pytest.mark.wallclock
SMOKE = "exp3_2_memory_kernel_smoke"
#: What a busy host does to the generator.
HEALTH = ("LATE", "LOOP_STALL", "CPU", "NOT_STEADY", "LITTLE")
ACCEPTED = tuple(word for code in HEALTH for word in ("--accept", code))
SHORT = ("--duration", "2s", "--set", "scenario.warmup=200ms")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("ran")
    done = run_command("run", SMOKE, "--out", "out", *ACCEPTED, *SHORT, cwd=cwd)
    assert done.returncode == 0, done.stdout
    return results(cwd / "out")


@pytest.mark.parametrize("arm", ["arena", "malloc"])
def test_each_allocation_is_a_request_that_the_server_timed_and_checked(ran, arm):
    cell = ran / "cells/all" / arm / "r00"
    table = read_samples(cell)
    assert set(table["outcome"].to_pylist()) == {"ok"}
    took = np.array(table["server_exec_ns"].to_pylist())
    service = np.array(table["done_ns"].to_pylist()) - table["sent_ns"].to_pylist()
    assert (took > 0).all()
    assert (took < service).all()
    # A call of an allocator is no round trip over a socket.
    assert np.median(took) < np.median(service) / 5
    manifest = document(cell / "manifest.json")
    assert manifest["behaviours"] == {"memory": arm}
    assert manifest["proof"]["settings"]["memory"] == arm
    found = document(cell / "summary.json")
    assert found["populations"]["sessions"]["verified"]["wrong"] == 0
    assert found["populations"]["sessions"]["verified"]["checked"] > 100


def test_arms_did_equal_work_and_their_setting_is_proven(ran):
    summary = document(ran / "summary.json")
    assert codes(ran) == set()
    assert {each["metric"] for each in summary["comparisons"]} == {
        "p50(exec)",
        "p99(exec)",
        "throughput",
    }
    assert "UNPROVEN" not in str(summary["comparisons"])
    assert "UNEQUAL" not in str(summary["comparisons"])


def test_an_allocator_that_writes_into_other_sessions_is_wrong(tmp_path):
    with misbehaving("tramples") as (address, _):
        done = run_command(
            "run", SMOKE, "--out", "out", *ACCEPTED, *SHORT, "--arm", "arena",
            "--target", address, "--set", "verify.share=0", "--set",
            "verify.at_least=0", cwd=tmp_path,
        )  # fmt: skip
    run = results(tmp_path / "out")
    assert done.returncode == 4, done.stdout
    assert "WRONG" in codes(run)
    errors = read_samples(run / "cells/all/arena/r00")["error"].to_pylist()
    assert any(each.startswith("memory corrupted: block ") for each in errors if each)


def test_a_server_without_an_allocator_says_what_to_do(tmp_path):
    words = ("--arm", "arena", "--set", "scenario.duration=1s")
    with misbehaving("good") as (address, _):
        done = run_command("run", SMOKE, *words, "--target", address, cwd=tmp_path)
    assert done.returncode == 3
    assert "set target.server.memory" in done.stderr
