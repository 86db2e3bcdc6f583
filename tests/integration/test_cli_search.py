"""`djinnload search` as a command, against servers whose limit is known."""

import json
import signal

import pytest

from command_kit import (  # fmt: skip
    document,
    misbehaving,
    results,
    run_command,
    started,
    until,
)
from misbehaving import SLOW_S

#: What a busy machine does to the generator; the server's part is what is tested.
ACCEPT = [
    word
    for code in ("LATE", "LOOP_STALL", "CPU", "UNDELIVERED", "ARRIVALS")
    for word in ("--accept", code)
]
SCENARIO = """
[scenario]
name = "limit"
warmup = "200ms"
duration = "1s"
grace = "1s"

[search]
path = "population.chat.arrival.rate"
low = "20/s"
high = "200/s"
resolution = "40%"
looks = 3
probes = 6
time = "1min"

[[population]]
name = "chat"
arrival = { process = "constant", rate = "1/s" }
workload = { use = "echo" }
objectives = ["p50(latency) <= 100ms"]
"""


def write(folder, text=SCENARIO):
    path = folder / "limit.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.wallclock
def test_a_known_limit_is_found_and_found_again_in_the_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("DJINNLOAD_SERVER_THREADS", "1")
    with misbehaving("slow") as (address, _):
        done = run_command(
            "search", write(tmp_path), "--target", address, *ACCEPT, cwd=tmp_path
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "search: BRACKET, the limit is in [" in done.stdout
    run = results(tmp_path / "results")
    found = document(run / "search.json")
    limit = 1 / SLOW_S
    # One worker sleeps that long for each request: more cannot be; a busy machine
    # does somewhat less.
    assert found["passing"] <= limit
    assert 0.6 * limit <= found["failing"] <= 2 * limit
    assert found["saturation"]["most_achieved_per_s"] <= 1.1 * limit
    # Probes in order, each with the cells that index.json lists.
    listed = [cell for probe in found["probes"] for cell in probe["cells"]]
    assert listed == document(run / "index.json")["order"]
    assert all((run / "cells" / cell / "summary.json").is_file() for cell in listed)
    assert [probe["load"] for probe in found["probes"]][:2] == [20, 40]
    # One server for all of them, and fresh arrivals in each.
    assert {cell["boot"] for cell in document(run / "index.json")["cells"]} == {"b0"}
    seeds = [document(run / "cells" / c / "manifest.json")["seed"] for c in listed]
    assert len(set(seeds)) == len(seeds)
    # The directory alone says the same again.
    again = run_command("report", run, "--json", "-", cwd=tmp_path)
    assert json.loads(again.stdout) == found == document(run / "search.json")
    summary = document(run / "summary.json")
    assert (summary["exit_code"], summary["verdict"]["status"]) == (0, "pass")
    assert summary["search"] == found


@pytest.mark.wallclock
def test_where_not_even_low_will_do_the_code_is_1(tmp_path, monkeypatch):
    monkeypatch.setenv("DJINNLOAD_SERVER_THREADS", "1")
    text = SCENARIO.replace("100ms", "1ms")
    with misbehaving("slow") as (address, _):
        done = run_command(
            "search", write(tmp_path, text), "--target", address, *ACCEPT,
            "--json", "-", cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["end"], found["passing"], found["failing"]) == ("low", None, 20)
    assert "p50(latency) <= 1ms" in found["reason"]


@pytest.mark.wallclock
def test_an_interrupted_search_keeps_what_was_measured(tmp_path):
    path = write(tmp_path, "verify = { at_least = 0, share = 0 }\n" + SCENARIO)
    words = ("search", path, "--set", "target.use=null", *ACCEPT)
    with started(*words, cwd=tmp_path) as process:
        until(lambda: list(tmp_path.glob("results/*/*/search.json")))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    found = document(results(tmp_path / "results") / "search.json")
    assert found["interrupted"]
    assert found["exit_code"] == 130
    assert found["probes"][0]["cells"] == ["p00-20/default/r00"]
    assert "INTERRUPTED" in (tmp_path / "said").read_text("utf-8")


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (("[search]", "[[arm]]\nname = 'a'\n[[arm]]\nname = 'b'\n[search]"), (),
         "--arm: a search drives one arm"),
        (("p50(latency) <= 100ms", "p50(latncy) <= 100ms"), (), "did you mean 'latency'"),
        (('high = "200/s"', 'high = "20/s"'), (), "$.search.high: must be greater"),
        (('rate = "1/s"', 'rate = "1/s"'), ("--set", "search.path=scenario.load"),
         "$.search.low: '20/s' is no factor"),
    ],
    ids=["two-arms", "objective", "range", "path"],
)  # fmt: skip
def test_bad_input_is_told_before_anything_is_opened(tmp_path, change, words, said):
    path = write(tmp_path, SCENARIO.replace(*change))
    done = run_command("search", path, *words, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_scenario_without_a_search_says_so(tmp_path):
    done = run_command("search", "quick", cwd=tmp_path)
    assert done.returncode == 2
    assert "$.search: is missing" in done.stderr
