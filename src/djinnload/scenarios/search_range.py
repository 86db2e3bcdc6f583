"""``[search]``: which number of a scenario is the load, from where to where; pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from djinnload import units
from djinnload.errors import nearest
from djinnload.scenarios import rates
from djinnload.scenarios.population import Population
from djinnload.scenarios.schema import Document, Search

__all__ = ("LOAD", "bounds", "problems", "shown", "value", "whole")

LOAD = "scenario.load"
_PLACES = f"population.NAME.arrival.rate, population.NAME.users or {LOAD}"


def problems(document: Document) -> Iterator[tuple[str, str]]:
    """Yield (path, reason) of what is wrong with ``[search]``."""
    search = document.search
    if search is None:
        return
    if document.scenario.duration.sessions:
        reason = "a search multiplies it, give it as a time, such as 10s"
        yield "$.scenario.duration", reason
    found = [("path", _place(document, search.path)), *_numbers(search)]
    yield from ((f"$.search.{key}", reason) for key, reason in found if reason)
    if not any(each.objectives for each in document.populations):
        yield "$.search", "no population has objectives, there is nothing to search for"


def bounds(search: Search) -> tuple[float, float]:
    """Return low and high as plain numbers: Hz, users or a factor.

    Raises:
        ValueError: One is of another kind than the path; says which kind it should be.
    """
    return _number(search.path, search.low), _number(search.path, search.high)


def whole(path: str) -> bool:
    """Return whether the load at *path* is a number of users."""
    return path.endswith(".users")


def value(path: str, load: float) -> Any:
    """Return *load* as a scenario file has it at *path*."""
    if whole(path):
        return int(load)
    return load if path == LOAD else f"{load!r}/s"


def shown(path: str, load: float) -> str:
    """Return *load* for people: ``12.5/s``, ``8 users``, ``× 1.1``."""
    if whole(path):
        return f"{load:.0f} users"
    return f"× {load:.4g}" if path == LOAD else f"{load:.4g}/s"


def _number(path: str, given: object) -> float:
    if whole(path):
        if isinstance(given, int) and given >= 1:
            return float(given)
        raise ValueError(f"{given!r} are no users, write a whole number from 1 on")
    if path == LOAD:
        if isinstance(given, int | float) and given > 0:
            return float(given)
        raise ValueError(f"{given!r} is no factor, write a number over 0, such as 0.5")
    if rates.relative(given):
        raise ValueError(f'{given!r} must be a plain rate; or search path = "{LOAD}"')
    return float(units.parse(units.Hz, given))


def _numbers(search: Search) -> Iterator[tuple[str, str]]:
    for key, given in (("low", search.low), ("high", search.high)):
        try:
            _number(search.path, given)
        except ValueError as error:
            yield key, str(error)
            return
    low, high = bounds(search)
    if low >= high:
        yield "high", f"must be greater than low, which is {search.low}"
    if not search.resolution:
        yield "resolution", "must be greater than 0, such as 5%"
    if not 0.5 <= search.confidence < 1:  # noqa: PLR2004 - below, a coin does as well
        yield "confidence", "must be from 50% to less than 100%, such as 95%"
    if not search.time:
        yield "time", "must be greater than 0, such as 30min"


def _place(document: Document, path: str) -> str:
    """Return what is wrong with the path; empty: nothing."""
    if path == LOAD:
        return ""
    first, _, rest = path.partition(".")
    name, _, key = rest.partition(".")
    if first != "population" or key not in {"users", "arrival.rate"}:
        return f"{path!r} is no load, choose {_PLACES}"
    named = {each.name: each for each in document.populations}
    if name not in named:
        near = nearest(name, named)
        hint = f", did you mean {near!r}?" if near else ""
        return f"no population named {name!r}{hint} (there is: {', '.join(named)})"
    return _loaded(named[name], key)


def _loaded(population: Population, key: str) -> str:
    if key == "users":
        plain = isinstance(population.users, int)
        return "" if plain else f"{population.name} has no plain number of users"
    arrival: Mapping[str, Any] = population.arrival or {}
    if "rate" in arrival:
        return ""
    process = arrival.get("process")
    what = f"process {process!r}" if process else "closed loop"
    return f"{population.name} has no arrival.rate, its {what} has none"
