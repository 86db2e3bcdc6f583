"""Run directories of experiments without a server: arms, GPUs and claims as asked."""

import json

from djinnload.recording.recorder import Probes, write_json
from djinnload.units import MS, SECOND
from make_synthetic import BEGIN, calibration, root_manifest, write_cell

FOUR = ("native_pytorch", "semantic_blind", "partially_aware", "full")


def write_experiment(out, experiment, *, arms=FOUR, repeats=5, gpu=False, claims=()):
    """A run of *arms* with 2 s a cell; the populations are those of make_synthetic."""
    entries = []
    for repeat in range(repeats):
        for number, arm in enumerate(arms):
            path = f"cells/all/{arm}/r{repeat:02d}"
            slow = 1.0 + 0.2 * number
            write_cell(out / path, arm, repeat, seconds=2, slow=slow)
            if gpu:
                _look(out / path, 0.2 * (number + 1))
            entries.append(
                {"id": f"all/{arm}/r{repeat:02d}", "point": {"all": None}, "arm": arm,
                 "repeat": repeat, "path": path, "status": "done", "boot": 0}
            )  # fmt: skip
    order = [each["id"] for each in entries]
    write_json(out / "index.json", {"schema": 1, "order": order, "cells": entries})
    plan = {
        "scenario": {"experiment": experiment},
        "arm": [{"name": arm} for arm in arms],
        "claim": list(claims),
    }
    root = root_manifest() | {"plan": plan, "comparison": None}
    root["arms"] = {arm: {"judged": False} for arm in arms}
    write_json(out / "manifest.json", root)
    write_json(out / "calibration.json", calibration())
    return out


def _look(cell_dir, busy):
    with Probes(cell_dir, "devices") as probes:
        for t in range(BEGIN - SECOND, BEGIN + 3 * SECOND, 50 * MS):
            probes.append((t, "nvml", "gpu0", "util", busy))


def edit_plan(run, change):
    path = run / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest["plan"])
    path.write_text(json.dumps(manifest))
