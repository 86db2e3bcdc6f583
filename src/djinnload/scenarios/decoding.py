"""Builtins → Struct, with errors that say where, what and what was meant; pure.

Used for scenario files and for the options of plugins alike.
"""

import re
from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from djinnload import units
from djinnload.errors import ScenarioError, nearest
from djinnload.scenarios.length import Length

__all__ = ("decode", "unknown_key")

T = TypeVar("T")

_AT = re.compile(r"(.*) - at `(?:key` in `)?(\$.*)`", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_NO_SUCH = re.compile(r"Invalid (?:enum )?value (.*)", re.DOTALL)
_GOT = re.compile(r"Expected `(.*)`, got `(.*)`")
_BOUND = re.compile(r"Expected `(.*)` (>=|<=|>|<) (.*)")
_PATTERN = re.compile(r"Expected `str` matching regex (.*)", re.DOTALL)
_LENGTH = re.compile(r"Expected `(.*)` of length (.*)")
_KINDS = {
    "object": "a table",
    "array": "a list",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
}


def decode(value: object, kind: type[T], *, path: str = "$") -> T:
    """Return *value*, made of builtins, as a *kind*.

    Args:
        value: From a TOML file, such as a table of it.
        kind: A Struct whose fields may be quantities of `djinnload.units`.
        path: Of *value*; errors start with it.

    Raises:
        ScenarioError: Names the place below *path*; an unknown key, the nearest one.
    """
    try:
        return msgspec.convert(value, kind, dec_hook=_quantity)
    except msgspec.ValidationError as error:
        raise _explained(str(error), kind, path) from None


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Return the reason for a key that does not exist."""
    names = sorted(known)
    near = nearest(key, names)
    hint = f", did you mean {near!r}?" if near else ""
    return f"unknown key{hint} (there is: {', '.join(names) or 'none'})"


def _quantity(kind: Any, value: object) -> Any:
    if issubclass(kind, Length):
        return kind.read(value)
    return units.parse(kind, value)


def _explained(message: str, kind: object, path: str) -> ScenarioError:
    found = _AT.fullmatch(message)
    reason, at = (found[1], found[2]) if found else (message, "$")
    if inner := _AT.fullmatch(reason):  # of a table within a quantity
        reason, at = inner[1], at + inner[2].removeprefix("$")
    where = list(_walk(kind, at))
    if unknown := _UNKNOWN.fullmatch(reason):
        known = {name for each in where for name in _keys(each)}
        return _error(path, f"{at}.{unknown[1]}", unknown_key(unknown[1], known))
    if missing := _MISSING.fullmatch(reason):
        return _error(path, f"{at}.{missing[1]}", "is missing, it has no default")
    if no_such := _NO_SUCH.fullmatch(reason):
        choices = [word for each in where for word in _choices(each)]
        return _error(path, at, _choose(no_such[1].strip("'"), choices))
    return _error(path, at, _reworded(reason))


def _error(path: str, at: str, reason: str) -> ScenarioError:
    return ScenarioError(path + at.removeprefix("$"), reason)


def _choose(word: str, choices: list[str]) -> str:
    near = nearest(word, choices)
    hint = f", did you mean {near!r}?" if near else ""
    return f"{word!r} is no choice{hint} (there is: {', '.join(choices)})"


def _reworded(reason: str) -> str:
    if found := _GOT.fullmatch(reason):
        return f"must be {_kinds(found[1])}, not {_kinds(found[2])}"
    if found := _BOUND.fullmatch(reason):
        return f"must be {_kinds(found[1])} {found[2]} {found[3]}"
    if found := _LENGTH.fullmatch(reason):
        return f"must be {_kinds(found[1])} of length {found[2]}"
    if found := _PATTERN.fullmatch(reason):
        return _pattern(found[1])
    return reason


def _kinds(text: str) -> str:
    parts = [part for part in text.split(" | ") if part != "null"]  # TOML has none
    return " or ".join(_KINDS.get(part, part) for part in parts)


def _pattern(pattern: str) -> str:
    if "a-z0-9_-" in pattern:
        return "a name is a-z, 0-9, _ and -, and starts with a letter"
    if "\\d{1,5}" in pattern or "\\\\d{1,5}" in pattern:
        return "an address is host:port, such as 127.0.0.1:5556"
    return f"must match {pattern}"


def _walk(kind: object, at: str) -> Iterator[object]:
    """Yield the types that the value at path *at* below *kind* may have."""
    kinds = list(_alternatives(kind))
    for part in re.findall(r"\.(\w+)|(\[[^]]*\])", at):
        key = part[0]
        kinds = [
            deeper
            for each in kinds
            for inner in (_field(each, key) if key else get_args(each))
            for deeper in _alternatives(inner)
        ]
    yield from kinds


def _field(kind: object, key: str) -> Iterator[object]:
    if isinstance(kind, type) and issubclass(kind, Struct):
        if kind.__struct_config__.tag_field == key:
            yield Literal[str(kind.__struct_config__.tag)]
        yield from (f.type for f in fields(kind) if f.encode_name == key)


def _alternatives(kind: object) -> Iterator[object]:
    if get_origin(kind) is Annotated:
        yield from _alternatives(get_args(kind)[0])
    elif get_origin(kind) in {Union, UnionType}:
        for each in get_args(kind):
            yield from _alternatives(each)
    elif isinstance(kind, type) and issubclass(kind, Length):
        yield kind.table
    else:
        yield kind


def _keys(kind: object) -> Iterator[str]:
    if isinstance(kind, type) and issubclass(kind, Struct):
        yield from kind.__struct_encode_fields__
        if kind.__struct_config__.tag_field:
            yield kind.__struct_config__.tag_field


def _choices(kind: object) -> Iterator[str]:
    if get_origin(kind) is Literal:
        yield from map(str, get_args(kind))
