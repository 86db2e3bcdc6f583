"""Figures and tables of the evaluation guide, an experiment a module."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from djinnload.report.experiments import (
    exp2_1,
    exp2_2,
    exp2_3,
    exp3_1,
    exp3_2,
    exp4_1,
    exp4_2,
    exp5_1,
    exp6_1,
)
from djinnload.report.experiments.base import Experiment

__all__ = ("EXPERIMENTS",)

#: By the id that ``[scenario] experiment`` names.
EXPERIMENTS: Final[Mapping[str, Experiment]] = MappingProxyType(
    {
        "2.1": exp2_1.EXPERIMENT,
        "2.2": exp2_2.EXPERIMENT,
        "2.3": exp2_3.EXPERIMENT,
        "3.1": exp3_1.EXPERIMENT,
        "3.2": exp3_2.EXPERIMENT,
        "4.1": exp4_1.EXPERIMENT,
        "4.2": exp4_2.EXPERIMENT,
        "5.1": exp5_1.EXPERIMENT,
        "6.1": exp6_1.EXPERIMENT,
    }
)
