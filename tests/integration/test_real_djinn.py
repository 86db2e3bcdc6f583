"""A real Djinn, only if one is named: see docs/real-djinn.md.

DJINNLOAD_REAL_DJINN=127.0.0.1:5556 pytest tests/integration/test_real_djinn.py
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ADDRESS = os.environ.get("DJINNLOAD_REAL_DJINN", "")
CLASSES = ("realtime", "interactive", "batch")

pytestmark = [
    pytest.mark.skipif(not ADDRESS, reason="DJINNLOAD_REAL_DJINN names no server"),
    pytest.mark.timeout(180),
]


def run(out: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "djinnload", "run", "quick", "--quiet"]
    command += ["--target", ADDRESS, "--out", str(out), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def measured(out: Path, capacity: str, seconds: str) -> dict[str, Any]:
    """The one cell's summary; every session a prefill and three decodes."""
    options = ["--arm", "qos", "--declare", "policy=qos", "--repeats", "1"]
    options += ["--duration", seconds, "--set", f"calibrate.capacity={capacity}"]
    for name in CLASSES:
        options += ["--set", f"population.{name}.workload.new_tokens=4"]
    done = run(out, *options)
    # It shares a host with us, and may be slow: what it answered is what counts here.
    assert done.returncode in {0, 1, 4}, done.stderr
    (path,) = out.glob("quick/*/cells/all/qos/r00/summary.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_three_classes_decode_and_every_answer_checked_is_right(tmp_path: Path) -> None:
    summary = measured(tmp_path, "10/s", "4s")
    assert summary["proof"]["kind"] == "Djinn"
    assert summary["proof"]["register"] == "weights"
    assert summary["proof"]["registration"]["sent"] > 500_000
    for name in CLASSES:
        found = summary["populations"][name]
        assert found["outcomes"]["ok"] > 0
        assert set(found["by_step"]) == {"prefill", "decode"}
        assert found["verified"]["checked"] > 0
        assert found["verified"]["wrong"] == 0


def test_refusals_are_counted_as_refused(tmp_path: Path) -> None:
    populations = measured(tmp_path, "400/s", "2s")["populations"].values()
    outcomes = [each["outcomes"] for each in populations]
    assert sum(each["refused"] for each in outcomes) > 0
    assert sum(each["error"] + each["wrong"] for each in outcomes) == 0


def test_without_an_arm_it_explains_itself(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 2
    assert "choose one with --arm NAME" in done.stderr
    assert list(tmp_path.iterdir()) == []
