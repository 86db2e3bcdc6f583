"""Experiment 2.3, a conversation whose history grows: figure 8."""

from djinnload.report.experiments import marks
from djinnload.report.experiments.arms import by_turn
from djinnload.report.experiments.base import Experiment, Figure, Panel

__all__ = ("EXPERIMENT",)

ARMS = ("native_pytorch", "semantic_blind", "full")

_FIRST = Panel(
    "turn",
    "ms to the first token",
    lambda run: by_turn(run, ARMS, "ttft"),
    marks.lines,
    "First token",
)
_WHOLE = Panel(
    "turn",
    "ms to the last token",
    lambda run: by_turn(run, ARMS, "latency"),
    marks.lines,
    "Whole answer",
)
_8 = Figure(
    id="8",
    slug="turns",
    title="Latency by turn of a conversation, by arm",
    said="Mean time from a turn's due time to its first and to its last token, turn by "
    "turn of conversations whose history grows, ok turns only",
    note="A turn is averaged over the conversations that came to it within the time",
    panels=(_FIRST, _WHOLE),
    size_in=(9.0, 3.9),
)

EXPERIMENT = Experiment(
    id="2.3", title="A conversation whose history grows", arms=ARMS, figures=(_8,)
)
