"""Where a run's servers are, and what is said of one that is gone."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from djinnload import spi
from djinnload.boots import servers as boots
from djinnload.boots.child import Child
from djinnload.boots.servers import Boot
from djinnload.errors import ScenarioError
from djinnload.scenarios.load import Scenario, load, loads
from djinnload.targets.djinn import Djinn
from djinnload.workers.jobs import Planner

PROOF = spi.Proof("Djinn", {}, {"sent": 7, "received": 3})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Scenario:
    monkeypatch.delenv("GENIE_SERVER_ADDRESS", raising=False)
    return load("quick")


def test_without_an_address_it_is_our_own_server(
    quick: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert boots.where(quick, None) == boots.EMBEDDED
    monkeypatch.setenv("GENIE_SERVER_ADDRESS", "")
    assert boots.where(quick, None) == boots.EMBEDDED


def test_the_argument_wins_over_the_scenario_and_that_over_the_environment(
    quick: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENIE_SERVER_ADDRESS", "c:3")
    assert boots.where(quick, None) == "c:3"
    named = quick.replace({"target.address": "b:2"})
    assert boots.where(named, None) == "b:2"
    assert boots.where(named, "[::1]:5556") == "[::1]:5556"


@pytest.mark.parametrize("address", ["", "host", ":5556", "host:", "host:0", "h:65536"])
def test_what_is_no_address_is_refused_before_anything_starts(
    quick: Scenario, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ScenarioError, match=r"--target: .* is no address, expected"):
        boots.where(quick, address)
    if address:
        monkeypatch.setenv("GENIE_SERVER_ADDRESS", address)
        with pytest.raises(ScenarioError, match=r"GENIE_SERVER_ADDRESS: .* no address"):
            boots.where(quick, None)


def test_other_targets_have_addresses_of_their_own(quick: Scenario) -> None:
    other = quick.replace({"target.use": "null"})
    assert boots.where(other, "https://example.org/v1") == "https://example.org/v1"


def test_arms_that_need_a_boot_each_explain_themselves(quick: Scenario) -> None:
    fcfs = quick.replace({"target.server.policy": "fcfs"})
    at = "127.0.0.1:5556"
    with pytest.raises(ScenarioError) as raised:
        boots.refuse_reboots({"qos": quick, "fcfs": fcfs}, {"qos": at, "fcfs": at})
    said = str(raised.value)
    assert said.startswith("--target: arms qos, fcfs differ in target.server.policy")
    assert "choose one with --arm NAME" in said
    assert raised.value.exit_code == 2


def a_boot(target: Any, child: Child | None = None) -> Boot:
    return Boot("b0", "h:5556", target, PROOF, {}, "weights", child)


class Lost(Djinn):
    def lost(self) -> bool:
        return True


def test_a_server_that_is_not_ours_lives_until_its_target_has_lost_it() -> None:
    assert a_boot(Djinn()).alive()
    assert a_boot(object()).alive()  # one that cannot tell
    assert not a_boot(Lost()).alive()
    said = str(a_boot(Lost()).ended("all/qos/r00"))
    assert said.startswith("nothing listens at h:5556 any more")
    assert "lost during all/qos/r00; what was measured until then is kept" in said


def test_a_server_of_ours_lives_as_long_as_its_process() -> None:
    process: Any = SimpleNamespace(returncode=None)
    child = Child(process, "h:5556", Path("server-b0.log"))
    assert a_boot(Lost(), child).alive()
    process.returncode = -9
    boot = a_boot(Djinn(), child)
    assert not boot.alive()
    assert str(boot.ended("r00")).endswith("kept; its log server-b0.log")


def test_the_manifest_says_how_the_models_were_registered() -> None:
    said = a_boot(Djinn()).manifest()
    assert said["register"] == "weights"
    assert said["registration"] == {"sent": 7, "received": 3}
    assert (said["kind"], said["embedded"]) == ("Djinn", False)


@pytest.mark.anyio
async def test_what_agrees_on_the_server_shares_it_whatever_the_point(
    quick: Scenario,
) -> None:
    text = quick.text + (
        '[[sweep]]\nname = "slots"\npath = "target.server.slots"\nvalues = [1, 2]\n'
        '[[sweep]]\nname = "load"\npath = "scenario.load"\nvalues = [0.5, 0.9]\n'
    )
    planner = Planner(loads(text), ["qos"])
    assert len(planner.first) == 4
    made: list[str] = []

    @asynccontextmanager
    async def boot(name: str, number: int) -> AsyncIterator[Any]:
        made.append(f"b{number} {name}")
        yield number

    targets = dict.fromkeys(planner.first, boots.EMBEDDED)
    async with AsyncExitStack() as stack:
        found = await boots.booted(stack, planner.first, targets, boot)
    assert made == ["b0 slots=1,load=0.5/qos", "b1 slots=2,load=0.5/qos"]
    assert found["slots=2,load=0.9/qos"] == 1
    async with AsyncExitStack() as stack:
        found = await boots.booted(
            stack, planner.first, dict.fromkeys(targets, "h:1"), boot
        )
    assert set(found.values()) == {0}


def test_what_is_wrong_at_one_point_alone_says_which(quick: Scenario) -> None:
    text = quick.text + (
        '[[sweep]]\nname = "tokens"\nvalues = [4, 100000]\n'
        'path = "population.batch.workload.prompt_tokens"\n'
    )
    with pytest.raises(ScenarioError, match=r"at point tokens=100000, arm qos"):
        _ = Planner(loads(text), None).first


def test_an_arm_without_a_server_has_no_setting_to_prove(quick: Scenario) -> None:
    """Else no arm of `local` could be held against a server on a GPU."""
    slow = quick.replace({"target.server": {"device": "cuda", "slots": 2}})
    local = quick.replace({"target": {"use": "local"}})
    assert boots.differing([slow, local]) == []
    other = slow.replace({"target.server.slots": 3})
    assert boots.differing([slow, local, other]) == ["slots"]
    bare = slow.replace({"target.server": {}})
    assert boots.differing([bare, local, slow]) == ["device", "slots"]
