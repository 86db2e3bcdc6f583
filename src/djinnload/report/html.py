"""A run's directory → ``report.html``: one file that needs no network and no script."""

import contextlib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import ChainableUndefined, Environment
from markupsafe import Markup
from msgspec import Struct

from djinnload.reading.files import read_document
from djinnload.report import (
    amounts,
    course_figures,
    drawing,
    evidence,
    figures,
    sweep_figures,
)
from djinnload.report.amounts import amount, interval, number, percent
from djinnload.report.experiments import rendering
from djinnload.report.experiments.section import section
from djinnload.report.sweep_figures import Drawn
from djinnload.summary.fold import fold_run

__all__ = ("Figure", "write")

Document = dict[str, Any]

TEMPLATE = "report.html.j2"
#: Cells with these have samples that count.
_WITH_RESULT = ("done", "void")
#: Waits that are shorter are drawn here, as a logarithm has no zero.
_QUEUE_FLOOR_MS = 0.01
#: Points up to which each has figures of its own.
_FEW_POINTS = 4
#: The arm of a scenario that has none.
_DEFAULT = "default"
#: Above, a difference may be one of many looked for.
_LEVEL = 0.05
_PERCENTILE = re.compile(r"p(\d+(?:\.\d+)?)\(latency\)\s*<=?\s")


class Figure(Struct, frozen=True):
    """A figure as the page shows it.

    Attributes:
        path: Of its own file, from the run's directory.
        svg: For the inside of the page.
        caption: What was measured on what, and how many.
    """

    path: str
    svg: str
    caption: str


