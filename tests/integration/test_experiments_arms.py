"""Experiments 3.1, 5.1, 6.1 by the command: arms proven, answers right, effects there."""

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

pytestmark = [pytest.mark.models, pytest.mark.timeout(700)]
NATIVE, BLIND, FULL = "native_pytorch", "semantic_blind", "full"
MODELS = (
    "llama", "gpt-j", "whisper", "resnet", "vit", "efficientnet", "clip", "blip",
    "speech-encoder",
)  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


def ran(tmp_path, cache, scenario, *more):
    words = ("run", scenario, "--out", "out", "--quiet", *ACCEPT_NOISE, *more)
    done = run_command(*words, cwd=tmp_path, cache=cache, timeout=600)
    run = results(tmp_path / "out")
    assert (done.returncode, codes(run)) == (0, set()), done.stdout + done.stderr
    return document(run / "summary.json"), run


def cells(run):
    """(point, arm) → manifest and summary of the first repeat."""
    for folder in sorted((run / "cells").glob("*/*/r00")):
        place = folder.parent.parent.name.partition("=")[2], folder.parent.name
        yield (
            place,
            document(folder / "manifest.json"),
            document(folder / "summary.json"),
        )


def assert_proven_and_right(run):
    for (point, arm), manifest, summary in cells(run):
        asked = manifest["behaviours"]
        echoes = [e["value"]["behaviours"] for e in summary["proof"]["echoes"]]
        assert bool(echoes) == (arm != NATIVE), (point, arm)
        for did in echoes:
            # None: the model has no use for it, such as for state.
            vain = {name for name, word in did.items() if word == "none"}
            assert did.keys() == asked.keys()
            assert {n: w for n, w in did.items() if n not in vain} == {
                n: w for n, w in asked.items() if n not in vain
            }
            assert vain <= {"state", "phases"}
        work = summary["populations"]["work"]
        assert work["ok"] == work["n"] > 0, (point, arm)
        assert work["verified"]["checked"] > 0
        assert work["verified"]["wrong"] == 0


def test_each_part_of_full_is_left_out_for_real(tmp_path, cache):
    summary, run = ran(tmp_path, cache, "exp3_1_ablation_smoke", "--repeats", 1)
    assert_proven_and_right(run)
    sizes = {
        place: work["bytes"]["request"]
        | {"answers": work["n"], "requests": work["requests"]}
        for place, _, told in cells(run)
        for work in [told["populations"]["work"]]
    }
    full, measured = sizes["decode", FULL], set(sizes)
    # Where it makes no difference an arm is not measured, rather than equal.
    assert ("resnet", "without_stateful_caching") not in measured
    assert ("decode", "without_phase_detection") not in measured
    assert ("decode-contended", "without_phase_detection") in measured

    def received(arm):
        return sizes["decode", arm]["received"] / sizes["decode", arm]["answers"]

    # The logits of 72 positions of the prompt instead of one, in float32.
    logits = 71 * 4 * 8192
    more = received("without_skeletonization") - received(FULL)
    assert more == pytest.approx(logits, rel=0.01)
    # Keys and values of all positions but the last token's, after each but the last.
    state = 2 * 4 * 4 * 320
    shipped = received("without_stateful_caching") - received(FULL)
    assert shipped == pytest.approx(state * sum(range(72, 79)), rel=0.02)
    plain = received("without_plan_cache")
    assert plain == pytest.approx(full["received"] / full["answers"], rel=0.01)
    compared = {(c["point"], c["arm"]) for c in summary["comparisons"]}
    assert compared == {(f"work={p}", a) for p, a in measured if a != FULL}


def test_overhead_and_savings_have_intervals_and_denominators(tmp_path, cache):
    summary, run = ran(tmp_path, cache, "exp5_1_overhead_smoke")
    assert_proven_and_right(run)
    rows = {
        (e["point"], e["kind"], e["arm"], e["metric"]): e for e in summary["effects"]
    }
    time, size = "mean(request_latency)", "mean(bytes)"
    for point in ("model=bert", "model=gpt2"):
        over = rows[point, "overhead", FULL, time]
        assert over["against"] == NATIVE
        data = rows[point, "saved", FULL, size]
        assert data["against"] == BLIND
        faster = rows[point, "speed_up", FULL, time]
        for each in (over, data, faster):
            assert (each["status"], each["n"]) == ("ok", 5)
            low, high = each["ci95"]
            assert low <= each["value"] <= high
        # Weights and a new module each time, against next to nothing.
        assert faster["ci95"][0] > 1
        worth = rows[point, "efficiency", FULL, time]
        low, high = over["ci95"]
        if low <= 0 <= high:
            assert (worth["value"], worth["reasons"][0]) == (None, "not defined")
        elif worth["value"] is not None:
            assert worth["value"] == pytest.approx(data["value"] / over["value"])
    # What blind sends is the weights; full sends tokens, and frames around them.
    sent = rows["model=bert", "saved", FULL, "mean(bytes_sent)"]["value"]
    weights = 4 * catalog.parameters("bert-tiny")
    per_call = (weights + 64 * 8) * (1 - sent / 100)
    assert 64 * 8 < per_call < 64 * 8 + 1500
    assert all(each["succeeded"] for each in summary["successes"])


def test_models_of_every_kind_answer_in_every_arm(tmp_path, cache):
    summary, run = ran(tmp_path, cache, "exp6_1_generality_smoke", "--repeats", 1)
    assert_proven_and_right(run)
    found = {
        (each["point"].partition("=")[2], each["arm"]): each["succeeded"]
        for each in summary["successes"]
    }
    assert found == {(m, a): True for m in MODELS for a in (NATIVE, BLIND, FULL)}
    kept = {
        point: told["proof"]["echoes"][0]["value"]["behaviours"]["state"]
        for (point, arm), _, told in cells(run)
        if arm == BLIND
    }
    sequential = ("llama", "gpt-j", "whisper")
    assert kept == {m: "shipped" if m in sequential else "none" for m in MODELS}


def test_a_server_that_keeps_its_plan_all_the_same_is_caught(tmp_path, cache):
    with misbehaving("ignores", cache) as (address, _):
        done = run_command(
            "run", "exp3_1_ablation_smoke", "--out", "out", "--quiet", "--repeats", 1,
            "--target", address, "--arm", "without_plan_cache", *ACCEPT_NOISE,
            cwd=tmp_path, cache=cache, timeout=600,
        )  # fmt: skip
    assert done.returncode == 4, done.stdout + done.stderr
    assert "UNPROVEN" in codes(results(tmp_path / "out"))
