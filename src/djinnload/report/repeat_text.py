"""What the repeat of a bundled run came to, in the terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console

from djinnload.report import text

__all__ = ("show",)

_FEW = 5


def show(found: Mapping[str, Any], *, quiet: bool = False) -> None:
    """Print ``rerun.json``; if *quiet*, without the numbers of both runs."""
    console = Console(highlight=False)
    console.print(f"\nrepeat of {found['bundle']}", markup=False)
    for line in _lines(found):
        console.print(f"  {line}", markup=False)
    comparison = found["comparison"]
    if comparison is None:
        console.print(f"  times: not compared, {found['not_compared']}", markup=False)
    elif not quiet:
        console.print("  times, this run against that of the bundle, decide nothing:")
        text.show_decision(comparison)


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"versions: {_versions(found['versions'])}"
    if found["first_difference"]:
        yield f"NOT the same: {found['first_difference']}"
    elif found["identical"]:
        unknown = found["not_known"]
        same = [k for k in ("schedule", "inputs", "weights") if k not in unknown]
        yield f"identical: {', '.join(same) or 'nothing that could be compared'}"
        if unknown:
            yield f"not known, so not compared: {', '.join(unknown)}"
    else:
        yield "schedule, inputs, weights: not compared, the repeat is not complete"
    verdict = found["verdict"]
    word = "the same" if verdict["same"] else "ANOTHER"
    yield f"verdict: {word}, {verdict['then']} then, {verdict['now']} now"


def _versions(differ: list[Mapping[str, Any]]) -> str:
    if not differ:
        return "all as they were"
    listed = [
        f"{each['name']} {each['then'] or 'none'} then, {each['now'] or 'none'} now"
        for each in differ[:_FEW]
    ]
    more = len(differ) - _FEW
    return "; ".join(listed) + f"; and {more} more, in rerun.json" * (more > 0)
