"""Runs inside the loop of others: told of, cancelled, and in a notebook's cell."""

import subprocess
import sys

import pytest

from command_kit import environment
from djinnload.reading.files import read_json
from djinnload.result import Result

TEXT = """
target = { use = "null" }
[scenario]
name = "cells"
warmup = "100ms"
duration = "DURATION"
repeats = 2
[[population]]
name = "chat"
arrival = { process = "constant", rate = "200/s" }
workload = { use = "echo" }
"""
CANCELLED = """
import asyncio, sys
from pathlib import Path
import djinnload, psutil
async def main():
    measuring, path = asyncio.Event(), []
    def told(progress):
        path[:] = [progress.path]
        chat = progress.populations.get("chat")
        if progress.phase == "measure" and chat and chat.n > 100:
            measuring.set()
    run = djinnload.run(Path("s.toml"), on_progress=told, isolate=ISOLATE)
    task = asyncio.create_task(run)
    ready = asyncio.create_task(measuring.wait())
    await asyncio.wait([ready, task], return_when=asyncio.FIRST_COMPLETED)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        print(path[0])
    assert not asyncio.all_tasks() - {asyncio.current_task()}
asyncio.run(main())
assert not psutil.Process().children(), psutil.Process().children()
"""
NOTEBOOK = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell('''
import djinnload
seen = []
result = await djinnload.run("s.toml", out="results", on_progress=seen.append)
''').raise_error()
result, seen = (shell.user_ns[name] for name in ("result", "seen"))
shown, _ = shell.display_formatter.format(result)
print(shown["text/html"])
print(shown["text/plain"])
samples = result.samples()
assert type(samples).__module__ == "pyarrow.lib"
assert {"all/default/r00", "all/default/r01"} <= {each.cell for each in seen}
assert "measure" in {each.phase for each in seen}
assert max(each.populations["chat"].n for each in seen if each.populations) == 200
assert samples.num_rows == 2 * 220, samples.num_rows
"""


def ran(script, cwd, duration):
    (cwd / "s.toml").write_text(TEXT.replace("DURATION", duration))
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=cwd, env=environment(), capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.wallclock
@pytest.mark.parametrize("isolate", [False, True])
def test_a_cancelled_task_leaves_a_run_that_can_be_read(tmp_path, isolate):
    script = CANCELLED.replace("ISOLATE", str(isolate))
    path = tmp_path / ran(script, tmp_path, "60s").strip()
    root = read_json(path / "manifest.json")
    assert (root["complete"], root["interrupted"], root["error"]) == (False, True, None)
    found = Result.of(path)
    assert (found.exit_code, found.summary["interrupted"]) == (130, True)
    assert [cell["status"] for cell in found.cells] == ["failed", "missing"]
    rows = [r for r in found.samples().to_pylist() if r["phase"] == "measure"]
    assert len(rows) > 100
    assert {row["outcome"] for row in rows} <= {"ok", "cancelled"}
    cell = read_json(path / found.cells[0]["path"] / "summary.json")
    assert cell["populations"]["chat"]["outcomes"]["ok"] > 100


@pytest.mark.wallclock
def test_a_result_shows_itself_in_a_notebook(tmp_path):
    said = ran(NOTEBOOK, tmp_path, "1s")
    assert "<td>default</td><td>all</td><td>chat</td><td>400</td>" in said
    assert "Result('results/cells/" in said
    assert len(said) < 2000
