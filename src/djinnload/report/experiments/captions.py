"""What a figure or table shows, in two or three sentences: n, interval, host; pure."""

from collections.abc import Callable, Iterable, Sequence

from djinnload.report.experiments.base import Datum, Figure, Run, Table

__all__ = ("figure", "is_void", "table")

_NOTHING = "no interval"


def figure(
    run: Run, figure: Figure, data: Sequence[Datum], absent: Sequence[str]
) -> str:
    """Return the caption: what was measured, how well it is known, on what.

    Args:
        run: It was measured in.
        figure: That it is of.
        data: That it shows; none: it is not drawn.
        absent: Why panels have nothing.
    """
    if not data:
        why = "; ".join(absent)
        return f"Figure {figure.id} ({figure.title}) is not drawn: {why}."
    sentences = [
        f"{_void(run)}{figure.said}: {_evidence(data)}",
        figure.note,
        f"Measured on {_where(run)}{_claims(data)}",
        f"Not drawn: {'; '.join(absent)}" if absent else "",
    ]
    return " ".join(f"{each}." for each in sentences if each)


def table(run: Run, table: Table, absent: str) -> str:
    """Return the caption of a table; *absent*: why it is not made."""
    if absent:
        return f"Table {table.id} ({table.title}) is not made: {absent}."
    return (
        f"{_void(run)}{table.said}; in brackets 95 % intervals. "
        f"Measured on {_where(run)}."
    )


def is_void(run: Run) -> bool:
    """Return whether the run is no evidence."""
    return (run.summary.get("verdict") or {}).get("status") == "void"


def _void(run: Run) -> str:
    return "VOID, this run is no evidence. " if is_void(run) else ""


def _evidence(data: Sequence[Datum]) -> str:
    """Return n, how intervals were found, and where times start."""
    known = [each for each in data if each.value is not None]
    counts: dict[str, list[int]] = {}
    for each in known:
        counts.setdefault(each.of, []).append(each.n)
    n = " and ".join(f"n = {_range(ns)} {of}" for of, ns in counts.items() if any(ns))
    parts = [n or "n is not told", _intervals(known)]
    if starts := _distinct(known, lambda each: each.start):
        parts.append(f"times count from {' or '.join(starts)}")
    if arms := _distinct(known, lambda each: each.arm):
        parts.append(f"arms {', '.join(arms)}")
    return "; ".join(part for part in parts if part)


def _intervals(known: Sequence[Datum]) -> str:
    kinds = _distinct(known, lambda each: each.interval if each.ci95 else "")
    without = sum(each.ci95 is None for each in known)
    if not kinds:
        return "no intervals, as there are too few repeats or none applies"
    some = f", {without} of {len(known)} values have none" if without else ""
    return f"error bars are 95 % intervals ({', '.join(kinds)}){some}"


def _claims(data: Sequence[Datum]) -> str:
    claims = [each for each in data if each.claim is not None]
    if not claims:
        return ""
    said = "; diamonds are claims of the plan, which nobody measured"
    reasons = _distinct(claims, lambda each: each.infeasible)
    return said + "".join(f"; a cross is infeasible: {reason}" for reason in reasons)


def _where(run: Run) -> str:
    host = run.manifest.get("host") or {}
    devices = run.manifest.get("devices") or ()
    named = list(dict.fromkeys(str(each.get("name") or each) for each in devices))
    gpus = f"{len(devices)} × {', '.join(named)}" if named else "no GPU"
    cpu = host.get("cpu") or "an unknown CPU"
    return f"{cpu} ({host.get('cores') or '?'} cores), {gpus}"


def _range(ns: Sequence[int]) -> str:
    low, high = min(ns), max(ns)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _distinct(data: Iterable[Datum], of: Callable[[Datum], str]) -> list[str]:
    return [text for text in dict.fromkeys(map(of, data)) if text]
