"""What a second core gives: `--workers 2` beside one worker, null target, at saturation.

A closed loop of 64 users without think time against the in-process null target, by the
real command in processes of its own, alternating. Requests/s are the rows done within
measure; starting processes and folding are not in them. The engine's, the recorder's
and the loop's CPU is: n workers want n cores that nobody else uses.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import kit
import pyarrow.compute as pc

from djinnload.reading.files import read_json, read_probes, read_samples

SCENARIO = """
verify = {{ share = 0, at_least = 0 }}

[scenario]
name = "saturated"
warmup = "1s"
duration = "{seconds}s"
max_in_flight = 1000

[target]
use = "null"

[[population]]
name = "users"
users = 64
workload = {{ use = "echo" }}
"""


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--quick", action="store_true")
    given.add_argument("--rounds", type=int, default=7)
    given.add_argument("--seconds", type=int, default=5)
    given.add_argument("--workers", type=int, default=2)
    asked = given.parse_args()
    if asked.quick:
        asked.rounds, asked.seconds = 1, 2
    about = kit.machine()
    seen: dict[int, list[dict]] = {1: [], asked.workers: []}
    for _, workers in kit.rounds(seen, asked.rounds):
        seen[workers].append(_measure(workers, asked.seconds))
    columns = {
        n: {key: kit.middle([each[key] for each in found]) for key in found[0]}
        for n, found in seen.items()
    }
    rates = [[each["per_s"] for each in seen[n]] for n in (asked.workers, 1)]
    ratio = kit.ratio(*rates)
    title = f"null target at saturation, medians of {asked.rounds} pairs"
    head = ["workers", "requests/s", "CPU µs/request", "cores of the workers"]
    kit.show(title, head, [[str(n), *row.values()] for n, row in columns.items()])
    print(f"\n{asked.workers} workers ÷ one: {ratio:.2f}")
    figures = {"workers": asked.workers, "ratio": ratio, "columns": columns}
    kit.save("workers", figures, about, quick=asked.quick)


def _measure(workers: int, seconds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="djinnload-workers-") as folder:
        scenario = Path(folder) / "saturated.toml"
        scenario.write_text(SCENARIO.format(seconds=seconds))
        argv = [sys.executable, "-m", "djinnload", "run", scenario, "--quiet"]
        argv += ["--workers", str(workers), "--out", folder]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        # Saturated: void or not says nothing here; 0 to 4 but 2 and 3 have samples.
        assert done.returncode in {0, 1, 4}, done.stderr
        (cell,) = Path(folder).glob("saturated/*/cells/all/default/r00")
        return _figures(cell)


def _figures(cell: Path) -> dict[str, float]:
    window = read_json(cell / "manifest.json")["window"]
    begin, end = window["begin_ns"], window["end_ns"]
    done = read_samples(cell)["done_ns"].to_numpy()
    count = int(((done >= begin) & (done < end)).sum())
    probes = read_probes(cell)
    used = probes.filter(pc.equal(probes["name"].cast("string"), "cpu_ns"))
    spent = 0.0
    for device in set(used["device"].to_pylist()):
        mine = used.filter(pc.equal(used["device"].cast("string"), device))
        values = mine["value"].to_numpy()
        spent += float(values.max() - values.min())
    return {
        "per_s": count / (end - begin) * 1e9,
        "cpu_us": spent / count / 1000,
        "cores": spent / (end - begin),
    }


if __name__ == "__main__":
    main()
