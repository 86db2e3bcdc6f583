"""What may be cut short once a run was asked to stop."""

import anyio.lowlevel
import pytest

from djinnload.errors import HostError
from djinnload.interrupting import unless_stopped

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def forever():
    await anyio.sleep_forever()


async def soon():
    await anyio.lowlevel.checkpoint()


async def ask(stop):
    stop.set()


async def test_work_that_ends_has_ended_whether_anyone_can_ask_or_not():
    assert await unless_stopped(None, soon)
    assert await unless_stopped(anyio.Event(), soon)


async def test_work_is_cancelled_once_it_is_asked_also_before_it_begins():
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, stop)
        assert not await unless_stopped(stop, forever)
    assert not await unless_stopped(stop, forever)


async def test_patience_lets_it_come_to_its_end():
    stop = anyio.Event()
    stop.set()
    assert await unless_stopped(stop, soon, patience_s=30)
    assert not await unless_stopped(stop, forever, patience_s=0.01)


async def test_what_is_over_is_left_to_stop_by_itself():
    stop, passed = anyio.Event(), False
    stop.set()

    async def work():
        nonlocal passed
        await anyio.sleep(0.05)
        passed = True

    assert await unless_stopped(stop, work, over=lambda: True)
    assert passed


async def test_what_it_raises_is_raised_and_not_in_a_group():
    async def fails():
        raise HostError("no disk")

    with pytest.raises(HostError, match="no disk"):
        await unless_stopped(anyio.Event(), fails)
