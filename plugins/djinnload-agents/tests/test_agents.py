"""Agents keep the contract, pause while they act, and are checked."""

from itertools import pairwise

import pytest

import djinnload
from djinnload.testing import ModelAssets, check_workload
from djinnload_agents import Agents

SMALL = {
    "model": "gpt2-small-4l",
    "prompt_tokens": 4,
    "observation_tokens": 3,
    "new_tokens": 2,
    "act": "200ms",
    "act_most": "400ms",
}

SCENARIO = """
[scenario]
name = "agents"
duration = "2s"
warmup = "0s"
[[population]]
name = "agents"
users = 2
workload = {{ use = "agents", {options} }}
"""


def options(**changes):
    return SMALL | changes


def test_the_contract():
    found = check_workload(Agents, options(cycles=2))
    assert found.requests == 8 * 2 * 2 * 2
    assert found.models == ("gpt2-small-4l",)


def test_an_agent_too_long_for_its_model_is_refused():
    with pytest.raises(ValueError, match="feeds 19948 tokens"):
        check_workload(Agents, {"model": "gpt2-small-4l", "cycles": 151})


def test_no_pause_ends_before_it_begins():
    with pytest.raises(ValueError, match="act_most"):
        check_workload(Agents, options(act="2s", act_most="1s"))


def test_a_run_on_the_reference_server(tmp_path):
    given = ", ".join(
        f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}"
        for key, value in SMALL.items()
    )
    path = tmp_path / "agents.toml"
    path.write_text(SCENARIO.format(options=given), encoding="utf-8")
    result = djinnload.run_sync(path, out=tmp_path / "results")
    rows = result.samples().to_pylist()
    assert {row["outcome"] for row in rows} <= {"ok", "cancelled"}
    checked = [row for row in rows if row["verified"] is not None]
    assert len(checked) >= 8
    assert all(row["verified"] for row in checked)
    woken = [row for row in rows if row["turn"] == 1]
    assert woken
    for first, after in pairwise(rows):
        if after["session"] == first["session"] and after["turn"] > first["turn"]:
            assert after["due_ns"] - first["done_ns"] >= 200_000_000


def test_an_unknown_model_is_named():
    with pytest.raises(Exception, match="no model named 'gpt9'"):
        Agents(Agents.Options(model="gpt9"), ModelAssets(1))
