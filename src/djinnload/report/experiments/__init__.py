"""Figures and tables of the evaluation guide, an experiment a module."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from djinnload.report.experiments import exp2_1, exp2_2, exp2_3
from djinnload.report.experiments.base import Experiment

__all__ = ("EXPERIMENTS",)

EXPERIMENTS: Final[Mapping[str, Experiment]] = MappingProxyType(
    {
        each.id: each
        for each in (exp2_1.EXPERIMENT, exp2_2.EXPERIMENT, exp2_3.EXPERIMENT)
    }
)
