"""A plugin that breaks its contract: named, and the others' samples are kept."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from djinnload.reading.files import read_samples

MODULE = """
import time
from msgspec import Struct
from djinnload.spi import Request, Tensor

X = Tensor("x", (2,), "uint8", b"ab")


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    after: int = 5


class Base:
    Options = Options

    def __init__(self, options, assets):
        assets.model("echo")
        self.after = options.after

    def session(self, session):
        yield Request("echo", {"x": X})
        if session.index >= self.after:
            yield from self.misbehave()


class Raises(Base):
    def misbehave(self):
        raise RuntimeError("I have gone")
        yield


class Nonsense(Base):
    def misbehave(self):
        yield "hello"


class Endless(Base):
    def misbehave(self):
        while True:
            yield Request("echo", {"x": X})


class Blocks(Base):
    def misbehave(self):
        time.sleep(0.03)
        return
        yield


class Refuses(Base):
    def __init__(self, options, assets):
        raise ValueError("after must be a prime")


class Breaks(Base):
    def __init__(self, options, assets):
        raise KeyError("after")
"""

KINDS = ("Raises", "Nonsense", "Endless", "Blocks", "Refuses", "Breaks")

SCENARIO = """
[scenario]
name = "two"
duration = "2s"
warmup = "0s"
grace = "1s"
[target]
use = "null"
[[population]]
name = "good"
arrival = {{ process = "constant", rate = "100/s" }}
workload = {{ use = "echo" }}
[[population]]
name = "bad"
arrival = {{ process = "constant", rate = "20/s" }}
workload = {{ use = "{use}" }}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder for PYTHONPATH in which a package with bad plugins is installed."""
    root = tmp_path_factory.mktemp("site")
    (root / "djinnload_bad.py").write_text(textwrap.dedent(MODULE), encoding="utf-8")
    info = root / "djinnload_bad-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: djinnload-bad\nVersion: 1.0\n", encoding="utf-8"
    )
    lines = [f"{kind.lower()} = djinnload_bad:{kind}" for kind in KINDS]
    lines += ["gone = djinnload_nowhere:Gone", "echo = djinnload_bad:Raises"]
    (info / "entry_points.txt").write_text(
        "\n".join(["[djinnload.workloads]", *lines]), encoding="utf-8"
    )
    return root


def command(site, tmp_path, *argv, use):
    path = tmp_path / "two.toml"
    path.write_text(SCENARIO.format(use=use), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "djinnload", argv[0], str(path), *argv[1:]],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def without_double(site):
    """The same, less the claim to the name echo."""
    path = site / "djinnload_bad-1.0.dist-info" / "entry_points.txt"
    text = path.read_text(encoding="utf-8").replace(
        "echo = djinnload_bad:Raises", "other = djinnload_bad:Raises"
    )
    path.write_text(text, encoding="utf-8")


def test_a_name_that_two_packages_claim(site, tmp_path):
    done = command(site, tmp_path, "check", use="raises")
    assert done.returncode == 2
    assert "$.population[0] (good).workload.use" in done.stderr
    assert "djinnload-bad 1.0 (djinnload_bad:Raises)" in done.stderr
    assert "uninstall one of them" in done.stderr
    without_double(site)


@pytest.mark.parametrize(
    ("use", "code", "says"),
    [
        ("refuses", 2, "$.population[1] (bad).workload: after must be a prime"),
        ("breaks", 3, "djinnload.workloads: breaks: could not be built: KeyError"),
        ("gone", 3, "djinnload_nowhere:Gone of djinnload-bad 1.0 cannot be imported"),
    ],
)
def test_what_check_can_know(site, tmp_path, use, code, says):
    without_double(site)
    for verb in ("check", "run"):
        done = command(site, tmp_path, verb, use=use)
        assert done.returncode == code, done.stderr
        assert says in done.stderr.replace("\n", " ")
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("use", "says"),
    [
        ("raises", "djinnload.workloads: raises: session() raised RuntimeError"),
        ("nonsense", "djinnload.workloads: nonsense: session() yielded str"),
    ],
)
def test_the_samples_of_the_others_are_kept(site, tmp_path, use, says):
    without_double(site)
    out = tmp_path / "out"
    done = command(site, tmp_path, "run", "--out", str(out), use=use)
    assert done.returncode == 3, done.stderr
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    rows = rows_of(out)
    assert sum(row["population"] == "good" for row in rows) >= 10
    assert sum(row["population"] == "bad" for row in rows) >= 5


@pytest.mark.parametrize("use", ["endless", "blocks"])
def test_a_run_comes_to_its_end(site, tmp_path, use):
    """A session without an end ends with the run; one that blocks is told of."""
    without_double(site)
    out = tmp_path / "out"
    done = command(site, tmp_path, "run", "--out", str(out), use=use)
    assert done.returncode in {0, 4}, done.stderr
    rows = rows_of(out)
    assert sum(row["population"] == "good" for row in rows) >= 190
    if use == "blocks":
        (path,) = out.glob("two/*/summary.json")
        text = json.loads(path.read_text(encoding="utf-8"))
        codes = {each["code"] for each in text["verdict"]["reasons"]}
        assert "LOOP_STALL" in codes


def rows_of(out):
    (cell,) = out.glob("two/*/cells/all/default/r00")
    return read_samples(cell).to_pylist()
