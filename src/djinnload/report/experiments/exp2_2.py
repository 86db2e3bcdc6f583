"""Experiment 2.2, speech as it comes: figures 7a to 7c."""

from djinnload.report.experiments import marks
from djinnload.report.experiments.arms import by_arm, data_figure, gpu_figure
from djinnload.report.experiments.base import Experiment, Figure, Panel
from djinnload.units import MS

__all__ = ("EXPERIMENT",)

ARMS = ("native_pytorch", "semantic_blind", "partially_aware", "full")

_LATENCY = Panel(
    "arm",
    "ms a chunk, from its due time",
    lambda run: by_arm(run, ARMS, "mean(latency)", 1 / MS),
    marks.bars,
    "Latency",
)
_MISSED = Panel(
    "arm",
    "chunks late or not ok (%)",
    lambda run: by_arm(run, ARMS, "miss_rate", 100.0),
    marks.bars,
    "Missed deadlines",
)
_7A = Figure(
    id="7a",
    slug="latency",
    title="Latency of a chunk of speech, by arm",
    said="Mean time from when a chunk had been heard (its due time, which the server "
    "cannot delay) to its last token, and the share of chunks late or not ok",
    panels=(_LATENCY, _MISSED),
    size_in=(9.0, 3.9),
)
_7B = data_figure("7b", "Data against time, by arm", ARMS)
_7C = gpu_figure("7c", "GPU use while speech comes, by arm", ARMS)

EXPERIMENT = Experiment(
    id="2.2",
    title="Speech, as it comes",
    arms=ARMS,
    figures=(_7A, _7B, _7C),
)
