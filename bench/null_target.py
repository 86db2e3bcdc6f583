"""What a request costs djinnload itself: the in-process null target, all columns recorded.

By the real runner with its real clock and recorder, on one core: an open loop well below
saturation, where CPU a request is the figure, and a closed loop, where requests/s are.
Probes, recording and event loop are in it; planning and folding are not: the CPU
is the process's own between two of its probes a second apart or more.
"""

import argparse
import tempfile
from pathlib import Path

import kit
import peers
import pyarrow.compute as pc

from djinnload.reading.files import read_probes, read_samples

LOOPS = {
    "closed, 64 users": ["--connections", 64],
    "closed, 64 users, sessions of 100": ["--connections", 64, "--requests", 100],
    "open, 10,000/s": ["--rate", 10_000],
}


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--quick", action="store_true")
    given.add_argument("--rounds", type=int, default=7)
    given.add_argument("--seconds", type=float, default=5)
    asked = given.parse_args()
    if asked.quick:
        asked.rounds, asked.seconds = 1, 2
    about = kit.machine()
    seen = {name: [] for name in LOOPS}
    for _, name in kit.rounds(LOOPS, asked.rounds):
        with tempfile.TemporaryDirectory(prefix="djinnload-null-") as folder:
            seen[name].append(_measure(Path(folder), LOOPS[name], asked.seconds))
    figures = {
        name: {key: kit.middle([each[key] for each in found]) for key in found[0]}
        for name, found in seen.items()
    }
    title = f"in-process null target, all columns, medians of {asked.rounds} rounds"
    head = ["loop", "requests/s", "CPU µs/request", "cores"]
    kit.show(title, head, [[name, *row.values()] for name, row in figures.items()])
    kit.save("null_target", figures, about, quick=asked.quick)


def _measure(folder: Path, options: list, seconds: float) -> dict:
    argv = peers.python("generator.py", "null", folder, "--seconds", seconds, *options)
    with peers.Client(argv) as client:
        cell = peers.cell_of(client, 300)
    probes = read_probes(cell)
    used = probes.filter(pc.equal(probes["name"].cast("string"), "cpu_ns"))
    at, cpu = used["t_ns"].to_numpy(), used["value"].to_numpy()
    done = read_samples(cell)["done_ns"].to_numpy()
    count = int(((done > at[0]) & (done <= at[-1])).sum())
    took = at[-1] - at[0]
    spent = cpu[-1] - cpu[0]
    return {
        "per_s": count / took * 1e9,
        "cpu_us": spent / count / 1000,
        "cores": spent / took,
    }


if __name__ == "__main__":
    main()
