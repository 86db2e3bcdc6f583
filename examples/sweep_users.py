# %% [markdown]
# A sweep from 1 to 64 users, as a script of cells for a notebook.
# `python examples/sweep_users.py` runs it from top to bottom.

# %%
from pathlib import Path

import djinnload

scenario = djinnload.load("exp4_1_scalability_smoke").replace(
    {"scenario.repeats": 1, "scenario.duration": "1s"}
)

# %% The run; a dashboard is for terminals, so here is a line a cell.
seen: set[str] = set()


def tell(progress: djinnload.Progress) -> None:
    """Print each cell once."""
    if progress.cell and progress.cell not in seen:
        seen.add(progress.cell)
        print(f"{progress.done_cells + 1} of {progress.all_cells}: {progress.cell}")


result = djinnload.run_sync(
    scenario, arms=["open"], out=Path("results"), on_progress=tell
)

# %% In a notebook, `result` alone shows the verdict and a table of the classes.
result

# %% Where throughput stops to follow the number of users.
for knee in result.summary["knee"]:
    print(f"{knee['arm']}: knee at {knee['load']}, at most {knee['most_per_s']:.0f}/s")

# %% Every request is there, as an Arrow table: here the median by users, ms.
samples = result.samples().select(["point", "arm", "due_ns", "done_ns", "outcome"])
frame = samples.to_pylist()
by_point: dict[str, list[float]] = {}
for row in frame:
    if row["outcome"] == "ok":
        latency = (row["done_ns"] - row["due_ns"]) / 1e6
        by_point.setdefault(row["point"], []).append(latency)
for point, values in by_point.items():
    print(f"{point}: {sorted(values)[len(values) // 2]:.1f} ms, n = {len(values)}")
