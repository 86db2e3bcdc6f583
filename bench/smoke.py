"""Run every small scenario, one after the other, and print one table: `make smoke`."""

import json
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from rich.console import Console
from rich.table import Table

SCENARIOS = Path(__file__).resolve().parent.parent / "scenarios"
#: As for `make run`: an objective that is missed is a result too.
GOOD = (0, 1)


def main() -> int:
    """Return 0 if each scenario came to a verdict that can be trusted."""
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("scenario", "verdict", "exit code", "seconds"):
        table.add_column(name, justify="left" if name == "scenario" else "right")
    codes = []
    for path in sorted(SCENARIOS.glob("*_smoke.toml")):
        console.print(f"{path.stem} …")
        began = time.monotonic()
        code, verdict = smoke(path)
        codes.append(code)
        seconds = f"{time.monotonic() - began:.0f}"
        table.add_row(path.stem, verdict, str(code), seconds)
    console.print(table)
    return 0 if all(code in GOOD for code in codes) else 1


def smoke(path: Path) -> tuple[int, str]:
    """Run or search a scenario; return the exit code and the verdict in a word."""
    verb = "search" if "search" in tomllib.loads(path.read_text("utf-8")) else "run"
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        words = [verb, str(path), "--quiet", "--json", str(found)]
        done = subprocess.run([sys.executable, "-m", "djinnload", *words], check=False)
        if not found.exists():
            return done.returncode, "none"
        document = json.loads(found.read_text("utf-8"))
    verdict = document.get("verdict") or {}
    return done.returncode, str(verdict.get("status") or document.get("end"))


if __name__ == "__main__":
    sys.exit(main())
