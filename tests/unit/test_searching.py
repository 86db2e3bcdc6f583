"""The cells that a search asks for, and searches of users and load in this process."""

import json
import shutil
from functools import partial

import anyio
import pytest

from command_kit import ACCEPT_NOISE
from djinnload.errors import ScenarioError
from djinnload.scenarios.load import loads
from djinnload.search.driving import _Course, search
from djinnload.search.machine import Look
from djinnload.search.summary import fold
from djinnload.summary.fold import fold_run
from djinnload.units import MS

ACCEPT = [word for word in ACCEPT_NOISE if not word.startswith("-")] + ["ARRIVALS"]
SCENARIO = """
verify = { at_least = 0, share = 0 }
[scenario]
name = "s"
warmup = "20ms"
duration = "300ms"
[calibrate]
capacity = "400/s"
[target]
use = "null"
[search]
path = "population.crowd.users"
low = 1
high = 4
[[population]]
name = "crowd"
users = 2
think = { distribution = "constant", mean = "5ms" }
workload = { use = "echo" }
objectives = ["p50(latency) <= 10s"]
[[population]]
name = "part"
arrival = { process = "constant", rate = "0.5 of capacity" }
workload = { use = "echo" }
"""
USERS = 'path = "population.crowd.users"\nlow = 1\nhigh = 4'
LOAD = 'path = "scenario.load"\nlow = 0.5\nhigh = 2.0'


def course(text=SCENARIO, arms=None):
    return _Course(loads(text), arms, ())


def test_a_cell_is_named_by_its_probe_and_load_and_asks_for_that_load():
    cell = course().first
    assert cell.id == "p00-1/default/r00"
    assert (cell.point, cell.repeat) == ("p00-1", 0)
    assert cell.point_values == {"population.crowd.users": 1}
    assert cell.scenario.populations[0].users == 1
    assert cell.scenario.scenario.duration == 300 * MS


def test_the_next_look_is_longer_and_has_other_random_numbers():
    asked = course()
    cells = [asked.first]
    for _ in range(3):
        asked._played.search.tell(Look(None))
        if asked._played.search.step is not None:
            cells.append(asked._next_cell())
    assert [cell.repeat for cell in cells] == [0, 1, 2, 3]
    durations = [cell.scenario.scenario.duration for cell in cells]
    assert durations == [300 * MS, 300 * MS, 600 * MS, 1200 * MS]
    assert len({cell.seed for cell in cells}) == len(cells)


def test_time_ends_a_search_before_a_cell_that_would_not_fit():
    asked = course(SCENARIO.replace("high = 4", 'high = 4\ntime = "310ms"'))
    asked._stop_in_time()
    assert asked._played.search.step is None
    assert "the bound on time of 310 ms" in asked._played.search.stopped


ARMS = '[[arm]]\nname = "a"\n[[arm]]\nname = "b"\n'


def test_an_arm_has_to_be_chosen_where_there_are_several():
    with pytest.raises(ScenarioError, match="choose one with --arm NAME"):
        course(SCENARIO + ARMS)
    assert course(SCENARIO + ARMS, ["b"]).first.id == "p00-1/b/r00"


def test_a_load_that_changes_nothing_is_refused():
    text = SCENARIO.replace(USERS, LOAD).replace("0.5 of capacity", "5/s")
    with pytest.raises(ScenarioError, match="load changes nothing") as caught:
        course(text)
    assert caught.value.path == "$.search.path"


@pytest.mark.parametrize(
    ("asked", "loads_tried", "offered"),
    [(USERS, [1, 2, 4], None), (LOAD, [0.5, 1.0, 2.0], [100, 200, 400])],
    ids=["users", "load"],
)
def test_users_and_load_are_searched_to_their_high(
    tmp_path, asked, loads_tried, offered
):
    scenario = loads(SCENARIO.replace(USERS, asked))
    result = anyio.run(partial(search, scenario, out=tmp_path, accept=ACCEPT, seed=7))
    found = result.summary["search"]
    assert found == json.loads((result.path / "search.json").read_text())
    assert [each["load"] for each in found["probes"]] == loads_tried
    assert (found["end"], result.exit_code) == ("high", 0)
    assert result.verdict["status"] == "pass"
    if offered:
        arms = result.summary["arms"]["default"]
        rates = [point["part"]["offered_per_s"] for point in arms.values()]
        assert rates == pytest.approx(offered, rel=0.1)


def test_a_search_that_was_killed_is_told_as_far_as_it_got(tmp_path):
    result = anyio.run(partial(search, loads(SCENARIO), out=tmp_path, accept=ACCEPT))
    shutil.rmtree(result.path / "cells" / "p02-4")
    found = fold(result.path, fold_run(result.path))["search"]
    assert [each["load"] for each in found["probes"]] == [1, 2]
    assert (found["passing"], found["failing"]) == (2, None)
    assert (found["end"], found["exit_code"]) == ("undecided", 4)
    assert "ended before it was decided" in found["reason"]


def test_a_search_takes_no_sweep():
    sweep = '[[sweep]]\nname = "x"\npath = "scenario.load"\nvalues = [1, 2]\n'
    with pytest.raises(ScenarioError, match="leave sweeps out") as caught:
        course(SCENARIO + sweep)
    assert caught.value.path == "$.sweep"
