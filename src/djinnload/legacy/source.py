"""A configuration that knows which of its values were carried over, and which not."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from djinnload.errors import ScenarioError

__all__ = ("Source", "plain")

_UNKNOWN = "nothing in a scenario stands for it"


class _Notes(Struct):
    """What is known of a whole file: paths carried over, and why others are not.

    Attributes:
        dropped: Tables that came to nothing as a whole, whatever was read in them.
    """

    taken: set[str] = field(default_factory=set)
    left: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)


class Source:
    """A table of the file; what it yields is taken note of, in the whole file.

    Args:
        table: As the file has it.
        path: Of the table, such as ``baselines[0]``; empty: the file.
        above: Of the file, if this is one of its tables.
    """

    def __init__(
        self, table: Mapping[str, Any], path: str = "", above: "Source | None" = None
    ) -> None:
        self.table = table
        self.path = path
        self.notes: _Notes = above.notes if above else _Notes()

    def has(self, key: str) -> bool:
        """Return whether *key* is there, with a value."""
        return self.table.get(key) is not None

    def take(self, key: str, default: Any = None) -> Any:
        """Return the value of *key*, carried over; *default* if there is none."""
        found = self.table.get(key)
        self.notes.taken.add(self._at(key))
        return default if found is None else found

    def number(self, key: str, default: float | None = None) -> Any:
        """Return the number that *key* is.

        Raises:
            ScenarioError: It is none, or missing without a default.
        """
        found = self.take(key, default)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise ScenarioError(self._at(key), f"{found!r} should be a number")
        return found

    def leave(self, why: str, *keys: str) -> None:
        """Take note that *keys*, where they are there, are not carried over."""
        for key in keys:
            if key in self.table:
                self.notes.left[self._at(key)] = why

    def drop(self, why: str) -> None:
        """Take note that this table, all of it, is not carried over."""
        self.notes.dropped[self.path] = why

    def into(self, key: str) -> "Source":
        """Return the table *key*; an empty one if there is none.

        Raises:
            ScenarioError: It is no table.
        """
        return self._below(self.table.get(key) or {}, self._at(key))

    def each(self, key: str) -> Iterator["Source"]:
        """Yield the tables of the list *key*.

        Raises:
            ScenarioError: It is no list of tables.
        """
        found = self.table.get(key) or []
        if not isinstance(found, list):
            raise ScenarioError(self._at(key), "should be a list")
        for i, each in enumerate(found):
            yield self._below(each, f"{self._at(key)}[{i}]")

    def named(self, key: str) -> Iterator[tuple[str, "Source"]]:
        """Yield name and table of everything in the table *key*."""
        inside = self.into(key)
        for name in inside.table:
            yield str(name), inside.into(name)

    def lost(self) -> Iterator[tuple[str, str]]:
        """Yield (path and value, reason) of everything that was not carried over."""
        yield from self.notes.dropped.items()
        for path, value in _leaves(self.table, self.path):
            ends = [at.start() for at in re.finditer(r"[.\[]", path)] + [len(path)]
            around = [path[:end] for end in ends]
            if not (self.notes.taken | self.notes.dropped.keys()).isdisjoint(around):
                continue
            left = self.notes.left
            why = next((left[each] for each in around if each in left), "")
            yield f"{path} = {_short(value)}", why or _UNKNOWN

    def _at(self, key: object) -> str:
        return f"{self.path}.{key}" if self.path else str(key)

    def _below(self, table: Any, path: str) -> "Source":
        if not isinstance(table, Mapping):
            raise ScenarioError(path, f"{_short(table)} should be a table")
        return Source(table, path, self)


def plain(name: object) -> str:
    """Return *name* as names are in scenario files: ``[a-z][a-z0-9_-]*``."""
    text = re.sub(r"[^a-z0-9_-]+", "-", str(name).lower()).strip("-_")
    return text if text[:1].isalpha() else f"x{text}"


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _leaves(each, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        for i, each in enumerate(value):
            yield from _leaves(each, f"{path}[{i}]")
    else:
        yield path, value


def _short(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:39]}…"  # noqa: PLR2004 - one line
