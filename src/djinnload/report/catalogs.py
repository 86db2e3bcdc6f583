"""What can be named and set, in the terminal."""

import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from djinnload.options import Setting
from djinnload.prime import Ready
from djinnload.registry import Entry

__all__ = (
    "show_entries",
    "show_models",
    "show_options",
    "show_primed",
    "show_scenarios",
)

_MILLION = 1e6
_GB = 1e9


def show_entries(found: Sequence[tuple[Entry, str]]) -> None:
    """Print plugins, each with what is wrong with it, or nothing."""
    table = _table("name", "package", "version")
    for entry, wrong in found:
        row = (entry.name, entry.package, entry.version)
        table.add_row(*row, f"broken: {wrong}" if wrong else "")
    _print(table)


def show_options(settings: Sequence[Setting]) -> None:
    """Print the options of a plugin as a scenario file takes them."""
    table = _table("option", "type", "default")
    for each in settings:
        table.add_row(
            each.name, each.type, each.default or "required", each.description
        )
    _print(table)


def show_scenarios(rows: Sequence[tuple[str, str]]) -> None:
    """Print scenarios: what each is for, in as many lines as that takes."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("asks")
    for row in rows:
        table.add_row(*row)
    _print(table)


def show_models(rows: Sequence[tuple[str, ...]]) -> None:
    """Print models: what each is for, how large it is, what a request takes."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("name", "workload", "architecture"):
        table.add_column(name, no_wrap=True)
    for name in ("parameters", "fp32", "16 bits", "sent", "received"):
        table.add_column(name, no_wrap=True, justify="right")
    for row in rows:
        table.add_row(*row)
    _print(table)


def show_primed(found: Ready) -> None:
    """Print the models that are ready now, what was made, and the room there is."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("model", "dtype"):
        table.add_column(name, no_wrap=True)
    for name in ("parameters", "bytes"):
        table.add_column(name, no_wrap=True, justify="right")
    for name in ("from", "weights"):
        table.add_column(name, no_wrap=True)
    table.add_column("seconds", no_wrap=True, justify="right")
    for each in found.models:
        table.add_row(
            each.name,
            each.dtype,
            f"{each.parameters / _MILLION:,.2f} M",
            f"{each.nbytes / _MILLION:,.1f} MB",
            each.source,
            "made" if each.made else "cached",
            f"{each.seconds:.1f}",
        )
    if found.models:
        _print(table)
    Console(highlight=False, markup=False).print(_words(found), soft_wrap=True)


def _words(found: Ready) -> str:
    rooms = (
        f"{each.what}: {each.needed / _GB:,.3g} GB wanted, {each.free / _GB:,.3g} free"
        for each in found.rooms
    )
    inputs = f"inputs of {found.workloads} workloads prepared in {found.inputs_s:.1f} s"
    return "\n".join([*rooms, f"{inputs}; a run does it again, before its clock"])


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=name != "type", min_width=8)
    table.add_column("")
    return table


def _print(table: Table) -> None:
    # A pipe has no width to fit into: whole lines are easier to search.
    width = None if sys.stdout.isatty() else 160
    Console(highlight=False, markup=False, width=width).print(table)
