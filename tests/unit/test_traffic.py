"""What arms ship, before anything runs: bytes, the least time, and who is refused."""

import pytest

from djinnload.describe import LONG_S, describe, refuse_long
from djinnload.errors import ScenarioError
from djinnload.models import catalog, weights
from djinnload.scenarios.load import load, loads
from djinnload.traffic import LOOPBACK_PER_S

SCENARIO = """
[scenario]
name = "shipping"
repeats = 4
warmup = { sessions = 2, at = "boot" }
duration = { sessions = 3 }

[[population]]
name = "decode"
users = 1
workload = { use = "llm", model = "gpt2-tiny", prompt_tokens = 10, new_tokens = 4 }

[[arm]]
name = "blind"
behaviours = { preset = "semantic_blind" }

[[arm]]
name = "partial"
behaviours = { preset = "partially_aware" }
repeats = 2

[[arm]]
name = "full"
behaviours = { preset = "full" }
"""
IDS = 8 * (10 + 3)  # int64 token ids: the prompt, then one at a time


def state(model, positions):
    config = model.config
    return 2 * 4 * config["n_layer"] * config["n_embd"] * positions


def test_a_session_ships_weights_and_a_state_that_grows():
    found = describe(loads(SCENARIO))
    model = catalog.find("gpt2-tiny", seed=1)
    # What comes back goes there with the next call; after the last nothing does.
    there = back = state(model, 10 + 11 + 12)
    blind, partial, full = (
        found.populations[arm][0].shipped for arm in ("blind", "partial", "full")
    )
    assert full is None
    assert (partial.requests, partial.sent, partial.received) == (4, IDS + there, back)
    assert blind.sent == partial.sent + 4 * weights.nbytes(model)
    assert blind.received == back


def test_an_arm_ships_in_all_its_repeats_and_a_warmup():
    found = describe(loads(SCENARIO))
    blind, partial = found.shipping["blind"], found.shipping["partial"]
    assert list(found.shipping) == ["blind", "partial"]
    # Four repeats of three sessions, and two before the first; two repeats of three.
    assert blind.sent == 14 * found.populations["blind"][0].shipped.sent
    assert partial.sent == 8 * found.populations["partial"][0].shipped.sent
    assert blind.seconds == (blind.sent + blind.received) / LOOPBACK_PER_S
    assert not blind.network


def test_a_network_decides_how_long_it_takes():
    slow = loads(SCENARIO).replace({"target.network": {"rate": "8Mbit/s"}})
    blind = describe(slow).shipping["blind"]
    assert blind.network
    assert blind.seconds == (blind.sent + blind.received) / 1e6


def test_over_half_an_hour_is_refused_and_says_what_to_do():
    slow = loads(SCENARIO).replace({"target.network": {"rate": "40kbit/s"}})
    found = describe(slow)
    assert found.shipping["partial"].seconds < LONG_S < found.shipping["blind"].seconds
    with pytest.raises(ScenarioError) as error:
        refuse_long(slow)
    assert error.value.path == "$.arm[0] (blind)"
    assert all(
        each in error.value.reason
        for each in ("MB", "min", "arm.repeats", "prefix", "--arm", "--yes-long")
    )
    refuse_long(slow, ["partial", "full"])


def test_of_a_time_nobody_knows_how_many_sessions_it_has():
    timed = loads(SCENARIO).replace({"scenario.duration": "10s"})
    found = describe(timed)
    assert found.populations["blind"][0].shipped is not None
    assert found.shipping == {}


def test_the_blind_arm_of_experiment_2_1_at_full_size_is_short_enough():
    scenario = load("exp2_1_llm_decode")
    found = describe(scenario)
    refuse_long(scenario, told=found)
    blind = found.populations["semantic_blind"][0].shipped
    # 6.74 G parameters of 2 bytes with each of 3 calls; 72, then 73 positions of state.
    parameters, position = 6_738_415_616, 2 * 2 * 32 * 4096
    assert blind.sent == 3 * 2 * parameters + (72 + 73) * position + 8 * (72 + 2)
    everything = {"arm.semantic_blind.repeats": 30, "arm.semantic_blind.set": {}}
    with pytest.raises(ScenarioError, match="semantic_blind"):
        refuse_long(scenario.replace(everything))
