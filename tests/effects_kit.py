"""Cells of a native, a blind and a full arm, whose times and bytes are known."""

import numpy as np

import health_kit as kit
from djinnload.summary.run import Cell
from djinnload.units import MS

#: ms a request, bytes a request, weights sent with each.
ARMS = {
    "native_pytorch": (10.0, 0, False),
    "semantic_blind": (80.0, 1000, True),
    "full": (12.0, 10, False),
}
PLAN = {
    "arm": [
        {"name": "native_pytorch", "target": {"use": "local"}},
        {"name": "semantic_blind", "target": None},
        {"name": "full", "target": None},
    ]
}
MANIFEST = {
    "plan": PLAN,
    "comparison": {
        "baseline": "full",
        "metrics": ["mean(latency)", "mean(bytes)"],
        "equal_work": "exact",
        "differs": [],
    },
}


def cell(arm, repeat, point="all", **changes):
    """Twenty turns of one request each, 100 ms apart."""
    ms, nbytes, per_call = ARMS[arm]
    # A repeat's own factor: pairs take it out. Its second digit differs by arm.
    took = (
        ms
        * MS
        * (1 + repeat)
        * (1 + 0.01 * ((3 * repeat + 2 * list(ARMS).index(arm)) % 5))
    )
    due = kit.BEGIN + np.arange(20) * 100 * MS
    made = {
        "due_ns": lambda *_: due,
        "sent_ns": lambda *_: due.astype(float),
        "ready_ns": lambda *_: due.astype(float),
        "done_ns": lambda *_: due + took,
        "units": lambda *_: np.ones(20),
        "bytes_sent": lambda *_: np.full(20, 0.6 * nbytes),
        "bytes_received": lambda *_: np.full(20, 0.4 * nbytes),
    } | changes
    whole = kit.population(0, rate=2)
    chat = kit.renamed(whole, kept=slice(0, 20))
    columns = {f: getattr(chat.requests, f) for f in chat.requests.__struct_fields__}
    columns = {f: np.resize(column, 20) for f, column in columns.items()}
    columns |= {"session": np.arange(20), "session_end": np.ones(20, bool)}
    columns |= {f: change() for f, change in made.items()}
    evidence = kit.cell(kit.fold("chat", columns), arm=arm)
    place = {"point": point, "arm": arm, "repeat": repeat}
    behaviours = {"weights": "per_call" if per_call else "resident"}
    manifest = dict(evidence.manifest) | place | {"behaviours": behaviours}
    told = {"n": 20, "ok": 20, "verified": {"checked": 2, "wrong": 0}}
    entry = {"id": f"{point}/{arm}/r{repeat:02d}"} | place
    return Cell(entry, "done", manifest, evidence, {"populations": {"chat": told}})


def cells(*, repeats=6, arms=ARMS, points=("all",)):
    return [
        cell(arm, repeat, point)
        for point in points
        for arm in arms
        for repeat in range(repeats)
    ]
