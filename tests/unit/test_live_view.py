"""The live view: what is drawn, and that drawing is never in the run's way."""

import io
import json
import os
import pty
import select
import sys
import time

import pytest
from msgspec.structs import replace
from rich.console import Console

from djinnload.reading.files import MARKS, read_marks
from djinnload.recording.live import Live
from djinnload.report import feeding, live
from djinnload.report.dashboard import Dashboard, spark
from djinnload.report.viewer import Lines
from djinnload.result import Progress

NUMBERS = Live(
    n=1200, errors=3, refused=2, rate_per_s=41.7, p50_ms=12.34, p99_ms=98.76, missed=60
)
MEASURING = Progress(
    message="",
    cell="all/qos/r01",
    phase="measure",
    elapsed_s=4.0,
    total_s=11.0,
    left_s=61.0,
    done_cells=2,
    all_cells=10,
    in_flight=7,
    populations={"realtime": NUMBERS, "batch": Live()},
    offered_per_s={"realtime": 41.9},
    readings={
        "/loop_lag_ns": 34_000.0,
        "/cpu_share": 0.25,
        "gpu0/util": 0.9,
        "gpu0/memory_bytes": 2.0 * 2**30,
    },
)


def lines(*progress):
    out = io.StringIO()
    shown = Lines(Console(file=out, width=90))
    for each in progress:
        shown.show(each)
    return out.getvalue().splitlines()


def test_what_takes_longer_than_it_was_to_is_not_a_part_of_it():
    over = replace(MEASURING, phase="cooldown", elapsed_s=16.0)
    (line,) = lines(over)
    assert "cooldown 16 s, about 61 s left" in line


def drawn(*progress, keys=False):
    out, dashboard = io.StringIO(), Dashboard(keys=keys)
    console = Console(file=out, force_terminal=True, width=120, color_system=None)
    for each in progress:
        rendered = dashboard.draw(each)
    console.print(rendered)
    return out.getvalue()


def test_line_says_where_when_and_how_each_class_does():
    (said,) = lines(MEASURING)
    assert said == (
        "cell 3 of 10, all/qos/r01: measure 4 of 11 s, about 61 s left | "
        "realtime 42 requests/s p50 12.3 ms p99 98.8 ms errors 3 refused 2"
    )


def test_a_line_for_a_new_cell_and_otherwise_every_few_seconds():
    soon = replace(MEASURING, elapsed_s=4.5)
    later = replace(MEASURING, elapsed_s=9.5)
    other = replace(MEASURING, elapsed_s=0.0, cell="all/fcfs/r01")
    assert len(lines(MEASURING, soon, later, other)) == 3


def test_dashboard_has_a_row_a_class_and_the_generators_health():
    text = drawn(MEASURING, keys=True)
    row = next(each for each in text.splitlines() if "realtime" in each)
    assert row.split() == [
        "realtime", "41.9", "41.7", "1,200", "12.3", "ms", "98.8", "ms", "█",
        "5.0", "%", "2", "3",
    ]  # fmt: skip
    assert "n too small" in text
    for words in (
        "7 in flight · generator 34 µs behind its clock · host 25 % busy",
        "gpu0 90 % busy, 2.0 GiB",
        "q stop early",
        "about 61 s left",
    ):
        assert words in text


def test_what_is_not_known_is_not_shown_as_zero():
    text = drawn(replace(MEASURING, readings={}, offered_per_s={}))
    assert "gpu" not in text
    assert "behind its clock" not in text
    batch = next(each for each in text.splitlines() if "batch" in each)
    assert "–" in batch  # missed: it has no deadline


def test_the_course_of_p99_is_of_the_cell_alone():
    lower = replace(MEASURING, populations={"realtime": replace(NUMBERS, p99_ms=1.0)})
    assert "▁" in drawn(MEASURING, lower)
    other = replace(lower, cell="all/fcfs/r01")
    assert "▁" not in drawn(MEASURING, other)


def test_spark_is_scaled_from_nought():
    assert spark([]) == ""
    assert spark([0.0]) == ""
    assert spark([1.0, 7.0, 3.5]) == "▂█▅"


def test_none_shows_nothing(capfd):
    with live.LiveView("none") as view:
        view.update(MEASURING)
    assert capfd.readouterr() == ("", "")


def test_json_is_a_line_each_on_stderr(capfd):
    with live.LiveView("json") as view:
        view.update(MEASURING)
        view.update(replace(MEASURING, phase="cooldown"))
    out, err = capfd.readouterr()
    assert out == ""
    first, second = map(json.loads, err.splitlines())
    assert first["populations"]["realtime"]["missed"] == 60
    assert second["phase"] == "cooldown"


def test_the_last_message_is_shown_even_if_the_run_ends_at_once(capfd):
    with live.LiveView("lines") as view:
        view.update(Progress(message="folding the samples"))
    assert "folding the samples" in capfd.readouterr().err


def test_a_viewer_that_dies_stops_nothing():
    with live.LiveView("lines") as view:
        view._viewer.process.kill()
        view._viewer.process.wait()
        for _ in range(3):
            view.update(MEASURING)


def test_a_viewer_that_hangs_makes_nobody_wait_and_gets_whole_lines(monkeypatch):
    """It is stopped while far more is said than a pipe holds."""
    monkeypatch.setattr(feeding, "PATIENCE_S", 0.2)
    import signal

    with live.LiveView("json") as view:
        os.kill(view._viewer.process.pid, signal.SIGSTOP)
        began = time.monotonic()
        for _ in range(2000):
            view.update(MEASURING)
        assert time.monotonic() - began < 10


@pytest.mark.skipif(sys.platform != "linux", reason="a pseudo-terminal of Linux")
def test_keys_on_a_terminal(tmp_path):
    """A real terminal: the table comes, m marks, q stops, and it is left as it was."""
    script = tmp_path / "script.py"
    script.write_text(f"""
import sys, time
sys.path.insert(0, {os.path.dirname(__file__)!r})
from msgspec.structs import replace
from test_live_view import MEASURING
from djinnload.report.live import LiveView
stopped = []
with LiveView(on_stop=lambda: stopped.append(1)) as view:
    for _ in range(200):
        view.update(replace(MEASURING, path={str(tmp_path)!r}))
        if stopped:
            break
        time.sleep(0.05)
print("stopped" if stopped else "never stopped")
""")  # noqa: PTH120
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm"
        os.environ["COLUMNS"], os.environ["LINES"] = "120", "40"
        os.execv(sys.executable, [sys.executable, str(script)])  # noqa: S606
    said = _read_until(terminal, b"realtime")
    assert b"q stop early" in said or b"q stop early" in _read_until(terminal, b"early")
    os.write(terminal, b"m")
    _read_until(terminal, b"marked")
    os.write(terminal, b"xq")
    assert b"never" not in _read_until(terminal, b"stopped\r\n")
    assert os.waitpid(child, 0)[1] == 0
    os.close(terminal)
    with (tmp_path / MARKS).open("a") as file:
        file.write('{"t_ns": 12')  # as a full disk leaves it
    (mark,) = read_marks(tmp_path)
    assert mark["cell"] == "all/qos/r01"
    assert mark["t_ns"] <= time.monotonic_ns()


def _read_until(terminal, words, seconds=20):
    said, limit = b"", time.monotonic() + seconds
    while words not in said:
        assert time.monotonic() < limit, said
        if select.select([terminal], [], [], 0.5)[0]:
            said += os.read(terminal, 65536)
    return said
