"""Experiments 2.2 and 2.3 by the command: speech as it comes, and a conversation."""

import itertools

import numpy as np
import pytest

from command_kit import (  # tests/, by conftest.py
    codes,
    document,
    misbehaving,
    results,
    run_command,
)
from djinnload.models import catalog
from djinnload.recording.recorder import read_samples
from djinnload.units import MS

pytestmark = [pytest.mark.models, pytest.mark.wallclock, pytest.mark.timeout(900)]
#: What a busy host does to the generator, and nothing else.
HEALTH = ("LATE", "LOOP_STALL", "CPU", "NOT_STEADY")
ACCEPTED = tuple(word for code in HEALTH for word in ("--accept", code))
SPEECH, DIALOGUE = "exp2_2_streaming_audio_smoke", "exp2_3_conversation_smoke"
#: Far more than a quiet host takes: three processes import torch beside each other.
TIMEOUT_S = 600
#: Of full, the arm that is at every point, the first one only.
FIRST = {
    SPEECH: ("--set", 'arm.full.skip={ mode = ["back_to_back", "streams_2"] }'),
    DIALOGUE: ("--set", 'arm.full.skip={ think = ["short"] }'),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


def ran(cwd, cache, name, *words):
    """Run a shipped scenario, a repeat of it; return what it said and where."""
    done = run_command(
        "run", name, "--repeats", 1, "--out", "out", "--quiet", *ACCEPTED, *words,
        cwd=cwd, cache=cache, timeout=TIMEOUT_S,
    )  # fmt: skip
    return done, results(cwd / "out")


@pytest.fixture(scope="module")
def speech(tmp_path_factory, cache):
    return ran(tmp_path_factory.mktemp("speech"), cache, SPEECH)


@pytest.fixture(scope="module")
def dialogue(tmp_path_factory, cache):
    return ran(tmp_path_factory.mktemp("dialogue"), cache, DIALOGUE)


def cells(run):
    """Yield (point, arm, manifest, summary) of every cell."""
    for folder in sorted(run.glob("cells/*/*/r00")):
        told = document(folder / "summary.json")
        yield told["point"], told["arm"], document(folder / "manifest.json"), told


def population(run, point, arm):
    (found,) = (s for p, a, _, s in cells(run) if (p, a) == (point, arm))
    (only,) = found["populations"].values()
    return only


@pytest.mark.parametrize(
    ("which", "arms", "turns"),
    [
        (
            "speech",
            {
                "mode=streaming": {
                    "native_pytorch", "semantic_blind", "partially_aware", "full",
                },
                "mode=back_to_back": {"full"},
                "mode=streams_2": {"full"},
            },
            4,
        ),
        (
            "dialogue",
            {
                "think=none": {"native_pytorch", "semantic_blind", "full"},
                "think=short": {"native_pytorch", "full"},
            },
            10,
        ),
    ],
)  # fmt: skip
def test_arms_are_proven_answers_right_and_work_equal(request, which, arms, turns):
    done, run = request.getfixturevalue(which)
    assert (done.returncode, codes(run)) == (0, set()), done.stdout + done.stderr
    found = {}
    for point, arm, manifest, told in cells(run):
        found.setdefault(point, set()).add(arm)
        asked = manifest["behaviours"]
        echoes = [each["value"]["behaviours"] for each in told["proof"]["echoes"]]
        assert echoes == [asked] * len(echoes)
        assert bool(echoes) == bool(asked) == (arm != "native_pytorch")
        (only,) = told["populations"].values()
        assert only["verified"]["checked"] > 0
        assert only["verified"]["wrong"] == 0
        assert only["ok"] == only["n"]
        assert [each["turn"] for each in only["by_turn"]] == list(range(turns))
        assert told["verdict"]["reasons"] == []
    assert found == arms


def test_figures_are_there(speech, dialogue):
    for (_, run), stems in (
        (speech, ("fig_7a_latency", "fig_7b_data")),
        (dialogue, ("fig_8_turns",)),
    ):
        for stem, suffix in itertools.product(stems, ("svg", "pdf", "png", "csv")):
            assert (run / "figures" / f"{stem}.{suffix}").stat().st_size > 0


def test_each_chunk_is_due_when_it_has_been_heard(speech):
    _, run = speech
    for arm in ("native_pytorch", "semantic_blind", "full"):
        due = dues(run / "cells" / "mode=streaming" / arm / "r00")
        assert np.diff(due).tolist() == [200 * MS] * 3
    paced = population(run, "mode=back_to_back", "full")
    assert {each["blocked_ms"]["max"] for each in paced["by_turn"]} == {0}


def test_speech_has_its_measures(speech):
    _, run = speech
    weights = 4 * catalog.parameters("whisper-micro")
    # What is heard: 80 bands × 3,000 frames; what its encoder makes of it.
    features, encoded = 4 * 80 * 3000, 4 * 1500 * 64
    for arm, calls in (("semantic_blind", 4), ("partially_aware", 0)):
        told = population(run, "mode=streaming", arm)
        for turn in told["by_turn"]:
            sent = features + 3 * encoded + calls * weights
            assert turn["bytes"]["sent"] == pytest.approx(sent, rel=0.01)
            assert turn["bytes"]["received"] > 3 * encoded
    full = population(run, "mode=streaming", "full")
    for turn in full["by_turn"]:
        assert features < turn["bytes"]["sent"] < features + 4000
        assert turn["bytes"]["received"] < 4 * (4 * 512 + 1000)
        assert turn["reused_tokens"] == 0  # each window is heard anew
    assert full["rtf"] > 0
    assert full["units"]["name"] == "audio_seconds"
    assert full["miss_rate"]["n"] == 4
    sizes = full["bytes"]
    assert sizes["per_unit_sent"] + sizes["per_unit_received"] == pytest.approx(
        sizes["per_unit"]
    )
    # A second of audio: all bytes ÷ what was heard, 1 s.
    assert sizes["per_unit_sent"] == pytest.approx(sizes["request"]["sent"])
    assert sizes["registration"]["sent"] > 0


def test_a_dialogue_has_its_measures_turn_by_turn(dialogue):
    _, run = dialogue
    per_turn = 4 + 6
    # What the turns before left, but for the last token, which comes with the message.
    reused = [0, *(per_turn * k - 1 for k in range(1, 10))]
    state = 2 * 2 * 64 * 4  # key and value of 2 layers of 64 channels, a token
    for arm in ("native_pytorch", "semantic_blind", "full"):
        told = population(run, "think=none", arm)["by_turn"]
        assert [each["reused_tokens"] for each in told] == reused
        for each in told:
            assert each["ttft_ms"]["mean"] < each["latency_ms"]["mean"]
    sent = [
        each["bytes"]["sent"]
        for each in population(run, "think=none", "semantic_blind")["by_turn"]
    ]
    # Six calls a turn, each with the state of ten tokens more than a turn before.
    grown = [b - a for a, b in itertools.pairwise(sent[1:])]
    assert grown == pytest.approx([6 * per_turn * state] * 8, rel=0.01)
    full = population(run, "think=none", "full")["by_turn"]
    assert max(each["bytes"]["sent"] for each in full) < 6 * 1000


def test_a_slow_server_is_blocked_and_missed_not_late(tmp_path, cache):
    """At least 240 ms a chunk, one each 200 ms: chunk k waits 40 ms more each time."""
    longer = ("--set", "population.stream.workload.tokens=12", *FIRST[SPEECH])
    with misbehaving("slow", cache) as (address, _):
        words = ("--arm", "full", "--target", address)
        done, run = ran(tmp_path, cache, SPEECH, *longer, *words)
    assert (done.returncode, codes(run)) == (0, set()), done.stdout + done.stderr
    due = dues(run / "cells" / "mode=streaming" / "full" / "r00")
    assert np.diff(due).tolist() == [200 * MS] * 3
    told = population(run, "mode=streaming", "full")
    assert [each["misses"] for each in told["by_turn"]] == [1] * 4
    assert told["miss_rate"]["value"] == 1
    for k, each in enumerate(told["by_turn"]):
        assert each["blocked_ms"]["mean"] >= 40 * k
        assert each["latency_ms"]["mean"] >= 40 * k + 240
    last = told["by_turn"][-1]
    assert last["lateness_ms"]["mean"] < last["blocked_ms"]["mean"] / 2


@pytest.mark.parametrize(
    ("name", "kind", "arm", "code"),
    [
        (SPEECH, "ignores", "semantic_blind", "UNPROVEN"),
        (SPEECH, "shortens", "full", "WRONG"),
        (SPEECH, "other-seed", "full", "WRONG"),
        (DIALOGUE, "shortens", "semantic_blind", "WRONG"),
        (DIALOGUE, "zeros", "full", "WRONG"),
        (DIALOGUE, "forgets", "full", "WRONG"),
    ],
)
def test_a_server_that_does_otherwise_is_caught(tmp_path, cache, name, kind, arm, code):  # noqa: PLR0917 - a case
    with misbehaving(kind, cache) as (address, _):
        words = ("--target", address, "--arm", arm)
        done, run = ran(tmp_path, cache, name, *words, *FIRST[name])
    assert (done.returncode, code in codes(run)) == (4, True), done.stdout


def dues(cell):
    """When the turns of a cell were due, in measure; ns."""
    rows = read_samples(cell).to_pylist()
    mine = [r for r in rows if r["phase"] == "measure" and r["step"] == "encode"]
    return sorted(row["due_ns"] for row in mine)
