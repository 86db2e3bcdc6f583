"""The figures that were wanted, beside the newest that were measured (bench/results).

goals.py [--quick]
"""

import json
import operator
import sys

import kit
from closed_loop import CHURN, KEPT
from live_view import NAMES, QUIET
from msgspec import Struct
from open_loop import K6, OURS, PRECISE
from tensors import KEPT as KEPT_TENSORS


class Goal(Struct):
    """A figure: what file it is in, how to read it from there, and its bound."""

    text: str
    what: str
    read: object
    wanted: str

    def met(self, value: float) -> bool:
        sign, bound = self.wanted.split()
        return {"≥": operator.ge, "≤": operator.le}[sign](value, float(bound))


def _ratio(theirs: str, ours: str = KEPT[1]):
    return lambda found: found["64"]["ratios"][f"{ours} ÷ {theirs}"]["per_s"]


def _rates(found: dict) -> dict:
    return {float(rate): each for rate, each in found.items() if rate[0].isdigit()}


def _worst(column: str, client: str):
    return lambda found: max(
        each["clients"][client][column] for each in _rates(found).values()
    )


def _unsent(found: dict) -> float:
    clients = (OURS, PRECISE)
    return 100 * max(
        each["clients"][name]["unsent"] / each["scheduled"]
        for each in _rates(found).values()
        for name in clients
    )


def _early(found: dict) -> int:
    return sum(
        each["clients"][name]["early"]
        for each in _rates(found).values()
        for name in (OURS, PRECISE)
    )


def _against_k6(found: dict) -> float:
    each = [rate["clients"] for rate in _rates(found).values()]
    return max(rows[OURS]["grid_p99_us"] / rows[K6]["grid_p99_us"] for rows in each)


def _watched(column: str):
    ways = [name for name in NAMES if name != QUIET]
    return lambda found: max(found[name]["ratios"][column] for name in ways)


CLOSED, OPEN = "closed_loop", "open_loop"
#: Users go on as the others' users and connections do.
GOING_ON = KEPT[4]
GOALS = (
    Goal(
        "closed loop, 64 kept connections, sessions of 1,000 ÷ bare Protocol",
        CLOSED,
        _ratio(KEPT[0], GOING_ON),
        "≥ 0.6",
    ),
    Goal(
        "  CPU added a request, µs",
        CLOSED,
        lambda f: f["64"]["cpu_added_us"][GOING_ON],
        "≤ 4",
    ),
    Goal(
        "  ÷ Locust's fast client",
        CLOSED,
        _ratio("Locust FastHttpUser", GOING_ON),
        "≥ 8",
    ),
    Goal("  ÷ k6", CLOSED, _ratio("k6", GOING_ON), "≥ 4"),
    Goal("  ÷ hey", CLOSED, _ratio("hey", GOING_ON), "≥ 1.8"),
    Goal("  ÷ wrk", CLOSED, _ratio("wrk", GOING_ON), "≥ 0.6"),
    Goal("  a session a request ÷ bare Protocol", CLOSED, _ratio(KEPT[0]), "≥ 0.6"),
    Goal(
        "one connection a request ÷ bare loop",
        CLOSED,
        _ratio(CHURN[0], CHURN[1]),
        "≥ 0.85",
    ),
    Goal(
        "null target, CPU a request, µs",
        "null_target",
        lambda f: f["closed, 64 users"]["cpu_us"],
        "≤ 6",
    ),
    Goal(
        "open loop, lateness p99 ÷ C's, worst rate",
        OPEN,
        lambda f: max(e["p99_over_c"] for e in _rates(f).values()),
        "≤ 1.3",
    ),
    Goal(
        "  cores at the highest rate",
        OPEN,
        lambda f: _rates(f)[max(_rates(f))]["clients"][OURS]["cores"],
        "≤ 0.6",
    ),
    Goal(
        "  precise: lateness p99, µs, worst rate",
        OPEN,
        _worst("late_p99_us", PRECISE),
        "≤ 30",
    ),
    Goal(
        "  precise: lateness p50, µs, worst rate",
        OPEN,
        _worst("late_p50_us", PRECISE),
        "≤ 2",
    ),
    Goal("  sent early", OPEN, _early, "≤ 0"),
    Goal("  |sent − scheduled|, %, worst rate", OPEN, _unsent, "≤ 0.05"),
    Goal("  off the grid at the server ÷ k6's, worst rate", OPEN, _against_k6, "≤ 0.2"),
    Goal(
        "  KS distance of gaps sent, Poisson 1,000/s",
        OPEN,
        lambda f: f["poisson_1000"]["clients"][OURS]["sent"],
        "≤ 0.03",
    ),
    Goal(
        "19 MB tensors ÷ bare socket",
        "tensors",
        lambda f: f["19MB"][KEPT_TENSORS]["of_bare"],
        "≥ 0.9",
    ),
    Goal("two workers ÷ one, null target", "workers", lambda f: f["ratio"], "≥ 1.7"),
    Goal(
        "watched at 10,000/s, lateness p99 ÷ quiet, the worst way",
        "live_view",
        _watched("late_p99_us"),
        "≤ 1.1",
    ),
    Goal("  CPU ÷ quiet, the worst way", "live_view", _watched("cpu"), "≤ 1.1"),
    Goal("fold and report, s", "recording", lambda f: f["folding"]["seconds"], "≤ 10"),
    Goal("  peak RSS, MB", "recording", lambda f: f["folding"]["peak_MB"], "≤ 1000"),
    Goal(
        "long run, change of RSS after the first reading",
        "long_run",
        lambda f: f["largest_change"],
        "≤ 0.1",
    ),
    Goal(
        "stall, |p99 off the truth|, simulated",
        "coordinated_omission",
        lambda f: abs(f["djinnload, simulated time"]["p99_off"]),
        "≤ 0.02",
    ),
    Goal(
        "  the same, real time",
        "coordinated_omission",
        lambda f: abs(f["djinnload, real time"]["p99_off"]),
        "≤ 0.02",
    ),
)


def show(*, quick: bool) -> None:
    """Print the table from the newest results."""
    rows = [_row(goal, _newest(goal.what, quick=quick)) for goal in GOALS]
    title = (
        "figures of a QUICK run: not to be quoted"
        if quick
        else "figures, and what was wanted"
    )
    kit.show(title, ["figure", "wanted", "measured", "met", "when"], rows)


def _row(goal: Goal, found: dict | None) -> list:
    if found is None:
        return [goal.text, goal.wanted, "not taken yet", "–", "–"]
    try:
        value = goal.read(found["figures"])
    except (KeyError, TypeError):
        return [goal.text, goal.wanted, "left out", "–", found["at"][:10]]
    met = "yes" if goal.met(value) else "NO"
    return [
        goal.text,
        goal.wanted,
        value,
        met if found["quiet"] else f"{met}, busy machine",
        found["at"][:10],
    ]


def _newest(what: str, *, quick: bool) -> dict | None:
    # Dates sort as text; a quick run's name has the word between.
    pattern = f"{what}{'-quick' * quick}-[0-9]*.json"
    paths = sorted(kit.RESULTS.glob(pattern))
    return json.loads(paths[-1].read_text()) if paths else None


if __name__ == "__main__":
    show(quick="--quick" in sys.argv)
