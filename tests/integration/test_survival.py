"""What a run leaves when it is killed at any moment, or when its disk is full."""

import resource
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from command_kit import (  # tests/, by conftest.py
    ACCEPT_NOISE,
    DJINNLOAD,
    ECHO,
    document,
    environment,
    results,
    run_command,
)
from djinnload import cli
from djinnload.clock import monotonic_ns
from djinnload.recording.recorder import read_samples
from djinnload.units import MS, SECOND

pytestmark = pytest.mark.wallclock

KILLS, AT_ONCE, SEED = 20, 5, 20261125
CELL = "cells/all/default/r00"
#: Some die before anything is measured, most while it is.
SINCE = ("manifest.json", *(f"{CELL}/samples/*",) * 3)
MOUNT = shutil.which("mount") or "mount"
ENDLESS = (
    ECHO.replace('duration = "1s"', 'duration = "1h"') + '\n[target]\nuse = "null"\n'
)


def killed(cwd, moments):
    """Start a run a moment, (file, seconds after it is there); kill each; say when."""
    for number in range(len(moments)):
        (cwd / str(number)).mkdir(parents=True)
        (cwd / str(number) / "s.toml").write_text(ENDLESS)
    words = [*DJINNLOAD, "run", "s.toml", "--out", "out", "--quiet"]
    running = {
        number: subprocess.Popen(words, cwd=cwd / str(number), env=environment(),
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for number in range(len(moments))
    }  # fmt: skip
    begun, ended = {}, {}
    try:
        end = time.monotonic() + 60
        while len(ended) < len(moments):
            assert time.monotonic() < end, "a run never began"
            for number in running.keys() - ended.keys():
                since, after_s = moments[number]
                if any((cwd / str(number)).glob(f"out/*/*/{since}")):
                    begun.setdefault(number, time.monotonic())
                if time.monotonic() - begun.get(number, 1e18) >= after_s:
                    assert running[number].poll() is None, "it ended by itself"
                    running[number].kill()
                    ended[number] = monotonic_ns()
            time.sleep(0.002)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return [(results(cwd / str(k) / "out"), ended[k]) for k in range(len(moments))]


@pytest.mark.timeout(300)
def test_killed_at_any_moment_a_run_can_be_read_but_for_its_last_second(
    tmp_path, capsys
):
    rng, n_rows = Random(SEED), 0
    for batch in range(KILLS // AT_ONCE):
        moments = [(rng.choice(SINCE), rng.uniform(0, 3)) for _ in range(AT_ONCE)]
        for run, killed_ns in killed(tmp_path / str(batch), moments):
            # In this process: starting one takes longer than the report.
            assert cli.invoke(["report", str(run)]) == 0, capsys.readouterr()
            assert "INCOMPLETE" in capsys.readouterr().out
            assert (run / "report.html").stat().st_size
            n_rows += check_rows(run, killed_ns)
    assert n_rows > 100 * KILLS / 4  # most were killed while they measured


def check_rows(run, killed_ns):
    """No row is missing but those of the last second; return how many there are."""
    cell = run / CELL
    if not (cell / "manifest.json").exists():
        return 0
    window = document(cell / "manifest.json").get("window")
    samples = read_samples(cell)
    assert samples["seq"].to_pylist() == list(range(samples.num_rows))
    if window is not None:
        first_due = window["begin_ns"] - window["warmup_ns"]
        last = max(samples["done_ns"].to_pylist(), default=first_due)
        assert killed_ns - last <= SECOND
        # Each 10 ms one was due.
        assert samples.num_rows >= (last - first_due) / (10 * MS) - 1
    return samples.num_rows


@contextmanager
def small_disk(path):
    """A disk of 1.2 MB at *path*; skips the test where nothing may be mounted."""
    path.mkdir()
    words = [MOUNT, "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(path)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"there is no mount: {error}")
    if done.returncode:
        pytest.skip(f"may not mount a tmpfs: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([shutil.which("umount"), str(path)], check=True)


def fast(cwd):
    text = ENDLESS.replace('"100/s"', '"2000/s"')
    (cwd / "s.toml").write_text(text)


def filled(cwd, out, **options):
    """Run until the disk is full; return what is said on stderr."""
    fast(cwd)
    done = subprocess.run(
        [*DJINNLOAD, "run", "s.toml", "--out", str(out), "--quiet", *ACCEPT_NOISE],
        cwd=cwd, env=environment(), capture_output=True, text=True, timeout=100,
        check=False, **options,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "djinnload itself failed" not in done.stderr
    assert "what was written is readable" in done.stderr
    return done.stderr


def test_a_full_disk_ends_the_run_and_costs_no_sample_before(tmp_path):
    with small_disk(tmp_path / "disk"):
        began_ns = monotonic_ns()  # of an hour
        said = filled(tmp_path, tmp_path / "disk")
        assert monotonic_ns() - began_ns < 90 * SECOND
        assert "cannot write samples" in said
        assert "No space left on device" in said
        run = results(tmp_path / "disk")
        samples = read_samples(run / CELL)
        assert samples.num_rows > 1000
        assert samples["seq"].to_pylist() == list(range(samples.num_rows))
        # With some room its directory can be reported as any other.
        subprocess.run(
            [MOUNT, "-o", "remount,size=40m", str(tmp_path / "disk")], check=True
        )
        done = run_command("report", run, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"{samples.num_rows:,}" in done.stdout


def test_a_file_that_may_not_grow_ends_the_run_likewise(tmp_path):
    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, 900_000))

    assert "File too large" in filled(tmp_path, "out", preexec_fn=limited)
    run = results(tmp_path / "out")
    manifest = document(run / CELL / "manifest.json")
    assert not manifest["complete"]
    samples = read_samples(run / CELL)
    last = max(samples["done_ns"].to_pylist())
    # It ended soon after: within the second of the rows that were lost, and a look.
    assert manifest["window"]["finished_ns"] - last < 3 * SECOND
    assert Path(run / "report.html").stat().st_size
