"""Cells: their order, their seeds, and what an arm makes of the scenario."""

from collections import Counter

import pytest

from djinnload.errors import UnknownName
from djinnload.scenarios.cells import cells, seed_of
from djinnload.scenarios.load import loads

TEXT = """
[scenario]
name = "s"
seed = 7
repeats = 4
duration = "1s"
order = "{order}"
[target.server]
policy = "qos"
slots = 2
[[population]]
name = "a"
users = 1
workload = {{ use = "echo" }}
{arms}
"""
ARMS = """
[[arm]]
name = "qos"
[[arm]]
name = "fcfs"
judged = false
set = { "target.server.policy" = "fcfs" }
unset = ["target.server.slots"]
[[arm]]
name = "none"
set = { "population.a.users" = 9 }
"""


ARM_UNSETS = """set = { "target.server.policy" = "fcfs" }
unset = ["target.server.slots"]"""


def scenario(order="interleaved", arms=ARMS):
    return loads(TEXT.format(order=order, arms=arms))


def ids(found):
    return [f"{cell.arm}{cell.repeat}" for cell in found]


def test_interleaved_turns_round_so_that_drift_cancels():
    found = cells(scenario())
    assert ids(found) == [
        "qos0", "fcfs0", "none0", "none1", "fcfs1", "qos1",
        "fcfs2", "none2", "qos2", "qos3", "none3", "fcfs3",
    ]  # fmt: skip
    mean = {
        arm: sum(i for i, cell in enumerate(found) if cell.arm == arm)
        for arm in ("qos", "fcfs", "none")
    }
    assert len(set(mean.values())) == 1


def test_interleaved_has_each_arm_in_each_place_equally_often():
    six = cells(scenario().replace({"scenario.repeats": 6}))
    places = Counter((cell.arm, i % 3) for i, cell in enumerate(six))
    assert set(places.values()) == {2}
    assert len(places) == 9


def test_interleaved_turns_arms_within_their_points():
    sweep = (
        '[[sweep]]\nname = "load"\npath = "scenario.load"\nvalues = [0.7, 0.9, 1.1]\n'
    )
    found = cells(scenario(arms=sweep + ARMS))
    assert len(found) == 36
    for i in range(0, 36, 3):
        block = found[i : i + 3]
        assert len({(cell.point, cell.repeat) for cell in block}) == 1
        assert {cell.arm for cell in block} == {"qos", "fcfs", "none"}
    firsts = [cell.arm for cell in found[::3]]
    assert firsts == ["qos"] * 3 + ["none"] * 3 + ["fcfs"] * 3 + ["qos"] * 3
    assert [cell.point for cell in found[::9]] == ["load=0.7", "load=1.1"] * 2


def test_given_is_arm_by_arm():
    assert ids(cells(scenario("given"))[:5]) == [
        "qos0",
        "qos1",
        "qos2",
        "qos3",
        "fcfs0",
    ]


@pytest.mark.parametrize("order", ["given", "interleaved", "shuffled"])
def test_an_arm_may_have_fewer_repeats(order):
    found = cells(
        scenario(order, arms=ARMS.replace('"fcfs"', '"fcfs"\nrepeats = 2', 1))
    )
    whole = [*(f"{arm}{r}" for arm in ("qos", "none") for r in range(4))]
    assert sorted(ids(found)) == sorted([*whole, "fcfs0", "fcfs1"])
    if order == "given":
        assert ids(found)[3:7] == ["qos3", "fcfs0", "fcfs1", "none0"]


def test_shuffled_is_decided_by_the_seed_alone():
    first, again = cells(scenario("shuffled")), cells(scenario("shuffled"))
    assert ids(first) == ids(again)
    assert ids(first) != ids(cells(scenario()))
    other = scenario("shuffled").replace({"scenario.seed": 8})
    assert ids(cells(other)) != ids(first)
    assert sorted(ids(first)) == sorted(ids(cells(scenario())))


