"""Experiment 2.1, what a token costs in each arm: figures 6a to 6c."""

from djinnload.report.experiments import marks
from djinnload.report.experiments.arms import by_arm, gpu_figure, shares, split
from djinnload.report.experiments.base import Experiment, Figure, Panel
from djinnload.units import MS

__all__ = ("EXPERIMENT",)

ARMS = ("native_pytorch", "semantic_blind", "partially_aware", "full")

_LATENCY = Panel(
    "arm",
    "ms a token",
    lambda run: by_arm(run, ARMS, "mean(tpot)", 1 / MS),
    marks.bars,
    "Latency",
)
_THROUGHPUT = Panel(
    "arm",
    "tokens/s",
    lambda run: by_arm(run, ARMS, "throughput"),
    marks.bars,
    "Throughput",
)
_DATA = Panel(
    "arm",
    "kB a token, both ways",
    lambda run: by_arm(run, ARMS, "mean(bytes)", 1e-3),
    marks.bars,
    "Data",
)
_6A = Figure(
    id="6a",
    slug="latency",
    title="What a token costs, by arm",
    said="Mean time a token after the first, tokens a second, and bytes both ways a "
    "token, of answers",
    panels=(_LATENCY, _THROUGHPUT, _DATA),
    size_in=(10.8, 3.9),
)
_6B = Figure(
    id="6b",
    slug="time_split",
    title="Where the time of an answer goes, by arm",
    said="Mean time of an answer by part: in the server's queue and in execution (its "
    "own word), transfer (the rest of its requests' service), and idle (none of them "
    "under way)",
    note="An interval is that of the part whose upper end it stands at",
    panels=(
        Panel("arm", "ms an answer", lambda run: split(run, ARMS), marks.stacked),
        Panel("arm", "% of its latency", lambda run: shares(run, ARMS), marks.stacked),
    ),
    size_in=(9.0, 3.8),
)
_6C = gpu_figure("6c", "GPU use while tokens are made, by arm", ARMS)

EXPERIMENT = Experiment(
    id="2.1",
    title="What a token costs in each arm",
    arms=ARMS,
    figures=(_6A, _6B, _6C),
)
