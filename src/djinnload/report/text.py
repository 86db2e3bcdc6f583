"""A finished run in the terminal, from its summary alone."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from djinnload.objective import parse_measure
from djinnload.report import claims_text, sweep_text
from djinnload.report.amounts import amount, few, interval, number, percent, percentile

__all__ = ("render", "show", "show_decision")

_STYLES = {"pass": "bold green", "fail": "bold red", "void": "bold yellow"}
_WORDS = {
    "pass": "every judged objective is met.",
    "fail": "at least one judged objective is missed.",
    "void": "cannot be trusted, in either direction. Do not quote these numbers.",
}
_MET = {True: ("met", "green"), False: ("missed", "red"), None: ("undecided", "yellow")}
_DECIDED = {
    "no regression": "green",
    "regression": "bold red",
    "undecided": "yellow",
    "void": "bold yellow",
}
_WIDE = 100


def show(summary: Mapping[str, Any], path: Path, *, quiet: bool = False) -> None:
    """Print a run's report on stdout; if *quiet*, the verdict only."""
    console = Console(highlight=False)
    if not quiet:
        render(summary, console=console)
    _verdict(summary, console)
    if summary["verdict"]["status"] == "void" and not quiet:
        console.print("what each code means, and what to do: docs/verdicts.md")
    console.print(f"results: {path}", soft_wrap=True, markup=False)
    if not quiet:
        console.print(f"report:  {path / 'report.html'}", soft_wrap=True, markup=False)


def render(summary: Mapping[str, Any], *, console: Console) -> None:
    """Print all but the verdict."""
    several = len(sweep_text.points(summary)) > 1
    if several:
        sweep_text.render(summary, console)
        _undecided_points(summary, console)
    for point, rows in () if several else _by_point(summary):
        title = summary.get("scenario") or "run"
        name = f"{title}, {point}" if point != "all" else str(title)
        console.print()
        console.print(_latencies(name, rows))
        console.print(_objectives(rows))
    _of_cells(summary, console)
    _comparisons(summary, console)
    claims_text.render(summary.get("claims") or (), console)
    _health(summary, console)
    for mark in summary.get("marks") or ():
        where = f"marked: {mark.get('utc')} in {mark.get('cell') or 'no cell'}"
        console.print(where, markup=False)


def _by_point(
    summary: Mapping[str, Any],
) -> Iterator[tuple[str, list[tuple[str, str, Mapping[str, Any]]]]]:
    """Yield each point with its (population, arm, numbers), a population together."""
    arms: Mapping[str, Any] = summary.get("arms") or {}
    points = dict.fromkeys(point for found in arms.values() for point in found)
    for point in points:
        here = {arm: found[point] for arm, found in arms.items() if point in found}
        names = dict.fromkeys(name for found in here.values() for name in found)
        yield (
            point,
            [
                (name, arm, found[name])
                for name in names
                for arm, found in here.items()
                if name in found
            ],
        )


