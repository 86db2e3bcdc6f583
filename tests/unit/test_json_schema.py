"""The JSON Schema of scenario files, held against what djinnload itself takes."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from djinnload import json_schema, registry, units
from djinnload.cli import invoke
from djinnload.errors import ScenarioError
from djinnload.options import described
from djinnload.plan import Workshop, plan
from djinnload.scenarios.cells import cells
from djinnload.scenarios.load import loads
from djinnload.workloads.echo import EchoOptions

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted((ROOT / "scenarios").glob("*.toml"))

MINIMAL = """
[scenario]
name = "one"
duration = "1s"
[[population]]
name = "chat"
users = 1
workload = { use = "echo" }
"""


@pytest.fixture(scope="module")
def validator():
    found, wrong = json_schema.scenario_schema()
    assert wrong == []
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_what_ships_is_valid(validator, path):
    validator.validate(tomllib.loads(path.read_text(encoding="utf-8")))


def test_the_schema_that_ships_is_of_this_source():
    """If it is not: `djinnload schema --without-plugins --out scenarios/schema.json`."""
    found, _ = json_schema.scenario_schema("djinnload")
    shipped = (ROOT / "scenarios/schema.json").read_text(encoding="utf-8")
    assert json.loads(shipped) == found


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_what_ships_names_its_schema_in_its_first_line(path):
    line = path.read_text(encoding="utf-8").splitlines()[0]
    assert line == "#:schema ./schema.json"
    assert (path.parent / line.partition(" ")[2]).is_file()


def linted(*paths):
    """What an editor's own checker says, which reads the schema from the first line."""
    taplo = Path(sys.executable).with_name("taplo")
    return subprocess.run(
        [taplo, "lint", *paths], capture_output=True, text=True, timeout=60, check=False
    )


def test_an_editor_takes_what_ships_and_finds_what_is_wrong(tmp_path):
    done = linted(*SCENARIOS)
    assert done.returncode == 0, done.stderr
    invoke(["schema", "--out", str(tmp_path / "schema.json")])
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(f"#:schema ./schema.json\n{MINIMAL}wamup = 1\n")
    done = linted(wrong)
    assert done.returncode == 1
    assert "wamup" in done.stderr


def ours(text):
    """Whether djinnload itself takes the scenario."""
    try:
        plan(cells(loads(text))[0], workshop=Workshop())
    except ScenarioError:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    [
        MINIMAL,
        MINIMAL.replace('"1s"', '"1.5min"'),
        MINIMAL.replace('"echo"', '"echo", payload = "2KiB", think = "3ms"'),
        MINIMAL.replace("users = 1", 'arrival = {process = "poisson", rate = "3/min"}'),
        MINIMAL
        + '[[population]]\nname = "b"\nusers = 2\n'
        + 'think = { distribution = "exponential", mean = "1s" }\n'
        + 'workload = { use = "echo" }\n',
    ],
)
def test_both_take(validator, text):
    assert ours(text)
    assert validator.is_valid(tomllib.loads(text))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('duration = "1s"', 'durations = "1s"'),
        ('duration = "1s"', ""),
        ('"1s"', '"1 parsec"'),
        ('"1s"', "1"),
        ('"one"', '"One"'),
        ("users = 1", "users = 0"),
        ("users = 1", 'users = 1\nqos_class = "urgent"'),
        ('"echo"', '"echos"'),
        ('"echo"', '"echo", payloads = "1B"'),
        ('"echo"', '"echo", requests = "many"'),
        ("users = 1", 'arrival = { process = "poison", rate = "1/s" }'),
        ("users = 1", 'arrival = { process = "poisson", rate = "1s" }'),
        ("users = 1", 'arrival = { process = "poisson", pace = "1/s" }'),
    ],
)
def test_both_refuse(validator, old, new):
    text = MINIMAL.replace(old, new)
    assert text != MINIMAL
    assert not ours(text)
    assert not validator.is_valid(tomllib.loads(text))


def test_a_rate_may_be_a_part_of_capacity(validator):
    text = MINIMAL.replace(
        "users = 1", 'arrival = { process = "poisson", rate = "0.2 of capacity" }'
    )
    assert validator.is_valid(tomllib.loads(text))


def test_options_of_a_target_depend_on_the_target(validator):
    wrong = MINIMAL + '[target]\nuse = "null"\noptions = { nonsense = 1 }\n'
    assert not validator.is_valid(tomllib.loads(wrong))


def test_a_broken_plugin_is_told_and_left_out(monkeypatch, capsys):
    bad = registry.Entry("gone", "djinnload-gone", "1.0", "djinnload_gone:Gone")
    real = registry.entries

    def entries(group):
        return [*real(group), bad] if group == registry.WORKLOADS else real(group)

    monkeypatch.setattr(registry, "entries", entries)
    assert invoke(["schema"]) == 0
    out, err = capsys.readouterr()
    assert "left out: djinnload.workloads: gone" in err
    found = json.loads(out)
    text = MINIMAL.replace('"echo"', '"gone", anything = 3')
    assert jsonschema.Draft202012Validator(found).is_valid(tomllib.loads(text))
    assert invoke(["workloads"]) == 0
    assert "broken: there is no module djinnload_gone" in capsys.readouterr().out


def test_the_schema_goes_to_a_file(tmp_path, capsys):
    assert invoke(["schema", "--out", str(tmp_path / "s.json")]) == 0
    assert json.loads((tmp_path / "s.json").read_text())["$schema"]
    assert invoke(["schema", "--out", str(tmp_path / "no" / "s.json")]) == 3
    assert "cannot write the schema" in capsys.readouterr().err


def test_every_setting_is_described(validator):
    """In the shipped grammar: an editor shows a sentence for every key but names."""
    silent = [
        f"{name}.{key}"
        for name, each in validator.schema["$defs"].items()
        for key, value in each.get("properties", {}).items()
        if "description" not in value and key not in {"name", "use", "process", "per"}
    ]
    assert len(silent) < 40, silent


def test_workloads_shows_types_units_and_defaults(capsys):
    assert invoke(["workloads", "echo"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "size (64MiB, 1GB)" in lines["payload"]
    assert '"64B"' in lines["payload"]
    assert "Bytes of each request" in lines["payload"]
    assert "duration (10ms, 1.5s, 2min)" in lines["think"]
    assert "whole number ≥ 1" in lines["requests"]


def test_described_says_what_must_be_given():
    class Options(Struct):
        """Of nothing.

        Attributes:
            model: Which.
                It goes on.
        """

        model: str
        share: units.Share = units.Share(0.05)

    first, second = described(Options)
    assert (first.default, first.description) == ("", "Which. It goes on.")
    assert second.default == "0.05"
    assert described(EchoOptions)[1].type == "list of whole number ≥ 1"


@given(st.integers(0, 10**18))
def test_durations_are_written_exactly(ns):
    kept = units.Duration(ns)
    assert units.parse(units.Duration, units.text(kept)) == kept


@given(st.floats(1e-6, 1e9))
def test_rates_are_written_exactly(rate):
    kept = units.Hz(rate)
    assert units.parse(units.Hz, units.text(kept)) == pytest.approx(kept, rel=1e-15)
