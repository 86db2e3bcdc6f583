"""Arms of the evaluation by the command: proven, right, and caught where they are not."""

import pytest

from command_kit import (
    ACCEPT_NOISE,
    codes,
    document,
    misbehaving,
    results,
    run_command,
)
from djinnload.models import catalog

pytestmark = pytest.mark.models
SCENARIO = """
[scenario]
name = "arms"
seed = 5
warmup = "0s"
duration = "1s"
[[population]]
name = "chat"
users = 1
workload = { use = "llm", model = "gpt2-tiny", prompt_tokens = 8, new_tokens = 4 }
objectives = ["p50(latency) <= 30s"]
[[arm]]
name = "native_pytorch"
target = { use = "local" }
[[arm]]
name = "semantic_blind"
behaviours = { preset = "semantic_blind" }
[[arm]]
name = "partially_aware"
behaviours = { preset = "partially_aware" }
[[arm]]
name = "full"
behaviours = { preset = "full" }
[comparison]
baseline = "full"
metrics = ["mean(latency)"]
"""
ARMS = ("native_pytorch", "semantic_blind", "partially_aware", "full")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


def ran(tmp_path, cache, *more):
    path = tmp_path / "arms.toml"
    path.write_text(SCENARIO)
    done = run_command("run", path, "--out", "out", "--quiet", *ACCEPT_NOISE, *more,
                       cwd=tmp_path, cache=cache)  # fmt: skip
    return done, results(tmp_path / "out")


def test_every_arm_of_the_smoke_scenario_is_proven_and_right(tmp_path, cache):
    short = ("--repeats", 1, "--set", "scenario.duration.sessions=1",
             "--set", "scenario.warmup.sessions=1")  # fmt: skip
    words = ("run", "exp2_1_llm_decode_smoke", *short, "--out", "out", "--quiet")
    done = run_command(*words, *ACCEPT_NOISE, cwd=tmp_path, cache=cache, timeout=240)
    run = results(tmp_path / "out")
    assert (done.returncode, codes(run)) == (0, set()), done.stdout + done.stderr
    sent = {}
    for arm in ARMS:
        folder = run / "cells" / "all" / arm / "r00"
        asked = document(folder / "manifest.json")["behaviours"]
        told = document(folder / "summary.json")
        echoes = [e["value"]["behaviours"] for e in told["proof"]["echoes"]]
        assert echoes == [asked] * len(echoes)
        assert bool(echoes) == bool(asked) == (arm != "native_pytorch")
        chat = told["populations"]["decode"]
        assert chat["verified"]["checked"] > 0
        assert chat["verified"]["wrong"] == 0
        sent[arm] = chat["bytes"]["request"]["sent"] / chat["n"]
    assert sent["native_pytorch"] == 0
    weights, state, tokens = 4 * catalog.parameters("gpt2-small-4l"), 8 * 4 * 320, 8
    every = tokens * weights + state * sum(range(72, 79))
    assert sent["semantic_blind"] == pytest.approx(every, rel=1e-3)
    assert sent["partially_aware"] == pytest.approx(
        state * sum(range(72, 79)), rel=1e-2
    )
    assert sent["full"] < 1000 * tokens
    for stem in ("fig_6a_latency", "fig_6b_time_split"):
        drawn = [run / "figures" / f"{stem}.{kind}" for kind in ("svg", "pdf", "png")]
        assert all(path.stat().st_size > 1000 for path in drawn)
    caption = (run / "figures" / "fig_6a_latency.txt").read_text()
    assert all(arm in caption for arm in ARMS)


@pytest.mark.parametrize(
    ("kind", "arm", "code"),
    [
        ("ignores", "semantic_blind", "UNPROVEN"),
        ("shortens", "full", "WRONG"),
        ("zeros", "partially_aware", "WRONG"),
    ],
)
def test_a_server_that_does_otherwise_is_caught(tmp_path, cache, kind, arm, code):
    with misbehaving(kind, cache) as (address, _):
        done, run = ran(tmp_path, cache, "--target", address, "--arm", arm)
    assert (done.returncode, code in codes(run)) == (4, True), done.stdout


def test_an_arm_that_a_target_cannot_execute_is_refused(tmp_path, cache):
    path = tmp_path / "arms.toml"
    path.write_text(f"{SCENARIO}[target]\noptions = {{ extensions = false }}\n")
    done = run_command("check", path, cwd=tmp_path, cache=cache)
    assert done.returncode == 2
    assert ").behaviours." in done.stderr
    assert "cannot execute" in " ".join(done.stderr.split())
