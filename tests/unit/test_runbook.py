"""RUNBOOK.md: what a directory alone says of how to repeat its run."""

import json
import shutil
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from djinnload import documents, manifest
from djinnload.reading.files import write_json
from djinnload.reading.weights import weights
from djinnload.report import runbook
from djinnload.scenarios.cells import cells
from djinnload.scenarios.load import loads, parse_set
from djinnload.scenarios.text import literal
from djinnload.spi import Model

TEXT = """
[scenario]
name = "chat"
repeats = 2
duration = "1s"
[[population]]
name = "a"
users = 2
workload = { use = "echo" }
[[arm]]
name = "full"
[[arm]]
name = "blind"
judged = false
[[arm]]
name = "third"
"""


@pytest.fixture
def run(tmp_path):
    """A directory as a run of two of its arms would leave it."""
    scenario = loads(TEXT).replace({"scenario.seed": 7, "population.a.deadline": "5ms"})
    order = cells(scenario, ["full", "blind"])
    root = documents.root(scenario, order, ["LATE"])
    model = Model("gpt2-tiny", "GPT2LMHeadModel", {}, "float32", 7)
    root |= documents.asked({"policy": "qos"}, "127.0.0.1:5556", [model])
    root |= {
        "argv": ["/x/bin/djinnload", "run", "chat.toml", "--set", "a=b c"],
        "complete": True,
        "seconds": 151.4,
        "environment": {"GENIE_X": "a b", "DJINNLOAD_CACHE": "/here"},
        "anchor": {"wall_ns": 1_795_571_163_000_000_000},
        "devices": None,
        "source": {"commit": "c" * 40, "modified": True},
        "installed": {"numpy": "2.4.6", "mine": "1", "theirs": "2", "djinnload": "0.1"},
        "origins": {"mine": "file:///x", "theirs": "git+https://e.org/t@ab"},
    }
    entries = [documents.entry(cell, "done") | {"boot": "b0"} for cell in order]
    for each in entries:
        write_json(
            tmp_path / each["path"] / "manifest.json",
            {
                "arm": each["arm"],
                "inputs": {"a": {"sessions": 2, "requests": 2, "bytes": 9, "sha256": "5" * 64}},
                "proof": {
                    "kind": "Djinn",
                    "address": "127.0.0.1:5556",
                    "boot": "b0",
                    "settings": {"weights": "resident", "slots": 2},
                    "evidence": {
                        "slots": {"how": "launched", "value": 2},
                        "model": {"how": "echoed", "value": model.model_id},
                        "weights_sha256": {"how": "echoed", "value": "d" * 64},
                    },
                    "echoes": [{"n": 1, "value": {"behaviours": {"weights": "resident"}}}],
                },
                "server": {"command": ["python", "-m", "x y"], "environment": {"A": "1"}, "log": "server-b0.log"},
            },
        )  # fmt: skip
    write_json(tmp_path / "manifest.json", root)
    write_json(tmp_path / "index.json", documents.index(entries))
    summary = {
        "verdict": {"status": "void", "reasons": [{"code": "LATE"}]},
        "exit_code": 4,
    }
    write_json(tmp_path / "summary.json", summary)
    return tmp_path


def test_it_says_all_that_a_repeat_needs(run):
    text = runbook.write(run).read_text("utf-8")
    options = """--set 'scenario.seed=7' --set 'population.a.deadline="5ms"' --arm full --arm blind"""
    for said in (
        "VOID: this run is no evidence, neither for nor against. Reasons, which summary.json explains: LATE. Exit code 4.",
        "Begun 2026-11-25 01:46:03 UTC, took 2 min 31 s. Cells: 4 done.",
        f"(commit `{'c' * 40}`, with changes not committed)",
        "export GENIE_X='a b'",
        f"sha256sum scenario.toml                      # {loads(TEXT).sha256}",
        ".venv/bin/djinnload run scenario.toml --target 127.0.0.1:5556 "
        + options.replace("'scenario.seed=7'", "scenario.seed=7")
        + " --accept LATE --declare policy=qos",
        "It was run as `djinnload run chat.toml --set 'a=b c'`.",
        "| all/full/r00 | a | 2 | 2 | 9 | `" + "5" * 64,
        '| `population.a.deadline` | `"5ms"` |',
        "### blind (not judged)",
        "Answered by Djinn at `127.0.0.1:5556`, boot b0.",
        "| weights | `resident` | echoed |",
        "| slots | `2` | launched |",
        f"| `gpt2-tiny` | 7 | float32 | random | `{'d' * 64}` |",
        "| b0 | `python -m 'x y'` | `A=1` | [server-b0.log](server-b0.log) |",
        "numpy==2.4.6\n",
        "# mine 1: was installed from file:///x\n",
        "theirs @ git+https://e.org/t@ab\n",
        f"# djinnload 0.1, commit {'c' * 40}: install it from its repository\n",
    ):
        assert said in text
    assert "export DJINNLOAD_CACHE" not in text
    assert "### third" not in text


