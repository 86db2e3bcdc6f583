"""What a search found, in the terminal, from its document alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from djinnload.report.amounts import number, percent
from djinnload.scenarios import search_range

__all__ = ("show",)

_STYLES = {
    "pass": "green",
    "fail": "red",
    "unsustained": "red",
    "high": "bold green",
    "bracket": "bold green",
    "low": "bold red",
}
_OTHER = "bold yellow"


def show(
    found: Mapping[str, Any], path: Path, *, title: str = "", quiet: bool = False
) -> None:
    """Print a search on stdout: its probes in order, then what it came to.

    Args:
        found: ``search.json``.
        path: The results directory.
        title: The scenario's name.
        quiet: Only what it came to.
    """
    console = Console(highlight=False)
    if not quiet:
        console.print()
        console.print(_probes(found, title))
        for each in found["probes"]:
            if each["outcome"] != "pass" and each["why"]:
                _line(console, f"  {each['shown']}: {each['why']}")
        _shape(found, console)
    _result(found, console)
    console.print(f"results: {path}", soft_wrap=True, markup=False)


def _probes(found: Mapping[str, Any], title: str) -> Table:
    of = escape(found["path"])
    table = Table(
        title=f"{escape(title or 'search')}: probes of {of} in order",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="bold",
        caption="growth: of the queue, in turns a second, where it grew",
        caption_justify="left",
    )
    table.add_column("load", justify="right", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    for name in ("cells", "void", "seconds", "n", "due/s", "ok/s", "not ok", "growth"):
        table.add_column(name, justify="right")
    for each in found["probes"]:
        word = each["outcome"] or "begun"
        table.add_row(
            each["shown"],
            Text(word, style=_STYLES.get(word, _OTHER)),
            number(len(each["cells"])),
            number(each["spoiled"]),
            number(each["seconds"]),
            number(each["n"]),
            number(each["offered_per_s"]),
            number(each["achieved_per_s"]),
            percent(each["not_ok"]),
            number(each["growth_per_s"]),
        )
    return table


def _shape(found: Mapping[str, Any], console: Console) -> None:
    def load(value: float) -> str:
        return search_range.shown(found["path"], value)

    knee, saturation = found["knee"], found["saturation"]
    most = saturation["most_achieved_per_s"]
    told = "none: throughput follows load, or there are too few probes"
    if knee:
        told = f"{load(knee['load'])}, at {number(knee['achieved_per_s'])} ok/s"
    _line(console, f"\nknee: {told}")
    told = "no queue grew, no work was turned away"
    if saturation["load"] is not None:
        told = f"queues grew, or over 5 % were not ok, from {load(saturation['load'])}"
    if most is not None:
        told += f"; most throughput {number(most)} ok/s"
    _line(console, f"saturation: {told}")


def _result(found: Mapping[str, Any], console: Console) -> None:
    word = str(found["end"])
    if found["interrupted"] or found["error"]:
        word = "interrupted" if found["interrupted"] else "broke off"
    line = Text.assemble(
        "\nsearch: ", (word.upper(), _STYLES.get(word, _OTHER)), ", ", _sentence(found)
    )
    console.print(line, soft_wrap=True)
    if found["reason"]:
        _line(console, f"  {found['reason']}")


def _sentence(found: Mapping[str, Any]) -> str:
    low, high = (
        None if found[key] is None else search_range.shown(found["path"], found[key])
        for key in ("passing", "failing")
    )
    sure = percent(found["asked"]["confidence"])
    if low and high:
        wide = found["failing"] / found["passing"] - 1
        told = "" if found["resolved"] else f", {percent(wide)} wide"
        return f"the limit is in [{low}, {high}) with {sure} confidence{told}."
    if low:
        what = "high itself meets" if found["end"] == "high" else "shown to meet"
        return f"{low}: {what} every objective, with {sure} confidence."
    return "no load was shown to meet every objective."


def _line(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False)
