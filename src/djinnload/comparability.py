"""What two runs differ in, by key, so that nobody compares two things at once; pure.

Left out is what changes no measurement: names, repeats, objectives, the comparison,
addresses, the load average at the start.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from djinnload.summary.run import Cell

__all__ = ("KEYS", "Differs", "differences")

#: What ``--allow`` takes, in the order in which differences are told.
KEYS = {
    "host": "name, kernel, CPU, cores, memory, clock, governor",
    "devices": "GPUs",
    "environment": "variables that can change a result",
    "djinnload": "version of djinnload",
    "versions": "Python, libraries, plugins",
    "seed": "the schedule and the inputs",
    "scenario": "populations, arrivals, times, arms",
    "workload": "what populations send, and to which model",
    "model": "weights that answered",
    "load": "offered rates, such as two calibrations make them",
    "target": "kind and settings of the server",
}
#: Rates further apart than this are another load.
LOAD_SHARE = 0.001
_LISTED = 3
_LONG = 60
#: Of what a manifest says of our server: the rest is told by settings and plan.
_OF_SERVER = ("shares_host", "nice", "threads")
#: Of every document: what is no condition of a measurement.
_IRRELEVANT = (
    "scenario.name",
    "scenario.experiment",
    "scenario.repeats",
    "scenario.seed",
    "comparison",
    "claim",
    "objectives",
    "judged",
    "load1",
    "DJINNLOAD_CACHE",
    "DJINNLOAD_DEBUG",
)

Side = tuple[Mapping[str, Any], Sequence[Cell]]


class Differs(Struct, frozen=True):
    """One key in which two runs differ.

    Attributes:
        key: Of `KEYS`.
        what: The values on both sides, such as ``cores: 2 against 4``.
    """

    key: str
    what: str


def differences(a: Side, b: Side) -> tuple[Differs, ...]:
    """Return every key in which two runs differ, each a manifest and its cells.

    Only cells that both have are looked at, by point and arm.
    """
    left, right = _conditions(a, b), _conditions(b, a)
    told = ((key, _unlike(key, left[key], right[key])) for key in KEYS)
    return tuple(Differs(key, _listed(what)) for key, what in told if what)


def _conditions(mine: Side, other: Side) -> dict[str, dict[str, Any]]:
    """Return, by key, the conditions under which *mine* was measured, flat."""
    manifest, cells = mine
    plan = dict(_flat(manifest.get("plan") or {}))
    target = {path for path in plan if path.startswith("target")}
    workload = {path for path in plan if ".workload" in path}
    versions = dict(manifest.get("versions") or {})
    shared = {(cell.point, cell.arm) for cell in other[1]}
    firsts = {
        f"{cell.point}/{cell.arm}": cell.manifest
        for cell in reversed(cells)
        if (cell.point, cell.arm) in shared
    }
    return {
        "host": dict(_flat(manifest.get("host") or {})),
        "devices": {"devices": manifest.get("devices")},
        "environment": dict(_flat(manifest.get("environment") or {})),
        "djinnload": {"version": versions.pop("djinnload", None)},
        "versions": versions,
        "seed": {"seed": manifest.get("seed")},
        "scenario": {k: plan[k] for k in plan if k not in target | workload},
        "workload": {k: plan[k] for k in plan if k in workload},
        "model": dict(_of_cells(firsts, _model)),
        "load": dict(_of_cells(firsts, _load)),
        "target": {k: plan[k] for k in plan if k in target}
        | dict(_of_cells(firsts, _target)),
    }


def _of_cells(cells: Mapping[str, Any], of_one: Any) -> Iterator[tuple[str, Any]]:
    for where, manifest in cells.items():
        yield from ((f"{where} {k}", v) for k, v in _flat(of_one(manifest)))


def _model(manifest: Mapping[str, Any]) -> dict[str, Any]:
    evidence = (manifest.get("proof") or {}).get("evidence") or {}
    names = ("model", "weights_sha256")
    return {k: evidence[k].get("value") for k in names if k in evidence}


def _load(manifest: Mapping[str, Any]) -> dict[str, Any]:
    populations = manifest.get("populations") or {}
    return {name: each.get("offered_per_s") for name, each in populations.items()}


def _target(manifest: Mapping[str, Any]) -> dict[str, Any]:
    proof = manifest.get("proof") or {}
    told = {key: proof.get(key) for key in ("kind", "embedded", "settings")}
    server = manifest.get("server")
    return told | {"server": server and {k: server.get(k) for k in _OF_SERVER}}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield path → leaf; members of a list by name where they have one."""
    if path in _IRRELEVANT or path.rpartition(".")[2] in _IRRELEVANT:
        return
    dot = f"{path}." * bool(path)
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _flat(each, f"{dot}{key}")
    elif isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value):
        for number, each in enumerate(value):
            name = each.get("name", number) if isinstance(each, Mapping) else number
            yield from _flat(each, f"{dot}{name}")
    else:
        yield path, value


def _unlike(key: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    return [
        f"{path}: {_short(a.get(path))} against {_short(b.get(path))}"
        for path in dict.fromkeys((*a, *b))
        if not _alike(key, a.get(path), b.get(path))
    ]


def _alike(key: str, a: Any, b: Any) -> bool:
    rates = isinstance(a, int | float) and isinstance(b, int | float)
    if key == "load" and rates:
        return bool(abs(a - b) <= LOAD_SHARE * max(abs(a), abs(b)))
    return bool(a == b)


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


def _listed(told: Iterable[str]) -> str:
    every = list(told)
    more = len(every) - _LISTED
    return "; ".join(every[:_LISTED]) + f"; and {more} more" * (more > 0)