def write(run_dir: Path) -> Path:
    """Write report.html and figures/*.svg of a run; return the former.

    Of a run that was killed it shows what there is. The same directory gives the same
    bytes.

    Args:
        run_dir: With summary.json and curves.json; where these are missing they are
            made, by `djinnload.summary.fold.fold_run`.

    Raises:
        OSError: No room, or no such directory.
        ScenarioError: An experiment lacks an arm; the page is written and says so.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise FileNotFoundError(f"{run_dir}: no such directory")
    summary = read_document(run_dir / "summary.json")
    if not summary or not (run_dir / "curves.json").exists():
        summary = fold_run(run_dir)
    environment = Environment(
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(amounts.FILTERS)
    source = Path(__file__).with_name(TEMPLATE).read_text(encoding="utf-8")
    rendered = rendering.render(run_dir, summary)
    context = _context(run_dir, summary)
    context["experiment"] = section(
        rendered, summary.get("claims") or (), void=context["void"]
    )
    path = run_dir / "report.html"
    _replace(path, environment.from_string(source).render(context))
    if rendered is not None and rendered.problem is not None:
        raise rendered.problem
    return path


def _context(run_dir: Path, summary: Document) -> Document:
    manifest = read_document(run_dir / "manifest.json")
    cells = [cell for cell in summary.get("cells") or () if isinstance(cell, dict)]
    rows = list(_rows(summary.get("arms") or {}))
    verdict = summary.get("verdict") or {}
    void = verdict.get("status") == "void"
    few = len({row["point"] for row in rows}) <= _FEW_POINTS
    latency, queue = _figures(run_dir, rows, void=void) if few else ([], [])
    sweep = sweep_figures.drawn(summary, void=void)
    course = course_figures.drawn(run_dir, cells if few else (), void=void)
    return {
        "run": run_dir.resolve().name,
        "summary": summary,
        "manifest": manifest,
        "calibration": read_document(run_dir / "calibration.json"),
        "verdict": verdict,
        "void": void,
        "headline": _headline(summary, rows, cells),
        "begun": _begun(manifest),
        "cells": cells,
        "rows": rows,
        "objectives": [(row, each) for row in rows for each in row["objectives"] or ()],
        "several": len({row["point"] for row in rows}) > 1,
        "comparisons": [
            dict(each) | _difference(each) for each in summary.get("comparisons") or ()
        ],
        "sweep": list(_saved(run_dir, "sweep", sweep)),
        "course": list(_saved(run_dir, "course", course)),
        "sweeping": summary.get("efficiency") or (),
        "shapes": summary.get("knee") if isinstance(summary.get("knee"), list) else (),
        "few": few,
        "latency": latency,
        "queue": queue,
        "proof": list(evidence.proof(run_dir, cells)),
        "command": shlex.join(str(each) for each in manifest.get("argv") or ()),
        "environment": list(evidence.environment(manifest)),
    }


def _rows(arms: Mapping[str, Any]) -> Iterator[Document]:
    """Yield what each population did in each arm: arms of a population side by side."""
    found = [
        {"arm": arm, "point": point, "name": name} | dict(pooled)
        for arm, points in arms.items()
        for point, populations in points.items()
        for name, pooled in populations.items()
    ]
    place = {
        key: i
        for i, key in enumerate(
            dict.fromkeys((row["point"], row["name"]) for row in found)
        )
    }
    for row in sorted(found, key=lambda row: place[row["point"], row["name"]]):
        yield {"qos_class": "", "objectives": ()} | row


def _headline(
    summary: Document, rows: Iterable[Document], cells: Sequence[Document]
) -> Document:
    """Return the verdict in words."""
    status = str((summary.get("verdict") or {}).get("status") or "unknown")
    judged = [each for row in rows if row.get("judged") for each in row["objectives"]]
    judged += [each for each in summary.get("objectives") or () if each["judged"]]
    missed = sum(each.get("met") is False for each in judged)
    words = {
        "pass": f"all {len(judged)} judged objectives are met"
        if judged
        else "no objective was judged, and nothing makes the run void",
        "fail": f"{missed} of {len(judged)} judged objectives "
        f"{'is' if missed == 1 else 'are'} missed",
        "void": "this run is no evidence, neither for nor against; the reasons are "
        "below, and no number here should be quoted",
    }.get(status, "there is no verdict")
    with_result = sum(cell.get("status") in _WITH_RESULT for cell in cells)
    partial = f"Only {with_result} of {len(cells)} planned cells have a result."
    stopped = "The run was interrupted." if summary.get("interrupted") else ""
    unfinished = with_result < len(cells) or not summary.get("complete")
    return {
        "status": status,
        "words": words,
        "partial": f"{stopped} {partial}".strip() if unfinished or stopped else "",
        "with_result": with_result,
    }


def _difference(found: Mapping[str, Any]) -> Document:
    """Return the interval of a comparison, and what it says in words."""
    ends, ratio, metric = found.get("ci95"), found.get("ratio"), str(found["metric"])
    if not isinstance(ends, list) or not all(isinstance(e, int | float) for e in ends):
        return {"interval": "", "words": "no interval"}
    a, b = found.get("a"), found.get("b")
    if ratio is not None:
        shown, even, by = interval(ends), 1.0, percent(abs(ratio - 1))
        higher = ratio > 1
    else:
        shown = f"difference [{', '.join(amount(end, metric) for end in ends)}]"
        even, higher, by = 0.0, sum(ends) > 0, "shown as a difference,"
        if isinstance(a, int | float) and isinstance(b, int | float):
            by = amount(abs(a - b), metric)
            if by.endswith("%"):
                by = f"{by.rstrip(' %')} percentage points"
    words = f"{by} {'higher' if higher else 'lower'}"
    if min(ends) <= even <= max(ends):
        words = "no difference shown"
    elif (found.get("p_holm") or 0) > _LEVEL:
        words += f", yet p (Holm) is over {_LEVEL:g}"
    return {"interval": shown, "words": words}


def _begun(manifest: Mapping[str, Any]) -> str:
    wall_ns = (manifest.get("anchor") or {}).get("wall_ns")
    if not isinstance(wall_ns, int):
        return "unknown"
    with contextlib.suppress(OverflowError, ValueError, OSError):
        return f"{datetime.fromtimestamp(wall_ns // 10**9, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return "unknown"


def _figures(
    run_dir: Path,
    rows: Sequence[Document],
    *,
    void: bool,
) -> tuple[list[Figure], list[Figure]]:
    """Draw latency and queue wait of each population, arms together, and save them."""
    curves = _curves(run_dir)
    groups: dict[tuple[str, str], list[Document]] = {}
    for row in rows:
        groups.setdefault((row["point"], row["name"]), []).append(row)
    several = len({point for point, _ in groups}) > 1
    made: dict[str, list[Figure]] = {"latency": [], "queue": []}
    for index, ((point, name), group) in enumerate(groups.items()):
        title = f"{name} at {point}" if several else name
        for metric, drawn in made.items():
            known = {
                row["arm"]: found
                for row in group
                if (found := curves.get((row["arm"], point, name, metric)))
            }
            if not known:
                continue
            svg = _figure(metric, title, known, group[0], void=void)
            slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40]
            path = f"figures/{metric}-{index:02d}-{slug}.svg"
            _replace(run_dir / path, svg)
            caption = _caption(metric, title, known, group)
            label = f"{metric} of {title}, cumulative share"
            placed = drawing.inline(svg, f"{metric}-{index}", label)
            # Made by matplotlib, which escapes what it is given.
            drawn.append(Figure(path, Markup(placed), caption))  # noqa: S704
    return made["latency"], made["queue"]


def _saved(run_dir: Path, kind: str, every: Iterable[Drawn]) -> Iterator[Figure]:
    """Save figures; their ids on the page begin with *kind*."""
    for index, each in enumerate(every):
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", each.slug).strip("-.")[:40]
        path = f"figures/{kind}-{index:02d}-{slug}.svg"
        _replace(run_dir / path, each.svg)
        placed = drawing.inline(each.svg, f"{kind}-{index}", each.label)
        # Made by matplotlib, which escapes what it is given.
        yield Figure(path, Markup(placed), each.caption)  # noqa: S704


def _figure(
    metric: str,
    title: str,
    known: Mapping[str, figures.Curve],
    row: Document,
    *,
    void: bool,
) -> str:
    curves = list(known.values())
    if metric == "queue":
        return figures.cdf(
            curves,
            title=f"Queue wait: {title}",
            xlabel="wait in the server's queue, the server's word (ms, logarithmic)",
            ylabel="share of ok turns",
            floor_ms=_QUEUE_FLOOR_MS,
            void=void,
        )
    return figures.cdf(
        curves,
        title=f"Latency: {title}",
        xlabel="latency from the due time (ms, logarithmic)",
        ylabel="share of due turns",
        marks=list(_marks(row)),
        void=void,
    )


def _marks(row: Document) -> Iterator[figures.Mark]:
    deadline = row.get("deadline_ms")
    if isinstance(deadline, int | float):
        yield figures.Mark(f"deadline {number(deadline)} ms", float(deadline))
    for each in row["objectives"] or ():
        text, bound = str(each.get("text")), each.get("bound")
        found = _PERCENTILE.match(text)
        if found and isinstance(bound, int | float):
            yield figures.Mark(text, bound / 1e6, float(found[1]) / 100)


def _caption(
    metric: str,
    title: str,
    known: Mapping[str, figures.Curve],
    group: Sequence[Document],
) -> str:
    repeats = {row["arm"]: row.get("repeats") for row in group}
    shares = any(mark.share for row in group for mark in _marks(row))
    crossed = " An objective (✕) is met by a curve that passes left of it." * shares
    kind = next((row["qos_class"] for row in group if row["qos_class"]), "")
    counts = "; ".join(
        f"{f'{arm}: ' * (arm != _DEFAULT)}n = {found.n:,} turns, {repeats[arm]} repeats"
        for arm, found in known.items()
    )
    of = f"{title} (class {kind})" if kind else title
    if metric == "queue":
        return (
            f"Queue wait of {of}: what the server says it kept a turn's requests "
            f"waiting, summed over the turn; ok turns only. {counts}. Waits of zero, "
            f"or under {_QUEUE_FLOOR_MS:g} ms, are drawn at the left edge."
        )
    return (
        f"Latency of {of}: from the due time of a turn to the end of its last request. "
        f"{counts}. A turn that is not ok never ends: its curve stays below 100 %."
        f"{crossed}"
    )


def _curves(run_dir: Path) -> dict[tuple[str, str, str, str], figures.Curve]:
    """Return curves by arm, point, population and metric; repeats together."""
    made = {}
    for each in read_document(run_dir / "curves.json").get("curves") or ():
        arm = str(each["arm"])
        made[arm, each["point"], each["population"], each["metric"]] = figures.Curve(
            label=arm * (arm != _DEFAULT),
            ms=np.array(each["ms"], np.float64),
            share=np.array(each["share"], np.float64),
            n=each["n"],
            lost=each["lost"],
        )
    return made


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    # Names may hold halves of surrogate pairs, which UTF-8 cannot.
    temporary.write_bytes(text.encode("utf-8", "replace"))
    temporary.replace(path)
