"""djinnload: load generation for ML model servers that survives a hostile reviewer.

Importing it is light: numpy, pyarrow, torch and matplotlib come when they are used.
"""

from typing import TYPE_CHECKING, Any

from djinnload.errors import (
    DjinnloadError,
    HostError,
    PluginError,
    ScenarioError,
    TargetError,
)

if TYPE_CHECKING:
    from djinnload.result import Progress, Result
    from djinnload.runner import run, run_sync
    from djinnload.scenarios.load import Scenario, load

__all__ = (
    "DjinnloadError",
    "HostError",
    "PluginError",
    "Progress",
    "Result",
    "Scenario",
    "ScenarioError",
    "TargetError",
    "__version__",
    "load",
    "run",
    "run_sync",
)

__version__ = "0.1.0"

_LAZY = {
    "Progress": "djinnload.result",
    "Result": "djinnload.result",
    "Scenario": "djinnload.scenarios.load",
    "load": "djinnload.scenarios.load",
    "run": "djinnload.runner",
    "run_sync": "djinnload.runner",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(_LAZY[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
