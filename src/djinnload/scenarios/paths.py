"""Paths into a scenario's raw document, which name populations, sweeps, arms; pure.

``population.realtime.arrival.rate`` is ``arrival.rate`` of the population that is named
``realtime``; errors print ``$.population[0] (realtime).arrival.rate``.
"""

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

from djinnload.errors import ScenarioError, UnknownName, nearest

__all__ = ("changed", "exists", "merged", "plain", "pretty")

_ELEMENT = re.compile(r"\A\$\.(population|sweep|arm)\[(\d+)\]")
_PRETTY = re.compile(r"\[\d+\] \(([^)]*)\)")


def changed(
    document: Mapping[str, Any],
    changes: Mapping[str, Any],
    unset: Iterable[str] = (),
) -> dict[str, Any]:
    """Return a copy of *document* with *unset* removed, then *changes* made.

    What is unset is a key, or a whole population by its name.

    Raises:
        ScenarioError: A path leads nowhere; its ``path`` is ``$.`` and that path.
    """
    made = copy.deepcopy(dict(document))
    for path in unset:
        _remove(made, path)
    for path, value in changes.items():
        table, key = _holder(made, path, create=True)
        table[key] = copy.deepcopy(value)
    return made


def exists(document: Mapping[str, Any], path: str) -> bool:
    """Return whether *path* leads to something that *document* has."""
    here: Any = document
    for part in path.split("."):
        if isinstance(here, list):
            here = {e.get("name"): e for e in here if isinstance(e, dict)}
        if not (isinstance(here, dict) and part in here):
            return False
        here = here[part]
    return True


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return changes that do what *first*, then *second* do."""
    over = tuple(second)
    kept = {
        path: value
        for path, value in first.items()
        if not any(path == each or path.startswith(f"{each}.") for each in over)
    }
    return {**kept, **copy.deepcopy(dict(second))}


def pretty(path: str, document: Mapping[str, Any]) -> str:
    """Return *path* with the name of the population, sweep or arm it goes through."""
    found = _ELEMENT.match(path)
    if found is None:
        return path
    elements = document.get(found[1])
    index = int(found[2])
    if not isinstance(elements, list) or index >= len(elements):
        return path
    name = elements[index].get("name") if isinstance(elements[index], dict) else None
    if not isinstance(name, str):
        return path
    return f"{found[0]} ({name}){path[found.end() :]}"


def plain(path: str) -> str:
    """Return the path of `changed` that *path*, of an error, is about."""
    return _PRETTY.sub(r".\1", path).removeprefix("$.")


def _remove(document: dict[str, Any], path: str) -> None:
    first, _, name = path.partition(".")
    elements = document.get(first)
    if name and "." not in name and isinstance(elements, list):
        elements.remove(_step(elements, [first, name], 1, name, create=False))
        return
    table, key = _holder(document, path, create=False)
    if key not in table:
        near = nearest(key, table)
        hint = f", did you mean {near!r}?" if near else ""
        raise ScenarioError(f"$.{path}", f"is not set, nothing to unset{hint}")
    del table[key]


def _holder(
    document: dict[str, Any], path: str, *, create: bool
) -> tuple[dict[str, Any], str]:
    """Return the table that holds the last key of *path*, and that key."""
    parts = path.split(".")
    if not all(parts):
        reason = "is no path, write keys with dots between, such as scenario.seed"
        raise ScenarioError(f"$.{path}", reason)
    here: Any = document
    for i, part in enumerate(parts[:-1]):
        here = _step(here, parts, i, part, create=create)
    if not isinstance(here, dict):
        raise ScenarioError(f"$.{path}", _no_table(parts[:-1], here))
    return here, parts[-1]


def _step(here: Any, parts: list[str], i: int, part: str, *, create: bool) -> Any:
    path = "$." + ".".join(parts)
    if isinstance(here, dict):
        return here.setdefault(part, {}) if create else here.get(part, {})
    if not isinstance(here, list):
        raise ScenarioError(path, _no_table(parts[:i], here))
    named = {str(e["name"]): e for e in here if isinstance(e, dict) and "name" in e}
    if part not in named:
        raise UnknownName(path, parts[i - 1], part, named)
    return named[part]


def _no_table(parts: list[str], here: object) -> str:
    above = ".".join(parts)
    if isinstance(here, list):
        return f"{above} is a list, say which by its name: {above}.NAME.KEY"
    return f"{above} is no table"
