"""Everything, one after the other, and what came of it beside what was wanted.

`make bench` takes about two and a half hours, of which `long_run` one; `make bench-quick`
two minutes, too short for any figure to be quoted.
"""

import argparse
import subprocess
import sys
import time

import goals
import kit

#: Each is a file of this folder that takes --quick; the longest comes last.
BENCHMARKS = (
    "engine",
    "null_target",
    "closed_loop",
    "open_loop",
    "tensors",
    "recording",
    "workers",
    "live_view",
    "coordinated_omission",
    "long_run",
)


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--quick", action="store_true")
    given.add_argument("--only", nargs="+", choices=BENCHMARKS, default=BENCHMARKS)
    asked = given.parse_args()
    failed = []
    for name in asked.only:
        script = kit.HERE / f"{name}.py"
        if not script.exists():
            continue
        began = time.monotonic()
        print(f"\n== {name}", flush=True)
        code = subprocess.run(
            [sys.executable, script, *["--quick"] * asked.quick], check=False
        ).returncode
        print(f"   {time.monotonic() - began:.0f} s", flush=True)
        if code:
            failed.append(name)
    goals.show(quick=asked.quick)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
