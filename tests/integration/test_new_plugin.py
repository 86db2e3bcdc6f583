"""``new-plugin``: what it writes is installed, found and passes its own tests."""

import os
import subprocess
import sys

import pytest

from djinnload.cli import invoke


def installed(root, site):
    """Install a plugin beside the environment, as pip would into it."""
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "-q", "--no-deps"),
            *("--no-build-isolation", "--disable-pip-version-check"),
            *("--root-user-action", "ignore", "--target", str(site), str(root)),
        ],
        check=True,
        timeout=100,
    )
    return {**os.environ, "PYTHONPATH": str(site)}


@pytest.mark.parametrize("kind", ["workload", "arrival", "target"])
def test_a_skeleton_passes_its_own_tests(tmp_path, capsys, kind):
    name = f"my_{kind}"
    assert invoke(["new-plugin", name, "--kind", kind, "--in", str(tmp_path)]) == 0
    root = tmp_path / f"djinnload-my-{kind}"
    assert f"made {root}" in capsys.readouterr().out
    environment = installed(root, tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(root)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if kind == "workload":
        listed = subprocess.run(
            [sys.executable, "-m", "djinnload", "workloads", name],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert "whole number ≥ 1" in listed.stdout


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["echo"], "djinnload has the workload echo already"),
        (["Bad-Name"], "names no plugin"),
        (["poisson", "--kind", "arrival"], "has the arrival poisson already"),
        (["fine", "--in", "/nowhere"], "does not exist"),
        (["fine", "--kind", "probe"], "'probe' is not one of"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, capsys, argv, says):
    monkeypatch.chdir(tmp_path)
    assert invoke(["new-plugin", *argv]) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_left_alone(tmp_path, capsys):
    (tmp_path / "djinnload-mine").mkdir()
    assert invoke(["new-plugin", "mine", "--in", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert list((tmp_path / "djinnload-mine").iterdir()) == []
