"""The kit for those who write plugins, or test the engine: simulated time, no server.

`check_workload` is the one line that a workload's own tests need, `check_arrival` that
of an arrival process. A `ScriptedTarget`
answers on any clock as it is told to; `simulate` runs a schedule against it and returns
the rows. Nothing in djinnload imports this package.
"""

from djinnload.models.assets import ModelAssets
from djinnload.testing.arrival_checks import check_arrival
from djinnload.testing.simulation import (
    Answer,
    ScriptedTarget,
    SimulatedClock,
    Simulation,
    closed,
    constant,
    one_request,
    open_loop,
    poisson,
    population,
    simulate,
)
from djinnload.testing.workload_checks import WorkloadReport, check_workload

__all__ = (
    "Answer",
    "ModelAssets",
    "ScriptedTarget",
    "SimulatedClock",
    "Simulation",
    "WorkloadReport",
    "check_arrival",
    "check_workload",
    "closed",
    "constant",
    "one_request",
    "open_loop",
    "poisson",
    "population",
    "simulate",
)
