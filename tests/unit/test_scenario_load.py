"""Scenario files: found, read, kept as they were; values of the command line."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from djinnload.errors import ScenarioError
from djinnload.scenarios.load import load, loads, parse_set, shipped
from djinnload.scenarios.rates import of_capacity

BASE = """
[scenario]
name = "s"
duration = "1s"

[[population]]
name = "p"
users = 1
workload = { use = "echo" }
"""


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[scenario]\nname = bad\n", "f.toml:2:8"),
        ("[scenario\n", "f.toml:1:10"),
        ('a = "b', "f.toml:1:7"),
        ("a = 1\na = 2\n", "f.toml:2:6"),
    ],
)
def test_no_toml(text, where):
    with pytest.raises(ScenarioError) as caught:
        loads(text, path="f.toml")
    assert caught.value.path == where
    _, line, column = where.split(":")
    assert f"line {line}, column {column}" in caught.value.reason


def test_no_file(tmp_path):
    with pytest.raises(ScenarioError, match="did you mean 'qos_mix'"):
        load("qos_mx")
    with pytest.raises(ScenarioError, match="no such file"):
        load(tmp_path / "x.toml")
    with pytest.raises(ScenarioError, match="is a directory"):
        load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe9"')
    with pytest.raises(ScenarioError, match="UTF-8"):
        load(tmp_path / "latin.toml")


def test_a_file_keeps_what_it_was(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text(BASE)
    found = load(file)
    assert (found.text, found.path) == (BASE, str(file))
    assert len(found.sha256) == 64
    changed = found.replace({"scenario.seed": 9})
    assert (changed.text, changed.sha256) == (found.text, found.sha256)
    assert (changed.scenario.seed, changed.changes) == (9, {"scenario.seed": 9})
    assert found.scenario.seed == 1, "replace changes a copy"
    assert load(str(file)) == found


def test_the_hash_is_that_of_the_bytes(tmp_path):
    data = BASE.replace("\n", "\r\n").encode()
    (tmp_path / "s.toml").write_bytes(data)
    assert load(tmp_path / "s.toml").sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", sorted(shipped()))
def test_what_ships_is_right(name):
    found = load(name)
    assert found.scenario.name == name
    assert Path(found.path).stem == name


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("a.b=8", "a.b", 8),
        ("a.b = 2.5", "a.b", 2.5),
        ("a=true", "a", True),
        ("a=10s", "a", "10s"),
        ('a="10s"', "a", "10s"),
        ("a=0.2 of capacity", "a", "0.2 of capacity"),
        ('a=["x", "y"]', "a", ["x", "y"]),
        ("a={ use = 'x' }", "a", {"use": "x"}),
        ("a=b=c", "a", "b=c"),
        ("a=", "a", ""),
        ("a=1\nb=2", "a", "1\nb=2"),
    ],
)
def test_values_of_the_command_line(text, path, value):
    assert parse_set(text) == (path, value)


@pytest.mark.parametrize("text", ["", "a", "=3", " = 3"])
def test_values_of_the_command_line_that_are_none(text):
    with pytest.raises(ScenarioError, match="PATH=VALUE"):
        parse_set(text)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("0.2 of capacity", 0.2),
        (" 1e-3  of  capacity ", 0.001),
        ("20/s", None),
        (0.2, None),
        ("capacities", None),
    ],
)
def test_parts_of_capacity(value, part):
    assert of_capacity(value) == part


def test_reading_scenarios_is_light():
    code = (
        "import sys, djinnload.scenarios.load, djinnload.scenarios.cells\n"
        "print({'numpy', 'pyarrow', 'torch', 'scipy', 'anyio'} & set(sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "set()"
