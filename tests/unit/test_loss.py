"""What a guard does when a server is lost, with servers that only seem to be."""

from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from djinnload.boots import loss
from djinnload.errors import HostError
from djinnload.reading.files import read_json

pytestmark = pytest.mark.anyio


class Seeming:
    """A boot whose life the test decides; None of it is a process."""

    address = ""
    child: Any = None

    def __init__(self) -> None:
        self.up = True

    def alive(self) -> bool:
        return self.up

    def lost_ns(self) -> int:
        return loss.monotonic_ns()

    def ended(self, during: str) -> HostError:
        return HostError(f"it ended during {during}")


def a_plan(policy: str, cell: str = "all/default/r00") -> Any:
    run = SimpleNamespace(on_server_loss=policy)
    scenario = SimpleNamespace(scenario=run)
    return SimpleNamespace(cell=SimpleNamespace(id=cell, scenario=scenario))


class Cell:
    """A guarded cell: ends when told to, or when its guard says so."""

    def __init__(self, tmp_path, monkeypatch, policy, revive=None):
        monkeypatch.setattr(loss, "LOOK_S", 0.001)
        self.boot, self.path = Seeming(), tmp_path
        self.revivals = 0

        async def revived(*_):
            self.revivals += 1
            await (revive or self.back)()

        monkeypatch.setattr(loss, "revived", revived)
        self.stop = anyio.Event()
        self.guard = loss.Guard(self.boot, a_plan(policy), (), self.stop)
        self.over = anyio.Event()

    async def back(self):
        self.boot.up = True

    async def drive(self):
        while self.guard.alive() and not self.over.is_set():  # noqa: ASYNC110
            await anyio.sleep(0.001)
        return {}

    async def run(self, story):
        made: dict[str, Any] = {"complete": True, "error": None}
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(story, self)
                made = await self.guard.over(self.drive, self.path, made)
        assert read_json(self.path / "manifest.json")["gaps"] == made["gaps"]
        return made


async def until(condition):
    while not condition():  # noqa: ASYNC110
        await anyio.sleep(0.001)


async def dies(cell):
    cell.boot.up = False


async def test_void_ends_the_cell(tmp_path, monkeypatch):
    made = await Cell(tmp_path, monkeypatch, "void").run(dies)
    assert not made["complete"]
    assert made["error"] == "it ended during all/default/r00"
    (gap,) = made["gaps"]
    assert gap["from_ns"]
    assert gap["to_ns"] is None


async def test_a_phase_of_calibration_does_not_outlive_a_loss(tmp_path, monkeypatch):
    cell = Cell(tmp_path, monkeypatch, "wait")
    plan = a_plan("wait", "calibration/start-mix")
    cell.guard = loss.Guard(cell.boot, plan, ())
    made = await cell.run(dies)
    assert (made["complete"], made["on_server_loss"], cell.revivals) == (
        False, "void", 0,
    )  # fmt: skip


async def test_wait_ends_each_gap_when_the_server_is_back(tmp_path, monkeypatch):
    cell = Cell(tmp_path, monkeypatch, "wait")

    async def story(cell):
        for n in (1, 2):
            cell.boot.up = False
            await until(lambda n=n: cell.revivals == n and cell.boot.up)
            await until(lambda n=n: cell.guard.gaps[n - 1].to_ns)
        cell.over.set()

    made = await cell.run(story)
    assert made["complete"]
    assert [each["to_ns"] >= each["from_ns"] for each in made["gaps"]] == [True, True]


async def test_a_server_that_dies_again_at_once_is_another_gap(tmp_path, monkeypatch):
    async def stillborn():
        if cell.revivals == 3:
            raise HostError("it has ended a second time")

    cell = Cell(tmp_path, monkeypatch, "wait", stillborn)
    made = await cell.run(dies)
    assert not made["complete"]
    assert "did not come back: it has ended a second time" in made["error"]
    assert [each["to_ns"] is None for each in made["gaps"]] == [False, False, True]


async def test_a_cell_that_is_over_waits_for_the_server(tmp_path, monkeypatch):
    async def slow():
        cell.over.set()
        await anyio.sleep(0.05)
        cell.boot.up = True

    cell = Cell(tmp_path, monkeypatch, "wait", slow)
    made = await cell.run(dies)
    assert made["complete"]
    assert made["gaps"][0]["to_ns"]


async def test_who_interrupts_a_run_does_not_wait_for_its_server(tmp_path, monkeypatch):
    async def never():
        cell.over.set()
        cell.stop.set()
        await anyio.sleep_forever()

    cell = Cell(tmp_path, monkeypatch, "wait", never)
    made = await cell.run(dies)
    assert made["gaps"][0]["to_ns"] is None


async def test_go_on_only_looks(tmp_path, monkeypatch):
    cell = Cell(tmp_path, monkeypatch, "go_on")

    async def story(cell):
        cell.boot.up = False
        await until(lambda: cell.guard.gaps)
        await anyio.sleep(0.01)
        assert cell.guard.gaps[0].to_ns is None
        cell.boot.up = True
        await until(lambda: cell.guard.gaps[0].to_ns)
        cell.over.set()

    made = await cell.run(story)
    assert made["complete"]
    assert cell.revivals == 0


async def test_what_breaks_the_cell_is_raised_as_it_is(tmp_path, monkeypatch):
    cell = Cell(tmp_path, monkeypatch, "go_on")

    async def broken():
        raise HostError("no room")

    with pytest.raises(HostError, match="no room"):
        await cell.guard.over(broken, tmp_path, {})


@pytest.mark.parametrize(
    ("policy", "ours", "more", "ends"),
    [
        ("void", True, False, True),
        ("void", False, True, True),
        ("wait", True, True, False),
        ("go_on", True, True, True),
        ("go_on", True, False, False),
        ("go_on", False, True, False),
    ],
)
async def test_when_a_server_that_is_gone_ends_the_run(policy, ours, more, ends):
    boot: Any = Seeming()
    boot.child = object() if ours else None
    assert not loss.ends_run(boot, a_plan(policy), more=more)
    boot.up = False
    assert loss.ends_run(boot, a_plan(policy), more=more) is ends
