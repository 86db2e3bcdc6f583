"""What experiments that sweep over models draw alike."""

from djinnload.models import catalog
from djinnload.report.experiments.base import Absent, Run

__all__ = ("at", "parameters", "short")


def short(point: str) -> str:
    """Return the values of a point without the names of its sweeps."""
    return ",".join(part.partition("=")[2] or part for part in point.split(","))


def at(run: Run, point: str) -> str:
    """Return the name of the model that is asked at a point.

    That is what the point sets, else what the first population of the scenario asks.
    """
    plan = run.manifest.get("plan") or {}
    steps = ((run.manifest.get("sweeps") or {}).get("points") or {}).get(point) or {}
    model = str(plan["population"][0]["workload"].get("model"))
    for sweep in plan.get("sweep") or ():
        label = (steps.get(sweep["name"]) or {}).get("label")
        for named in sweep.get("points") or ():
            if named["name"] == label:
                model = _set(named.get("set") or {}, model)
    return model


def parameters(run: Run, point: str) -> int:
    """Return how many numbers the weights of the model at a point are.

    Raises:
        Absent: It is none of the catalog.
    """
    name = at(run, point)
    if name.partition(":")[0] not in catalog.names():
        raise Absent(f"the size of {name} is not known: it is not in the catalog")
    return catalog.parameters(name)


def _set(values: dict[str, object], model: str) -> str:
    """Return the model that a point's values name; else *model*."""
    for path, value in values.items():
        if path.endswith(".workload.model"):
            return str(value)
        if path.endswith(".workload") and isinstance(value, dict):
            return str(value.get("model", model))
    return model
