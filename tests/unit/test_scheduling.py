"""Who writes keeps off the core that the generator is on."""

import os
import signal
import subprocess
import sys

import pytest

from djinnload.scheduling import Apart

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone says where")


@pytest.fixture
def other():
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    yield process.pid
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.fixture
def cores():
    """Those of this thread, put back afterwards."""
    mine = os.sched_getaffinity(0)
    yield sorted(mine)
    os.sched_setaffinity(0, mine)


@linux
def test_a_process_is_kept_off_the_core_that_we_are_on(other, cores):
    if len(cores) == 1:
        pytest.skip("one core is all there is")
    apart = Apart(other)
    for mine in (*cores, cores[0]):
        os.sched_setaffinity(0, {mine})
        apart.look()
        assert os.sched_getaffinity(other) == {*cores} - {mine}


@linux
def test_one_that_has_one_core_keeps_it(other, cores):
    os.sched_setaffinity(other, {cores[0]})
    os.sched_setaffinity(0, {cores[0]})
    Apart(other).look()
    assert os.sched_getaffinity(other) == {cores[0]}


@linux
def test_one_that_has_ended_is_no_matter(other, cores):
    apart = Apart(other)
    os.kill(other, signal.SIGKILL)
    os.waitid(os.P_PID, other, os.WEXITED | os.WNOWAIT)
    apart.look()
    Apart(2**22 + 1).look()