def test_the_same_directory_gives_the_same_bytes_wherever_it_lies(
    run, tmp_path_factory
):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "other-name"
    first = runbook.write(run).read_bytes()
    shutil.copytree(run, elsewhere)
    assert runbook.write(elsewhere).read_bytes() == first


@pytest.mark.parametrize(
    "gone", ["summary.json", "index.json", "manifest.json", "cells"]
)
def test_of_a_run_that_was_killed_it_says_what_there_is(run, gone):
    path = run / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    text = runbook.write(run).read_text("utf-8")
    assert text.startswith("# Runbook of ")
    assert ("There is no verdict." in text) == (gone == "summary.json")


def test_a_program_is_told_from_the_command(run):
    found = json.loads((run / "manifest.json").read_text())
    write_json(run / "manifest.json", found | {"argv": ["bench.py", "8"]})
    said = "`bench.py 8`, a program that called djinnload"
    assert said in runbook.write(run).read_text("utf-8")


def test_synthetic_runs_have_one_too(synthetic_run):
    assert "### qos" in runbook.write(synthetic_run).read_text("utf-8")


VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), inner),
    max_leaves=8,
)  # fmt: skip


@given(VALUES)
def test_a_literal_reads_back(value):
    assert tomllib.loads(f"x = {literal(value)}")["x"] == value
    assert parse_set(f"a.b={literal(value)}") == ("a.b", value)


def test_toml_has_no_none():
    with pytest.raises(TypeError, match="NoneType"):
        literal(None)


def test_weights_are_read_wherever_they_are_told():
    proof = {
        "evidence": {"weights_sha256": {"value": {"m": "1" * 64}}, "model": {"value": "m"}},
        "echoes": [{"value": {"model": "n", "weights_sha256": "2" * 64}}, {"value": None}],
    }  # fmt: skip
    assert list(weights({"proof": proof})) == [("m", "1" * 64), ("n", "2" * 64)]
    assert list(weights({})) == []


def test_what_is_installed_is_listed_exactly():
    found = manifest.installed()
    assert found["numpy"] == manifest.versions()["numpy"]
    listed = manifest.requirements(
        {"installed": found, "origins": manifest.origins(), "source": manifest.source()}
    )
    assert f"numpy=={found['numpy']}\n" in listed
    assert "\ndjinnload==" not in f"\n{listed}"


def test_only_what_no_index_has_keeps_its_origin(monkeypatch):
    class Installed:
        def __init__(self, name, told):
            self.name, self.version, self.told = name, "1", told

        def read_text(self, _):
            return self.told and json.dumps(self.told)

    every = [
        Installed("plain", None),
        Installed("Wheel_File", {"url": "file:///w.whl", "archive_info": {}}),
        Installed("remote", {"url": "https://e.org/w.whl", "archive_info": {}}),
        Installed("folder", {"url": "file:///f", "dir_info": {"editable": True}}),
        Installed("cloned", {"url": "https://e.org/r", "vcs_info": {"vcs": "git", "commit_id": "ab"}}),
    ]  # fmt: skip
    monkeypatch.setattr(manifest.metadata, "distributions", lambda: every)
    came = {
        "cloned": "git+https://e.org/r@ab",
        "folder": "file:///f",
        "remote": "https://e.org/w.whl",
    }
    assert manifest.origins() == came
    listed = manifest.requirements(
        {"installed": manifest.installed(), "origins": came}
    ).splitlines()
    assert listed == [
        "cloned @ git+https://e.org/r@ab",
        "# folder 1: was installed from file:///f",
        "plain==1",
        "remote @ https://e.org/w.whl",
        "wheel-file==1",
    ]


def test_a_search_is_repeated_as_one(run):
    (run / "search.json").write_text("{}", "utf-8")
    assert ".venv/bin/djinnload search scenario.toml" in runbook.write(run).read_text(
        "utf-8"
    )


def test_the_commit_of_a_checkout_is_known():
    found = manifest.source()
    assert found["commit"] is None or len(found["commit"]) == 40
    assert (found["commit"] is None) == (found["modified"] is None)
