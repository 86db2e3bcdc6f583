"""The JSON Schema of scenario files, the options of installed plugins included."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import Meta, Struct

from djinnload import options, registry, units
from djinnload.errors import DjinnloadError
from djinnload.scenarios.length import Length, WarmupLength
from djinnload.scenarios.population import Population
from djinnload.scenarios.schema import Document, Run

__all__ = ("scenario_schema",)

_CAPACITY = r"^\s*\S+\s+of\s+capacity\s*$"


def scenario_schema(package: str = "") -> tuple[dict[str, Any], list[str]]:
    """Return the schema (draft 2020-12), and what is wrong with which plugin.

    A plugin that cannot be imported is in it by name, with any options.

    Args:
        package: Only plugins of this one; empty: of all that are installed.
    """
    wrong: list[str] = []
    workload = _either(registry.WORKLOADS, "use", "Workload", package, wrong)
    arrival = _either(registry.ARRIVALS, "process", "Arrival", package, wrong)
    population = options.mirror(
        Population,
        name="Population",
        instead={"workload": workload, "arrival": arrival},
    )
    many = Annotated[tuple[population, ...], Meta(min_length=1)]  # type: ignore[valid-type]
    document = options.mirror(
        Document, name="Scenario", instead={"populations": many, "scenario": _run()}
    )
    targets = _structs(registry.TARGETS, None, "Target", package, wrong)
    (root,), parts = msgspec.json.schema_components(
        [document], ref_template="#/$defs/{name}"
    )
    _, theirs = msgspec.json.schema_components(
        list(targets.values()), ref_template="#/$defs/{name}"
    )
    found = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "djinnload scenario",
        **root,
        "$defs": parts | theirs,
    }
    for each in list(_dicts(found["$defs"])):
        _plainer(each)
    _options_of_targets(found["$defs"]["Target"], targets)
    _rates_of_capacity({n: p for n, p in parts.items() if n.startswith("Arrival_")})
    return found, wrong


def _plainer(part: dict[str, Any]) -> None:
    """Say the same in words that editors understand, which know older drafts."""
    if "pattern" in part:  # ECMA 262 knows no \Z
        part["pattern"] = part["pattern"].replace(r"\Z", "$")
    if part.get("type") == "object" and "properties" not in part:
        part.setdefault("additionalProperties", True)
    prefix = part.get("prefixItems")
    if prefix and all(each == prefix[0] for each in prefix):
        part["items"] = prefix[0]
        del part["prefixItems"]


def _run() -> type[Struct]:
    """Return the table ``[scenario]``: two times may be told in sessions instead."""
    times = options.plain(units.Duration)
    lengths: dict[str, Any] = {
        key: times | options.mirror(kind.table)
        for key, kind in (("warmup", WarmupLength), ("duration", Length))
    }
    return options.mirror(Run, name="Run", instead=lengths)


def _either(group: str, key: str, name: str, package: str, wrong: list[str]) -> Any:
    return Union[tuple(_structs(group, key, name, package, wrong).values())]  # noqa: UP007


def _structs(
    group: str, key: str | None, name: str, package: str, wrong: list[str]
) -> dict[str, type[Struct]]:
    """Return a Struct for the options of each plugin of *group*, by its name."""
    found: dict[str, type[Struct]] = {}
    for entry in registry.entries(group):
        if package not in ("", entry.package):
            continue
        try:
            plugin = registry.find(group, entry.name, path=f"{group}: {entry.name}")
            kind = plugin.Options
        except DjinnloadError as error:
            wrong.append(str(error))
            kind = Struct
        found[entry.name] = options.mirror(
            kind,
            name=f"{name}_{entry.name}",
            tag=(key, entry.name) if key else None,
            more=_PER if group == registry.ARRIVALS else (),
        )
    return found


#: What an open population may say beside its process's own options.
_PER = (("per", Literal["user"]),)


def _options_of_targets(target: dict[str, Any], kinds: dict[str, type[Struct]]) -> None:
    """Bind ``options`` to ``use``, which decides what they are."""
    target["allOf"] = [
        {
            "if": {"properties": {"use": {"const": name}}, "required": ["use"]},
            "then": {"properties": {"options": {"$ref": f"#/$defs/{kind.__name__}"}}},
        }
        for name, kind in kinds.items()
    ]


def _rates_of_capacity(arrivals: dict[str, Any]) -> None:
    """Let every rate of an arrival process be a part of capacity."""
    rate = units.pattern(units.Hz)
    for each in list(_dicts(arrivals)):
        if each.get("pattern") == rate:
            del each["pattern"]
            each["anyOf"] = [{"pattern": rate}, {"pattern": _CAPACITY}]


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value
    for each in inner if isinstance(value, dict | list) else ():
        yield from _dicts(each)