def test_ids_name_directories():
    found = cells(scenario())
    assert found[0].id == "all/qos/r00"
    assert (found[0].point, found[0].point_values) == ("all", {})
    assert len({cell.id for cell in found}) == 12
    wide = scenario().replace({"scenario.repeats": 101})
    assert cells(wide)[-1].id == "all/fcfs/r100"


def test_seeds_are_of_the_repeat():
    seeds = {(cell.arm, cell.repeat): cell.seed for cell in cells(scenario())}
    assert all(seeds[arm, r] == seeds["qos", r] for arm, r in seeds)
    assert len(set(seeds.values())) == 4


def test_seeds_are_pinned():
    """Equal in every process and version: results of old runs can be repeated."""
    assert seed_of(1234, 0) == PINNED


PINNED = 2851047695584818575


def test_an_arm_changes_its_own_cells_only():
    by_arm = {cell.arm: cell for cell in cells(scenario())}
    assert by_arm["qos"].scenario.target.server.policy == "qos"
    assert by_arm["fcfs"].scenario.target.server.policy == "fcfs"
    assert by_arm["fcfs"].scenario.target.server.slots is None
    assert "slots" not in by_arm["fcfs"].scenario.document["target"]["server"]
    assert by_arm["none"].scenario.populations[0].users == 9
    assert by_arm["qos"].scenario.populations[0].users == 1
    assert [by_arm[a].judged for a in ("qos", "fcfs", "none")] == [True, False, True]


def test_set_on_the_command_line_comes_after_the_arm():
    changed = scenario().replace({"target.server.policy": "none"})
    assert {c.scenario.target.server.policy for c in cells(changed)} == {"none"}


def test_chosen_arms_keep_the_order_of_the_file():
    found = cells(scenario("given"), arms=["none", "qos"])
    assert [cell.arm for cell in found] == ["qos"] * 4 + ["none"] * 4
    assert len(cells(scenario(), arms=())) == 12


def test_an_arm_that_is_not_there():
    with pytest.raises(UnknownName) as caught:
        cells(scenario(), arms=["fcsf"])
    assert caught.value.path == "--arm"
    assert "did you mean 'fcfs'?" in caught.value.reason


def test_no_arms_is_one_arm():
    found = cells(scenario(arms=""))
    assert Counter(cell.arm for cell in found) == {"default": 4}
    assert found[0].judged
    assert len(cells(scenario(arms=""), arms=["default"])) == 4


def test_a_cell_can_be_changed_again():
    """At capacity, for example: an arm's ``unset`` is not made twice."""
    cell = next(cell for cell in cells(scenario()) if cell.arm == "fcfs")
    again = cell.scenario.replace({"scenario.duration": "2s"})
    assert (again.target.server.policy, again.target.server.slots) == ("fcfs", None)
    assert again.scenario.duration == 2_000_000_000


def test_a_change_below_what_an_arm_unsets_does_not_reach_it():
    """`--set` of a key that one arm has not, as a rate where another arm is closed."""
    unset = 'unset = ["target.server"]'
    found = loads(TEXT.format(order="given", arms=ARMS).replace(ARM_UNSETS, unset))
    found = found.replace({"target.server.slots": 7})
    slots = {c.arm: c.scenario.document["target"].get("server") for c in cells(found)}
    seven = {"policy": "qos", "slots": 7}
    assert slots == {"qos": seven, "fcfs": None, "none": seven}
    again = next(c for c in cells(found) if c.arm == "fcfs").scenario
    again = again.replace({"scenario.duration": "2s"})
    assert "server" not in again.document["target"]


def test_a_change_of_what_an_arm_unsets_itself_is_made():
    found = scenario().replace({"target.server.slots": 7})
    assert {c.scenario.target.server.slots for c in cells(found)} == {7}


def test_a_later_change_replaces_earlier_ones_below_it():
    found = scenario().replace({"target.server": {"slots": 3}})
    found = found.replace({"target.server.slots": 4})
    found = found.replace({"target.server": {"slots": 5}})
    assert {c.scenario.target.server.slots for c in cells(found)} == {5}
