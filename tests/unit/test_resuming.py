"""What a directory says of a run that stopped: what is kept, put aside, or refused."""

import json

import pytest

from djinnload import calibrate, documents, resuming
from djinnload.calibrate import Capacity, Solo
from djinnload.errors import ScenarioError
from djinnload.recording.recorder import write_json
from djinnload.scenarios.cells import cells
from djinnload.scenarios.load import loads

TEXT = """
[scenario]
name = "s"
repeats = 4
duration = "1s"
[[population]]
name = "a"
arrival = { process = "poisson", rate = "0.5 of capacity" }
workload = { use = "echo" }
"""
CAPACITY = Capacity(60.5, (60.0, 60.5, 61.0), 0.1, {"a": Solo(2.0, None, 7)}, 2.0)


@pytest.fixture
def stopped(tmp_path):
    """A run of which two cells are done, one was interrupted, and one never began."""
    scenario = loads(TEXT)
    order = cells(scenario)
    root = documents.root(scenario, order, ["LATE"])
    root |= {"complete": False, "interrupted": True, "declared": {"policy": "qos"}}
    entries = [documents.entry(cell) for cell in order]
    for number, status in enumerate(("done", "void", "void")):
        entries[number] |= {"status": status, "boot": "b0"}
        cell = tmp_path / entries[number]["path"]
        cell.mkdir(parents=True)
        interrupted = number == 2
        write_json(
            cell / "manifest.json", {"complete": True, "interrupted": interrupted}
        )
    write_json(tmp_path / "manifest.json", root)
    write_json(tmp_path / "index.json", documents.index(entries))
    (tmp_path / "server-b0.log").touch()
    return tmp_path


def now(text=TEXT):
    scenario = loads(text)
    return documents.root(scenario, cells(scenario), ["LATE"])


def write(path, change):
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def test_what_was_done_is_kept_and_what_was_interrupted_is_not(stopped):
    past = resuming.past(stopped, now())
    assert list(past.entries) == ["all/default/r00", "all/default/r01"]
    assert (past.number, past.boots, past.capacity) == (1, 1, None)
    index = past.index(cells(loads(TEXT)), ())
    assert [each["status"] for each in index] == ["done", "void", "missing", "missing"]
    (stopped / "calibration" / "start-mix").mkdir(parents=True)
    made = past.begin(stopped, index)
    assert made["resumed"][0]["was"] == "interrupted"
    assert made["resumed"][0]["cells"] == ["all/default/r02", "all/default/r03"]
    aside = stopped / "superseded" / "01"
    assert (aside / "cells/all/default/r02/manifest.json").exists()
    assert (aside / "calibration/start-mix").exists()
    assert not (stopped / "cells/all/default/r02").exists()
    assert (stopped / "cells/all/default/r01").exists()
    write_json(stopped / "manifest.json", made)
    again = resuming.past(stopped, now())
    assert again.number == 2
    assert len({past.prefix(stopped), again.prefix(stopped), stopped.name}) == 3


def test_a_capacity_that_cells_were_measured_at_stays(stopped):
    document = calibrate.document(CAPACITY, arm="default", scenario=loads(TEXT))
    write_json(stopped / "calibration.json", document)
    for name in ("start-mix", "end-mix"):
        (stopped / "calibration" / name).mkdir(parents=True)
    past = resuming.past(stopped, now())
    assert past.capacity == CAPACITY
    past.begin(stopped, past.index(cells(loads(TEXT)), ()))
    # That of the end is measured again; that of the start is what the cells stand on.
    assert [p.name for p in (stopped / "calibration").iterdir()] == ["start-mix"]


def test_it_knows_what_it_was_asked(stopped):
    asked = resuming.asked(stopped)
    assert asked.scenario.sha256 == loads(TEXT).sha256
    assert (asked.arms, asked.accept, asked.declare) == (
        ["default"], ["LATE"], {"policy": "qos"}
    )  # fmt: skip
    with pytest.raises(ScenarioError, match="the scenario file is another"):
        resuming.asked(stopped, "quick")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m["versions"].update(numpy="0.1"), "numpy was 0.1, now "),
        (lambda m: m["versions"].update(gone="3"), "gone was 3, now None"),
        (lambda m: m["host"].update(cores=999), "cores was 999, now "),
        (lambda m: m["scenario"].update(sha256="0" * 64), "scenario file is another"),
        (lambda m: m.update(complete=True, interrupted=False), "is complete"),
        (lambda m: m.update(scenario=None), "holds no manifest.json"),
    ],
)
def test_refused(stopped, change, reason):
    write(stopped / "manifest.json", change)
    with pytest.raises(ScenarioError, match=reason) as caught:
        resuming.past(stopped, now())
    assert caught.value.path == "--resume"


def test_a_search_is_refused(stopped):
    (stopped / "search.json").touch()
    with pytest.raises(ScenarioError, match="is a search"):
        resuming.past(stopped, now())


def test_one_at_a_time(tmp_path):
    with (
        resuming.held(tmp_path),
        pytest.raises(ScenarioError, match="by a run that is going on"),
        resuming.held(tmp_path),
    ):
        pass
    with resuming.held(tmp_path):
        pass
