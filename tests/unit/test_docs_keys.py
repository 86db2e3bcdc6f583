"""The page of every key is the source's own word."""

import importlib.util
import typing
from pathlib import Path
from types import UnionType

from msgspec import Struct, structs

from djinnload.scenarios.length import Length
from djinnload.scenarios.schema import Document

DOCS = Path(__file__).parents[2] / "docs"


def script():
    spec = importlib.util.spec_from_file_location("keys", DOCS / "keys.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def tables(kind):
    """Every Struct that a scenario file can hold, from the outermost inwards."""
    if isinstance(kind, type) and issubclass(kind, Length):
        yield kind.table
    elif isinstance(kind, type) and issubclass(kind, Struct):
        yield kind
        for each in structs.fields(kind):
            yield from tables(each.type)
    elif typing.get_origin(kind) in {typing.Annotated, typing.Union, tuple, UnionType}:
        for each in typing.get_args(kind):
            yield from tables(each)


def test_the_page_is_made_of_this_source():
    """If it is not: `python docs/keys.py`."""
    assert (DOCS / "keys.md").read_text(encoding="utf-8") == script().page()


def test_no_table_is_left_out():
    listed = set(script().TABLES.values())
    assert [kind.__name__ for kind in tables(Document) if kind not in listed] == []