def _latencies(title: str, rows: list[tuple[str, str, Mapping[str, Any]]]) -> Table:
    table = Table(
        title=f"{escape(title)}: latency of turns, from due to done, ok ones, in ms",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    table.add_column("population", no_wrap=True)
    table.add_column("arm", no_wrap=True)
    for name in ("n", "due/s", "ok/s", "p50", "p95", "p99", "queue", "missed", "bad"):
        table.add_column(name, justify="right")
    last = ""
    for name, arm, found in rows:
        latency = found["latency_ms"]
        outcomes = found["outcomes"]
        bad = sum(n for outcome, n in outcomes.items() if outcome != "ok")
        table.add_row(
            escape(name) if name != last else "",
            escape(arm),
            number(found["n"]),
            number(found["offered_per_s"]),
            number(found["achieved_per_s"]),
            *(_short(percentile(latency, q)) for q in ("p50", "p95", "p99")),
            number((found.get("queue_ms") or {}).get("mean")),
            percent((found.get("miss_rate") or {}).get("value")),
            number(bad),
        )
        last = name
    table.caption = (
        "queue: mean wait in ms, the server's word · missed: turns not ok or over the "
        "deadline · bad: requests not ok · few: n too small for this percentile"
    )
    table.caption_justify = "left"
    return table


def _short(shown: str) -> str:
    """Return what fits a column of a terminal of 80 characters."""
    return "few" if shown == "n too small" else shown


def _objectives(rows: list[tuple[str, str, Mapping[str, Any]]]) -> Table:
    table = Table(
        title="objectives, all repeats together",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        show_header=False,
    )
    for name, arm, found in rows:
        for each in found.get("objectives") or ():
            word, style = _MET[each["met"]]
            mark = Text(word, style=style if found.get("judged", True) else "dim")
            value = f"{amount(each['value'], each['text'])}, n = {each['n']}"
            judged = "" if found.get("judged", True) else " (not judged)"
            table.add_row(
                escape(name), escape(arm), escape(each["text"]), mark, value + judged
            )
    return table


def _of_cells(summary: Mapping[str, Any], console: Console) -> None:
    """Print the objectives of whole cells, such as of the GPU's use."""
    for each in summary.get("objectives") or ():
        word, style = _MET[each["met"]]
        line = Text(f"{each['point']}/{each['arm']}: {each['text']} ")
        line.append(word, style=style if each["judged"] else "dim")
        value = amount(each["value"], each["text"])
        console.print(line.append(f" {value}" + " (not judged)" * (not each["judged"])))


def _undecided_points(summary: Mapping[str, Any], console: Console) -> None:
    """Print the objectives that are not met, as of many points all would be long."""
    every = sweep_text.objectives(summary)
    open_ones = [each for each in every if each[2]["met"] is not True]
    if every and not open_ones:
        console.print("every objective is met at every point")
    if not open_ones:
        return
    console.print("objectives that are not met, all repeats together", style="bold")
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, where, each in open_ones:
        word, style = _MET[each["met"]]
        value = f"{amount(each['value'], each['text'])}, n = {each['n']}"
        row = (name, where, each["text"])
        table.add_row(*map(escape, row), Text(word, style=style), value)
    console.print(table)


def _comparisons(summary: Mapping[str, Any], console: Console) -> None:
    found = summary.get("comparisons") or ()
    if not found:
        return
    pairs = {(str(each["arm"]), str(each["baseline"])) for each in found}
    heads = next(iter(pairs)) if len(pairs) == 1 else ("arm", "baseline")
    console.print()
    console.print(_compared(found, heads, named=len(pairs) > 1))
    for reason, about in _doubts(found).items():
        console.print(f"  {reason} ({about})", markup=False)


def _compared(
    found: Collection[Mapping[str, Any]],
    heads: tuple[str, str],
    *,
    named: bool = False,
    of: str = "",
) -> Table:
    """Return the table of comparisons; with *named*, arms stand beside the values."""
    within = any("within one run" in (each.get("reasons") or ()) for each in found)
    table = Table(
        title=f"comparison {'within one run' if within else 'by repeats'}, "
        f"95 % intervals{escape(of)}",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for name in ("population", "metric"):
        table.add_column(name, no_wrap=True)
    for name in (*heads, "ratio or difference"):
        table.add_column(escape(name), justify="right")
    if decided := any("decision" in each for each in found):
        table.add_column("decision")
    last = ""
    for each in found:
        name, metric = str(each["population"]), str(each["metric"])
        a, b = (amount(each[side], metric) for side in ("a", "b"))
        if named:
            a, b = f"{each['arm']} {a}", f"{each['baseline']} {b}"
        row = (name if name != last else "", metric, a, b, _ratio(each))
        word = str(each.get("decision"))
        mark = [Text(word, style=_DECIDED.get(word, ""))] * decided
        table.add_row(*map(escape, row), *mark)
        last = name
    return table


def show_decision(document: Mapping[str, Any]) -> None:
    """Print what ``djinnload compare`` found; of a refusal, its last line only."""
    console = Console(highlight=False)
    a, b = document["a"], document["b"]
    heads = (a["arm"], b["arm"]) if a["arm"] else ("A", "B")
    found = document["comparisons"]
    if not a["arm"]:
        console.print(f"A, new: {a['path']}", soft_wrap=True, markup=False)
        console.print(f"B, baseline: {b['path']}", soft_wrap=True, markup=False)
    for each in document["differs"]:
        if each["key"] in document["allowed"]:
            told = f"allowed difference: {each['key']}: {each['what']}"
            console.print(told, markup=False)
    groups = dict.fromkeys((each["point"], each["arm"]) for each in found)
    for point, arm in groups:
        rows = [each for each in found if (each["point"], each["arm"]) == (point, arm)]
        of = f", {point}/{arm}" if len(groups) > 1 else ""
        console.print()
        console.print(_compared(rows, heads, of=of))
    for reason, about in _doubts(found).items():
        console.print(f"  {reason} ({about})", markup=False)
    _undecided(found, console, where=len(groups) > 1)
    _overall(document, console)


def _undecided(
    found: Iterable[Mapping[str, Any]], console: Console, *, where: bool
) -> None:
    for each in found:
        if each["decision"] == "undecided":
            cell = f"{each['point']}/{each['arm']} " * where
            what = f"{cell}{each['population']} {each['metric']}"
            console.print(f"  undecided: {what}: {each['because']}", markup=False)


def _overall(document: Mapping[str, Any], console: Console) -> None:
    found, tolerance = document["comparisons"], percent(document["tolerance"])
    counts = Counter(each["decision"] for each in found)
    listed = ", ".join(f"{n} {word}" for word, n in counts.items())
    word = str(document["decision"])
    # Of a share, 5 % is five points: of 2 %, 7 % is tolerated.
    shares = any(parse_measure(each["metric"]).unit == "share" for each in found)
    points = f", {100 * document['tolerance']:.3g} points of a share" * shares
    rows = f" ({listed}; tolerance {tolerance}{points})" if found else ""
    style = _DECIDED.get(word, "bold yellow")
    console.print(Text.assemble("\ndecision: ", (word.upper(), style), rows))


def _ratio(each: Mapping[str, Any]) -> str:
    shown = interval(each.get("ci95"))
    if each.get("ratio") is not None:
        return f"{number(each['ratio'])} × {shown}".rstrip()
    if shown and isinstance(each["ci95"][0], int | float):
        low, high = (amount(end, each["metric"]) for end in each["ci95"])
        return f"[{low}, {high}]"
    return "no interval"


def _doubts(found: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return what is wrong with comparisons → whether with all, or with how many."""
    every = list(found)
    doubted = Counter(
        f"{each['status']}: {reason}"
        for each in every
        if each["status"] != "ok" and each.get("decision") != "undecided"
        for reason in dict.fromkeys(map(str, each.get("reasons") or ()))
        if reason != "within one run"
    )
    return {
        reason: "all of them" if n == len(every) else f"{n} of {len(every)}"
        for reason, n in doubted.items()
    }


def _health(summary: Mapping[str, Any], console: Console) -> None:
    checked = wrong = 0
    for _, rows in _by_point(summary):
        for _, _, found in rows:
            verified = found.get("verified") or {}
            checked += verified.get("checked") or 0
            wrong += verified.get("wrong") or 0
    answers = f"{checked} answers checked, {wrong or 'none'} wrong"
    if checked and not wrong:
        # The exact one-sided 95 % bound for none of k (Clopper-Pearson).
        answers += f": at most {percent(1 - 0.05 ** (1 / checked))} are (95 %)"
    generator = summary.get("generator") or {}
    late = (generator.get("lateness_us") or {}).get("p99")
    lag = (generator.get("loop_lag_us") or {}).get("max")
    console.print(f"\n{answers}", markup=False)
    console.print(
        f"generator: worst cell's lateness p99 {number(late)} µs, longest loop lag "
        f"{number(lag)} µs, CPU {percent(generator.get('cpu'))} of a core",
        markup=False,
    )


def _verdict(summary: Mapping[str, Any], console: Console) -> None:
    verdict = summary.get("verdict") or {}
    for each in few(verdict.get("findings")):
        if each.get("code") != "verified":
            console.print(f"note {each['code']}: {each['message']}", markup=False)
    status = str(verdict.get("status"))
    stopped = " (interrupted)" if summary.get("interrupted") else ""
    console.print(
        Text.assemble(
            "\nverdict: ",
            (status.upper(), _STYLES.get(status, "bold")),
            f"{stopped}, {_WORDS.get(status, '')}",
        )
    )
    for each in few(verdict.get("reasons")):
        console.print(f"  {each['code']}: {each['message']}", markup=False)
