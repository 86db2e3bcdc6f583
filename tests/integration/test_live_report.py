"""`djinnload report` on a run that is under way in another process."""

import signal

import pytest

from command_kit import (  # tests/, by conftest.py
    ACCEPT_NOISE,
    ECHO,
    document,
    results,
    run_command,
    started,
    until,
)
from djinnload.recording.recorder import read_samples


@pytest.fixture
def scenario(tmp_path):
    text = ECHO.replace('duration = "1s"', 'duration = "60s"')
    (tmp_path / "long.toml").write_text(text)
    return tmp_path


def rows(cwd):
    found = cwd.glob("out/*/*/cells/all/default/r00")
    return sum(read_samples(path).num_rows for path in found)


@pytest.mark.wallclock
def test_a_report_of_a_run_under_way_disturbs_nothing(scenario):
    arguments = ("run", "long.toml", "--out", "out", *ACCEPT_NOISE)
    with started(*arguments, cwd=scenario) as process:
        until(lambda: rows(scenario) > 100)
        run = results(scenario / "out")
        before = document(run / "manifest.json")
        shown = run_command("report", run, cwd=scenario)
        assert process.poll() is None
        assert shown.returncode == 0, shown.stderr
        assert "all/default/r00 broke off after" in " ".join(shown.stdout.split())
        assert (run / "report.html").stat().st_size
        assert document(run / "manifest.json") == before
        # It goes on as before, and comes to its own end.
        seen = rows(scenario)
        until(lambda: rows(scenario) > seen + 100)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    summary = document(run / "summary.json")
    assert (summary["exit_code"], summary["complete"]) == (130, True)
    assert [each["status"] for each in summary["cells"]] != ["failed"]
    cell = run / "cells/all/default/r00"
    seqs = read_samples(cell)["seq"].to_pylist()
    assert sorted(seqs) == list(range(len(seqs)))
    counted = document(cell / "summary.json")["populations"]["chat"]
    assert counted["sessions"]["started"] > seen / 2
    assert document(run / "index.json")["cells"][0]["status"] != "failed"
