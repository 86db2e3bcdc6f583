"""djinnload itself, by its public `run`: a scenario written from the arguments."""

import argparse
import os
import sys
from pathlib import Path

import null_framed

import djinnload
from djinnload.recording import link

SCENARIO = """
precise = {precise}
verify = {{ share = 0.0, at_least = 0 }}
[scenario]
name = "bench"
seed = {seed}
duration = "{seconds:g}s"
warmup = "0s"
[target]
use = "{use}"
[[population]]
name = "load"
deadline = "{deadline}"
{load}
workload = {{ use = "echo", payload = "{payload}B", requests = {requests} }}
"""


def scenario(asked) -> str:
    """Return what *asked* for as TOML; a closed loop without a rate."""
    load = f"users = {asked.connections}"
    if asked.rate:
        load = f'arrival = {{ process = "{asked.process}", rate = "{asked.rate:g}/s" }}'
    return SCENARIO.format(
        precise=str(asked.precise).lower(),
        seed=asked.seed,
        seconds=asked.seconds,
        use="null" if asked.variant == "null" else "djinn",
        deadline=asked.deadline,
        load=load,
        payload=asked.payload,
        requests=asked.requests,
    )


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("variant", choices=["frame", "execute", "djinn", "null"])
    given.add_argument("out", type=Path)
    given.add_argument("--port", type=int, default=0)
    given.add_argument("--connections", type=int, default=64)
    given.add_argument("--rate", type=float, default=0)
    given.add_argument("--process", default="constant")
    given.add_argument("--payload", type=int, default=64)
    given.add_argument("--requests", type=int, default=1, help="in a session")
    given.add_argument("--deadline", default="1s")
    given.add_argument("--seconds", type=float, default=60)
    given.add_argument("--seed", type=int, default=1)
    given.add_argument("--precise", action="store_true")
    given.add_argument("--core", type=int, help="keep to it, but for who writes")
    asked = given.parse_args()
    if asked.core is not None:
        link.shared()
        os.sched_setaffinity(0, {asked.core})
    target = None
    if asked.variant == "djinn":
        target = f"127.0.0.1:{asked.port}"
    elif asked.variant != "null":
        target = null_framed.NullFramed(asked.port, whole=asked.variant == "execute")
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / "bench.toml"
    path.write_text(scenario(asked))
    result = djinnload.run_sync(path, out=asked.out, target=target)
    # A void or missed verdict is none of ours: another tool judges here.
    if result.error:
        print(f"error: {result.error}")
        sys.exit(3)
    print(result.path)


if __name__ == "__main__":
    main()
