"""What ``djinnload compare`` found → a page like a run's, new beside baseline."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from djinnload.regressions import Run
from djinnload.report import comparison_figures, distributions, evidence
from djinnload.report.amounts import number, percent
from djinnload.report.distributions import curve_of
from djinnload.report.drawn import Drawn, Keys
from djinnload.report.figures import Curve
from djinnload.report.page import told
from djinnload.report.page.placing import Shelf, replace
from djinnload.report.page.template import rendered
from djinnload.stats import populations as stats
from djinnload.stats.populations import PopulationSamples
from djinnload.summary import numbers, spread
from djinnload.summary.run import Cell, groups

__all__ = ("write",)

Document = dict[str, Any]
_CLASSES = {"no regression": "pass", "regression": "fail", "undecided": "unsure"}
#: Points and arms up to which each has figures of its own.
_FEW = 4


def write(found: Mapping[str, Any], runs: Sequence[Run], path: Path) -> Path:
    """Write the page of a comparison; return *path*.

    The same runs and question give the same bytes.

    Args:
        found: What `djinnload.regressions.answer` returned.
        runs: What it was asked of: the new run and the baseline, or one run.
        path: Of the page, which is one file.

    Raises:
        OSError: No room, or no such directory.
    """
    replace(path, rendered("comparison.html.j2", _context(found, runs)))
    return path


def _context(found: Mapping[str, Any], runs: Sequence[Run]) -> Document:
    sides = (runs[0], runs[-1])
    heads = (found["a"]["arm"], found["b"]["arm"]) if found["a"]["arm"] else ("A", "B")
    void = found["decision"] == "void"
    rows, curves = _measured(found, sides, heads)
    keys = Keys(heads, tuple(dict.fromkeys(row["name"] for row in rows)))
    for row in rows:
        row["key"] = keys.of(arm=row["arm"], population=row["name"])
    compared = found["comparisons"]
    shelf = Shelf(None)
    of_ratios = comparison_figures.drawn(
        compared,
        Keys((), keys.populations),
        tolerance=found["tolerance"],
        source="cells/*/samples/*.arrows of both",
        void=void,
    )
    return {
        "found": found,
        "heads": heads,
        "void": void,
        "keys": keys,
        "headline": _headline(found),
        "rows": rows,
        "several": len({row["point"] for row in rows}) > 1,
        "comparisons": [
            dict(each)
            | told.difference(each)
            | {"key": keys.of(population=each["population"])}
            for each in compared
        ],
        "figures": {
            "ratios": shelf.place("ratios", of_ratios),
            "latency": shelf.place("latency", _latency(rows, curves, keys, void=void)),
        },
        "sides": list(zip(heads, (found["a"], found["b"]), sides, strict=True)),
        "begun": [told.begun(side.manifest) for side in sides],
        "measured_heads": heads if len(runs) > 1 else ("Both",),
        "measured_on": list(_side_by_side(runs)),
    }


def _headline(found: Mapping[str, Any]) -> Document:
    """Return the decision in words."""
    counts = Counter(each["decision"] for each in found["comparisons"])
    word, n = str(found["decision"]), len(found["comparisons"])
    tolerance = percent(found["tolerance"])
    worse = counts["regression"]
    words = {
        "no regression": f"no compared value is worse by more than {tolerance}; there "
        f"{'is' if n == 1 else 'are'} {n}, and the interval of each ends within it",
        "regression": f"{worse} of {n} compared values {'is' if worse == 1 else 'are'} "
        f"worse, with the whole interval beyond the tolerance of {tolerance}",
        "undecided": f"{counts['undecided']} of {n} compared values could be within "
        f"{tolerance} or beyond it; what would decide it is below",
        "not comparable": "the runs differ in more than what is compared, and so "
        "nothing was",
    }.get(word, "a side is no evidence, so no number here should be quoted")
    status = _CLASSES.get(word, "void")
    return {"word": word.upper(), "status": status, "words": words}


def _measured(
    found: Mapping[str, Any], sides: Sequence[Run], heads: Sequence[str]
) -> tuple[list[Document], dict[tuple[str, str, str], Curve]]:
    """Return a row and a curve of each compared population of each side."""
    rows: list[Document] = []
    curves: dict[tuple[str, str, str], Curve] = {}
    known = [groups(cell for cell in side.cells if cell.evidence) for side in sides]
    pairs = dict.fromkeys(
        (each["point"], each["arm"], each["baseline"]) for each in found["comparisons"]
    )
    arms = len({arm for _, arm, _ in pairs}) > 1
    for point, *of_sides in pairs:
        for name in _names(found, point, of_sides[0]):
            place = f"{point}/{of_sides[0]}" if arms else point
            for side, (head, arm) in enumerate(zip(heads, of_sides, strict=True)):
                repeats = list(_repeats(known[side].get((arm, point), ()), name))
                if not repeats:
                    continue
                about = {"arm": head, "point": place, "name": name}
                pooled = numbers.finite(numbers.pooled(repeats))
                rows.append(about | pooled | {"repeats": len(repeats)})
                latency = [stats.values(each, "latency") for each in repeats]
                if curve := spread.curve(latency):
                    curves[head, place, name] = curve_of(curve, head, f"a{side}")
    return rows, curves


def _names(found: Mapping[str, Any], point: str, arm: str) -> list[str]:
    """Return the populations compared there."""
    mine = (c for c in found["comparisons"] if (c["point"], c["arm"]) == (point, arm))
    return list(dict.fromkeys(str(each["population"]) for each in mine))


def _repeats(cells: Sequence[Cell], name: str) -> Iterator[PopulationSamples]:
    for cell in cells:
        if cell.evidence and name in cell.evidence.populations:
            yield cell.evidence.populations[name]


def _latency(
    rows: Sequence[Document],
    curves: Mapping[tuple[str, str, str], Curve],
    keys: Keys,
    *,
    void: bool,
) -> Iterator[Drawn]:
    if len({row["point"] for row in rows}) > _FEW:
        return
    known = {
        (head, point, name, "latency"): curve
        for (head, point, name), curve in curves.items()
    }
    found = distributions.groups(rows)
    yield from distributions.drawn(found, known, "latency", keys, void=void)


def _side_by_side(runs: Sequence[Run]) -> Iterator[Document]:
    """Yield what runs were measured on, name by name, and whether it differs."""
    told_of = [dict(_facts(side.manifest)) for side in runs]
    for name in dict.fromkeys(name for facts in told_of for name in facts):
        values = [facts.get(name, "–") for facts in told_of]
        yield {"name": name, "values": values, "differs": values[0] != values[-1]}


def _facts(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    scenario = manifest.get("scenario") or {}
    yield "scenario", str(scenario.get("name"))
    yield "scenario: sha256", str(scenario.get("sha256"))
    yield "seed", number(manifest.get("seed"))
    yield from evidence.environment(manifest)
