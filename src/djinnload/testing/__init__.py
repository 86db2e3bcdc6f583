"""The kit for those who write plugins, or test the engine: simulated time, no server.

`check_workload` is the one line that a workload's own tests need. A `ScriptedTarget`
answers on any clock as it is told to; `simulate` runs a schedule against it and returns
the rows. Nothing in djinnload imports this package.
"""

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

__all__ = (
    "Answer",
    "ScriptedTarget",
    "SimulatedClock",
    "Simulation",
    "closed",
    "constant",
    "one_request",
    "open_loop",
    "poisson",
    "population",
    "simulate",
)
