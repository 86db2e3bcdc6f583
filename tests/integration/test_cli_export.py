"""`--export legacy`, as a command: of a run, and of its directory again."""

import pytest

from command_kit import ACCEPT_NOISE, document, results, run_command

SWEEP = """
[scenario]
name = "users"
experiment = "4.1"
warmup = "0s"
duration = "600ms"
grace = "1s"
[target]
use = "null"
[[population]]
name = "chat"
users = 1
arrival = { process = "constant", rate = "50/s", per = "user" }
workload = { use = "echo" }
[[sweep]]
name = "users"
path = "population.chat.users"
values = [1, 2]
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    (folder / "s.toml").write_text(SWEEP, "utf-8")
    said = run_command("run", "s.toml", "--export", "legacy", *ACCEPT_NOISE, cwd=folder)
    assert said.returncode == 0, said.stdout + said.stderr
    return results(folder / "results"), said


def test_a_run_writes_them_and_report_again(done):
    run, said = done
    path = run / "legacy" / "default.json"
    assert str(path.relative_to(run.parent.parent.parent)) in said.stdout
    first = document(path)
    assert [each["concurrency"] for each in first["results"]] == [1, 2]
    assert first["results"][1]["requests_total"] == 60
    assert first["results"][1]["efficiency_pct"] == pytest.approx(100, abs=5)
    path.unlink()
    again = run_command("report", run, "--export", "legacy", cwd=run)
    assert again.returncode == 0, again.stderr
    assert document(path) == first


def test_it_is_refused_before_a_run_that_has_none(tmp_path):
    text = SWEEP.replace('experiment = "4.1"', "")
    (tmp_path / "s.toml").write_text(text, "utf-8")
    said = run_command("run", "s.toml", "--export", "legacy", cwd=tmp_path)
    assert said.returncode == 2
    assert "of no experiment that has legacy files" in said.stderr
    assert not (tmp_path / "results").exists()
