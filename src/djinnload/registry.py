"""Plugins by name: the entry points of installed packages, imported when first needed.

Listing imports no plugin. Two packages that claim one name are an error as soon as that
name is used: neither wins by chance.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from msgspec import Struct

from djinnload.errors import DjinnloadError, PluginError, ScenarioError, UnknownName
from djinnload.scenarios.decoding import decode, unknown_key

__all__ = (
    "ARRIVALS",
    "GROUPS",
    "TARGETS",
    "WORKLOADS",
    "Entry",
    "broken",
    "entries",
    "entry",
    "find",
    "make",
    "options",
)

WORKLOADS = "djinnload.workloads"
TARGETS = "djinnload.targets"
ARRIVALS = "djinnload.arrivals"

#: Methods of a plugin, by group; of a target also those of one of `_KINDS`.
GROUPS: Mapping[str, tuple[str, ...]] = {
    WORKLOADS: ("session",),
    TARGETS: ("open", "aclose"),
    ARRIVALS: ("offsets", "expected"),
}
#: Plugins of packages beside this one, for those who have not installed them.
_OURS = {name: f"djinnload-{name}" for name in ("agents", "digits", "diurnal")}
_KINDS = (("exchange",), ("submit", "end_session"))


class Entry(Struct, frozen=True, order=True):
    """A plugin as its package announces it; not imported.

    Attributes:
        package: Name of the distribution; ``?`` if it is not known.
        value: ``module:Class``.
    """

    name: str
    package: str
    version: str
    value: str


def entries(group: str) -> list[Entry]:
    """Return the plugins of *group* by name, those claimed twice included; no imports.

    Args:
        group: A key of `GROUPS`.
    """
    return list(
        dict.fromkeys(sorted(_entry(p) for p in metadata.entry_points(group=group)))
    )


def entry(group: str, name: str, *, path: str) -> Entry:
    """Return the plugin *name* of *group*; not imported.

    Args:
        group: A key of `GROUPS`.
        name: Of the plugin.
        path: Where it is asked for, such as ``$.target.use``; errors start with it.

    Raises:
        UnknownName: No installed package has it; names what there is.
        ScenarioError: Two packages claim the name; names both.
    """
    # Of the others nothing is read: each takes a look at its package's metadata.
    named = (p for p in metadata.entry_points(group=group) if p.name == name)
    claims = list(dict.fromkeys(sorted(map(_entry, named))))
    kind = _kind(group)
    if not claims:
        found = entries(group)
        hint = (
            f"a package that brings more {kind}s is not installed in this environment"
        )
        if package := _OURS.get(name):
            hint = f"{package} has it: pip install {package}"
        raise UnknownName(path, kind, name, {e.name for e in found}, hint=hint)
    if len(claims) > 1:
        who = " and ".join(f"{e.package} {e.version} ({e.value})" for e in claims)
        reason = f"{kind} {name!r} is claimed by {who}, uninstall one of them"
        raise ScenarioError(path, reason)
    return claims[0]


def broken(claim: Entry, among: Iterable[Entry]) -> str:
    """Return why *claim* cannot be used, as far as no import is needed; else nothing.

    Args:
        claim: One of *among*.
        among: All plugins of its group.
    """
    others = [e for e in among if e.name == claim.name and e != claim]
    if others:
        return f"{others[0].package} claims the name too, uninstall one of them"
    module, _, name = claim.value.partition(":")
    if not name:
        return f"{claim.value!r} is no module:Class"
    root = module.partition(".")[0]
    if find_spec(root) is None:
        return f"there is no module {root}"
    return ""


def find(group: str, name: str, *, path: str) -> type[Any]:
    """Return the class of the plugin *name* of *group*, imported now.

    Args:
        group: A key of `GROUPS`.
        name: Of the plugin.
        path: Where it is asked for, such as ``$.target.use``; errors start with it.

    Raises:
        UnknownName: No installed package has it; names what there is.
        ScenarioError: Two packages claim the name; names both.
        PluginError: It cannot be imported, or is no plugin of that group; says why.
    """
    return _class(group, entry(group, name, path=path))


def options(kind: type[Any], given: Mapping[str, Any], path: str) -> Any:
    """Return *given* as the ``Options`` of the plugin class *kind*.

    Args:
        kind: Of the plugin.
        given: The plugin's part of a table of the scenario.
        path: Of that table; errors start with it.

    Raises:
        ScenarioError: A value is wrong; an unknown key, the nearest one.
    """
    known: tuple[str, ...] = kind.Options.__struct_encode_fields__
    for key in given:
        # Also where the plugin's author forgot to forbid unknown fields.
        if key not in known:
            raise ScenarioError(f"{path}.{key}", unknown_key(key, known))
    return decode(dict(given), kind.Options, path=path)


def make(plugin: str, path: str, kind: type[Any], *arguments: Any) -> Any:
    """Return an instance of the plugin class *kind*.

    Args:
        plugin: For errors, such as ``djinnload.workloads: llm``.
        kind: Of the plugin.
        path: Of the table that its options are from; errors start with it.
        arguments: Of the class.

    Raises:
        ScenarioError: It refuses its options (ScenarioError or ValueError).
        PluginError: It raises anything else.
    """
    try:
        return kind(*arguments)
    except ScenarioError as error:
        at = f"{path}.{error.path.removeprefix('$').removeprefix('.')}"
        raise ScenarioError(at, error.reason) from error
    except ValueError as error:
        raise ScenarioError(path, str(error)) from error
    except DjinnloadError:
        raise
    except Exception as error:
        reason = f"could not be built: {type(error).__name__}: {error}"
        raise PluginError(plugin, reason) from error


@lru_cache(maxsize=256)
def _class(group: str, claim: Entry) -> type[Any]:
    plugin = f"{group}: {claim.name}"
    point = metadata.EntryPoint(name=claim.name, value=claim.value, group=group)
    try:
        found = point.load()
    except Exception as error:
        reason = (
            f"{claim.value} of {claim.package} {claim.version} cannot be imported: "
            f"{type(error).__name__}: {error}"
        )
        raise PluginError(plugin, reason) from error
    if lacks := _lacks(group, found):
        raise PluginError(plugin, f"{claim.value} {lacks}")
    made: type[Any] = found
    return made


def _lacks(group: str, found: object) -> str:
    """Return what keeps *found* from being a plugin of *group*; empty if nothing."""
    if not isinstance(found, type):
        return "is no class"
    kind = getattr(found, "Options", None)
    if not (isinstance(kind, type) and issubclass(kind, Struct)):
        return "has no Options that is a msgspec.Struct"
    for name in GROUPS[group]:
        if not callable(getattr(found, name, None)):
            return f"has no method {name}()"
    if group == TARGETS and not any(_has(found, kind) for kind in _KINDS):
        return "has neither exchange() nor submit() and end_session()"
    return ""


def _has(found: type, names: tuple[str, ...]) -> bool:
    return all(callable(getattr(found, name, None)) for name in names)


def _kind(group: str) -> str:
    return group.rpartition(".")[2].removesuffix("s")


def _entry(point: metadata.EntryPoint) -> Entry:
    package = point.dist
    if package is None:
        return Entry(point.name, "?", "", point.value)
    return Entry(point.name, package.name, package.version, point.value)
