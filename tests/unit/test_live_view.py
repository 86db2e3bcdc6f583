"""The live view: a table on a terminal, lines elsewhere, never in the caller's way."""

import io
import threading

from rich.console import Console

from djinnload.recording.recorder import Live
from djinnload.report.live import LiveView
from djinnload.result import Progress

NUMBERS = Live(n=1200, errors=3, refused=2, rate_per_s=41.7, p50_ms=12.34, p99_ms=98.76)
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
)


def shown(*progress, terminal=False, quiet=False):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=90, color_system=None)
    with LiveView(quiet=quiet, console=console) as view:
        for each in progress:
            drawn = threading.Event()
            view.update(each)
            drawn.wait(0.05)  # the newest is drawn; what comes too fast is skipped
    return out.getvalue()


def test_line_says_where_when_and_how_each_class_does():
    line, *rest = shown(MEASURING).splitlines()
    assert rest == []
    assert line == (
        "cell 3 of 10, all/qos/r01: measure 4 of 11 s, about 61 s left | "
        "realtime 42 requests/s p50 12.3 ms p99 98.8 ms errors 3 refused 2"
    )


def test_a_line_for_a_new_cell_and_otherwise_every_few_seconds():
    from msgspec.structs import replace

    soon = replace(MEASURING, elapsed_s=4.5)
    later = replace(MEASURING, elapsed_s=9.5)
    other = replace(MEASURING, elapsed_s=0.0, cell="all/fcfs/r01")
    assert len(shown(MEASURING, soon, later, other).splitlines()) == 3


def test_terminal_gets_a_table_with_every_population():
    text = shown(MEASURING, terminal=True)
    for word in ("population", "realtime", "12.3 ms", "batch", "n too small"):
        assert word in text
    assert "7 in flight" in text


def test_quiet_says_nothing():
    assert shown(MEASURING, quiet=True) == ""


def test_the_last_message_is_shown_even_if_the_run_ends_at_once():
    console = Console(file=(out := io.StringIO()), force_terminal=False)
    with LiveView(console=console) as view:
        view.update(Progress(message="folding the samples"))
    assert "folding the samples" in out.getvalue()
