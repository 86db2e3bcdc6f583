"""What `check` says an arm ships, held against what its sockets carried."""

import pytest

from command_kit import ACCEPT_NOISE, results, run_command
from djinnload.describe import describe
from djinnload.recording.recorder import read_samples
from djinnload.scenarios.load import loads

SCENARIO = """
[scenario]
name = "shipping"
repeats = 3
order = "interleaved"
warmup = "0s"
duration = { sessions = 1 }

[[population]]
name = "decode"
users = 1
workload = { use = "llm", model = "gpt2-small-4l", prompt_tokens = 72, new_tokens = 3 }

[[arm]]
name = "blind"
repeats = 1
behaviours = { preset = "semantic_blind" }

[[arm]]
name = "partial"
behaviours = { preset = "partially_aware" }

[verify]
at_least = 0
"""


def test_bytes_are_as_foretold_and_an_arm_has_its_own_repeats(tmp_path):
    (tmp_path / "shipping.toml").write_text(SCENARIO)
    done = run_command("run", "shipping.toml", *ACCEPT_NOISE, cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    run = results(tmp_path / "results")
    cells = sorted(p.relative_to(run).as_posix() for p in run.glob("cells/all/*/r*"))
    assert cells == [
        "cells/all/blind/r00",
        *(f"cells/all/partial/r0{r}" for r in range(3)),
    ]
    foretold = describe(loads(SCENARIO)).populations
    for arm, share in (("blind", 1e-3), ("partial", 0.02)):
        rows = read_samples(run / f"cells/all/{arm}/r00").to_pylist()
        said = foretold[arm][0].shipped
        assert len(rows) == said.requests == 3
        for name, nbytes in (
            ("bytes_sent", said.sent),
            ("bytes_received", said.received),
        ):
            carried = sum(row[name] for row in rows)
            assert carried >= nbytes
            if name == "bytes_sent":  # logits come back too, which are not foretold
                assert carried == pytest.approx(nbytes, rel=share)


def test_a_long_run_has_to_be_asked_for(tmp_path):
    text = SCENARIO.replace("repeats = 1", "repeats = 3").replace(
        "duration = { sessions = 1 }", "duration = { sessions = 100000 }"
    )
    (tmp_path / "shipping.toml").write_text(text)
    for verb in ("check", "run"):
        done = run_command(verb, "shipping.toml", cwd=tmp_path)
        assert done.returncode == 2
        assert "$.arm[0] (blind): sends 38.3 TB" in done.stderr
        assert "--yes-long" in done.stderr
    assert not (tmp_path / "results").exists()
    done = run_command("check", "shipping.toml", "--yes-long", cwd=tmp_path)
    assert done.returncode == 0
    assert "ships at least" in " ".join(done.stdout.split())
