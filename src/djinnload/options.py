"""What may be set: the fields of Structs as people and editors read them; pure.

Types, bounds and defaults are read off the Struct, descriptions off its docstring, so
that nothing has to be said twice.
"""

import inspect
import re
from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta, Struct, structs

from djinnload import units

__all__ = ("Setting", "described", "mirror")

QUANTITIES: dict[type, str] = {
    units.Duration: "duration",
    units.Hz: "rate",
    units.Size: "size",
    units.Bandwidth: "bandwidth",
    units.Share: "share",
}
_ATTRIBUTE = re.compile(r"^ {4,8}(\w+): ", re.MULTILINE)


class Setting(Struct, frozen=True):
    """One field of a table.

    Attributes:
        type: For people, such as ``duration (10ms, 1.5s, 2min)``.
        default: As a scenario file has it; empty: it must be given.
    """

    name: str
    type: str
    default: str
    description: str


def described(kind: type[Struct]) -> list[Setting]:
    """Return the settings of *kind*, in the order of its fields."""
    said = descriptions(kind)
    return [
        Setting(
            name=each.encode_name,
            type=_named(each.type),
            default=_default(each),
            description=said.get(each.name, ""),
        )
        for each in structs.fields(kind)
    ]


def descriptions(kind: type) -> dict[str, str]:
    """Return what the docstring of *kind*, and of its bases, says of each attribute."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        doc = inspect.cleandoc(each.__doc__ or "")
        _, _, attributes = doc.partition("\nAttributes:\n")
        parts = _ATTRIBUTE.split(f"\n{attributes}")
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            said = " ".join(text.partition("\n\n")[0].split()).replace("``", "`")
            # Structs hold ns, files have "10ms".
            found[name] = re.sub(r"^ns ", "Time ", said)
    return found


def plain(kind: Any) -> Any:
    """Return the type *kind* with quantities as the text that files have.

    Structs come back as mirrors of themselves, with descriptions: msgspec makes a JSON
    Schema of these.
    """
    if kind in QUANTITIES:
        return _quantity(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _annotated(plain(arguments[0]), arguments[1:])
    if origin in {Union, UnionType}:
        # TOML has no null: what is not given is left out.
        return Union[tuple(plain(a) for a in arguments if a is not type(None))]  # noqa: UP007
    if origin is tuple or origin is dict or origin is list:
        inner = tuple(a if a is Ellipsis else plain(a) for a in arguments)
        return origin[inner]
    if isinstance(kind, type) and issubclass(kind, Struct):
        return mirror(kind)
    return kind


_MIRRORS: dict[tuple[Any, ...], type[Struct]] = {}


def mirror(
    kind: type[Struct],
    *,
    name: str = "",
    tag: tuple[str, str] | None = None,
    more: Iterable[tuple[str, Any]] = (),
    instead: dict[str, Any] | None = None,
) -> type[Struct]:
    """Return a Struct like *kind* of plain types.

    Args:
        kind: Of scenario files, or of a plugin's options.
        name: In the schema; default: that of *kind*.
        tag: Key and value that tell it from others.
        more: (name, type) of keys that need not be given.
        instead: Types of some fields, by name.
    """
    config = kind.__struct_config__
    if tag is None and config.tag_field:
        tag = (config.tag_field, str(config.tag))
    # A name of its own is asked for once a schema, with plugins that may change.
    key = (kind, tag)
    if not name and key in _MIRRORS:
        return _MIRRORS[key]
    said = descriptions(kind)
    fields: list[Any] = []
    for each in structs.fields(kind):
        given = (instead or {}).get(each.name) or plain(each.type)
        about = said.get(each.name)
        typed = _annotated(given, (Meta(description=about),)) if about else given
        fields.append((each.name, typed, _field(each)))
    fields += [(n, t, msgspec.UNSET) for n, t in more]
    made = msgspec.defstruct(
        name or kind.__name__,
        fields,
        kw_only=True,
        forbid_unknown_fields=config.forbid_unknown_fields,
        tag_field=tag[0] if tag else None,
        tag=tag[1] if tag else None,
    )
    made.__doc__ = (inspect.getdoc(kind) or "").partition("\n\n")[0]
    return made if name else _MIRRORS.setdefault(key, made)


def _field(each: structs.FieldInfo) -> Any:
    if each.required:
        return msgspec.field(name=each.encode_name)
    if each.default_factory is not NODEFAULT or each.default is None:
        # Left out of the schema: what is not given is nothing, or a table.
        return msgspec.field(default=msgspec.UNSET, name=each.encode_name)
    return msgspec.field(default=_builtin(each.default), name=each.encode_name)


def _builtin(value: Any) -> Any:
    if isinstance(value, tuple(QUANTITIES)):
        return units.text(value)
    if isinstance(value, Struct):
        return msgspec.UNSET
    return list(value) if isinstance(value, tuple) else value


def _annotated(kind: Any, metas: tuple[Any, ...]) -> Any:
    for meta in metas:
        kind = Annotated[kind, meta]
    return kind


def _quantity(kind: type) -> Any:
    meta = Meta(
        pattern=units.pattern(kind),
        examples=units.example(kind).split(", "),
        extra_json_schema={"description": f"A {QUANTITIES[kind]}."},
    )
    text = Annotated[str, meta]
    if kind is units.Share:
        return text | Annotated[float, Meta(ge=0, le=1)]
    return text


def _default(each: structs.FieldInfo) -> str:
    if each.required:
        return ""
    if each.default is NODEFAULT:
        made = each.default_factory()
        return _toml(made)
    return _toml(each.default)


def _toml(value: Any) -> str:
    if _quantity_of(type(value)):
        said = units.text(value)
        return said if isinstance(value, units.Share) else f'"{said}"'
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple() | list():
            return f"[{', '.join(map(_toml, value))}]"
    return "{}" if isinstance(value, dict | Struct) else repr(value)


def _quantity_of(kind: Any) -> type | None:
    """Return the quantity that *kind* is, or is a kind of."""
    if not isinstance(kind, type):
        return None
    return next((each for each in kind.__mro__ if each in QUANTITIES), None)


def _named(kind: Any) -> str:
    return " or ".join(dict.fromkeys(_names(kind)))


def _names(kind: Any, metas: tuple[Meta, ...] = ()) -> Iterator[str]:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        found = tuple(each for each in arguments[1:] if isinstance(each, Meta))
        yield from _names(arguments[0], metas + found)
    elif origin in {Union, UnionType}:
        for each in arguments:
            yield from _names(each) if each is not type(None) else ()
    elif origin is Literal:
        yield "one of " + ", ".join(map(_toml, arguments))
    elif origin in {tuple, list}:
        inner = " and ".join(_named(each) for each in arguments if each is not Ellipsis)
        yield f"list of {inner}"
    elif base := _quantity_of(kind):
        yield f"{QUANTITIES[base]} ({units.example(base)})"
        if kind is not base:  # told in sessions instead
            yield "table"
    else:
        yield _BASIC.get(kind, "table") + "".join(map(_bounds, metas))


_BASIC: dict[Any, str] = {
    int: "whole number",
    float: "number",
    bool: "true or false",
    str: "text",
    Any: "anything",
}


def _bounds(meta: Meta) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{sign} {getattr(meta, name):g}"
        for name, sign in signs.items()
        if getattr(meta, name) is not None
    ]
    return f" {' and '.join(found)}" if found else ""
