"""`djinnload compare` on whole run directories, made without a server."""

import json
import shutil
import subprocess
import sys

import pytest

from djinnload.cli import invoke
from djinnload.recording.recorder import read_json, write_json


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_synthetic):
    """Run directories by name: base, other (arrival noise), slow (by 30 %), short."""
    out = tmp_path_factory.mktemp("compare")
    kinds = {
        "base": {},
        "other": {"seed": 500},
        "slow": {"slow": 1.3},
        "short": {"repeats": 2},
    }
    return {
        name: make_synthetic.write_run(out / name, fold=False, **kind)
        for name, kind in kinds.items()
    }


@pytest.fixture
def compare(made, tmp_path, capsys):
    def run(*words):
        to = tmp_path / "found.json"
        to.unlink(missing_ok=True)
        named = [str(made.get(word, word)) for word in words]
        code = invoke(["compare", *named, "--json", str(to)])
        found = json.loads(to.read_text()) if to.exists() else None
        assert found is None or found["exit_code"] == code
        told = capsys.readouterr()
        return code, found, told.out + told.err

    return run


@pytest.fixture
def changed(made, tmp_path):
    """A copy of the base run, one document changed."""

    def change(path, **keys):
        copy = shutil.copytree(made["base"], tmp_path / "changed")
        write_json(copy / path, read_json(copy / path) | keys)
        return copy

    return change


def test_the_same_with_other_arrivals_is_no_regression(compare):
    code, found, out = compare("other", "base", "--allow", "seed")
    assert code in (0, 4)
    assert found["allowed"] == ["seed"]
    assert "allowed difference: seed" in out
    assert {each["decision"] for each in found["comparisons"]} <= {
        "no regression",
        "undecided",
    }


def test_a_run_is_no_worse_than_itself(compare):
    code, found, out = compare("base", "base", "--metric", "p95(latency)")
    assert (code, found["decision"]) == (0, "no regression")
    assert found["metrics"] == ["p95(latency)"]
    assert "decision: NO REGRESSION" in out


def test_a_slower_run_is_a_regression_and_a_faster_one_is_not(compare):
    code, found, out = compare("slow", "base")
    assert (code, found["decision"]) == (1, "regression")
    assert "decision: REGRESSION" in out
    assert found["metrics"] == ["p95(latency)", "mean(latency)", "goodput"]
    code, found, _ = compare("base", "slow", "--metric", "p95(latency)")
    assert code == 0
    code, found, _ = compare(
        "slow", "base", "--metric", "p95(latency)", "--tolerance", "100%"
    )
    assert "regression" in {each["decision"] for each in found["comparisons"]}


def test_rows_have_the_shape_of_the_run_s_comparisons(compare, synthetic_run):
    (mine, *_) = read_json(synthetic_run / "summary.json")["comparisons"]
    _, found, _ = compare("slow", "base")
    each = found["comparisons"][0]
    assert set(each) == {*mine, "decision", "needs", "because"}
    assert {"decision", "exit_code", "differs", "allowed"} <= set(found)


def test_a_void_side_is_void_even_over_a_regression(compare, changed):
    void = changed("cells/all/qos/r02/manifest.json", dropped=3)
    code, found, out = compare("slow", void)
    assert (code, found["decision"]) == (4, "void")
    assert "DROPPED in all/qos/r02" in out


def test_another_host_needs_the_user_s_word(compare, changed):
    other = changed("manifest.json", host={"name": "elsewhere", "cores": 2})
    code, found, out = compare("slow", other)
    assert (code, found["decision"], found["comparisons"]) == (2, "not comparable", [])
    assert [each["key"] for each in found["differs"]] == ["host"]
    assert "host differs" in out
    assert "--allow host" in out
    assert compare("slow", other, "--allow", "host")[0] == 1


def test_arms_of_one_run(compare):
    words = ("base", "--arms", "qos,fcfs", "--metric", "p95(latency)")
    code, found, out = compare(*words)
    assert code == 1  # strict priority makes batch wait
    assert (found["a"]["arm"], found["b"]["arm"]) == ("qos", "fcfs")
    worse = [
        e["population"] for e in found["comparisons"] if e["decision"] == "regression"
    ]
    assert worse == ["batch"]
    code, _, out = compare("base", "--arms", "qos,lifo")
    assert code == 2
    assert "there are: all/fcfs, all/qos" in out


def test_few_repeats_are_compared_within_one_run(compare):
    code, found, out = compare("base", "short", "--metric", "mean(service)")
    assert code in (0, 4)
    assert "comparison within one run" in out
    assert "2, 3, 4" in found["comparisons"][0]["reasons"][-1]


def test_no_run_directory_is_an_error(compare, tmp_path):
    code, found, out = compare("base", tmp_path)
    assert (code, found) == (2, None)
    assert "holds no manifest.json" in out


def test_nothing_is_written_to_either_run(compare, made):
    compare("slow", "base")
    assert not list(made["base"].rglob("summary.json"))
    assert not list(made["slow"].rglob("*.hlog"))


def test_help_of_the_command_loads_no_numpy():
    code = "import sys; from djinnload.cli import invoke; invoke(['--help']); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_page_of_what_was_compared(made, compare, tmp_path):
    page = tmp_path / "page.html"
    code, _, out = compare("slow", "base", "--html", page)
    assert code == 1, out
    text = page.read_text()
    assert "<title>REGRESSION: synthetic · djinnload</title>" in text
    assert str(made["slow"]) in text
    compare("slow", "base", "--html", page)
    assert page.read_text() == text
    assert not list(made["slow"].glob("report.html"))


def test_the_page_of_two_arms_names_them(compare, tmp_path):
    page = tmp_path / "page.html"
    _, found, out = compare("base", "--arms", "qos,fcfs", "--html", page)
    assert f"page: {page}" in out
    text = page.read_text()
    assert f"{found['decision'].upper()}: synthetic" in text
    assert "<b>qos</b>, the new side" in text
    assert "<b>fcfs</b>, the baseline" in text
    assert "differs</span>" not in text  # one run has one host


def test_the_page_of_a_refusal_says_why(compare, tmp_path):
    page = tmp_path / "page.html"
    code, _, _ = compare("other", "base", "--html", page)
    assert code == 2
    text = page.read_text()
    assert "NOT COMPARABLE" in text
    assert "<code>--allow seed</code> compares all the same" in text


def test_a_page_without_a_place_is_refused(compare, tmp_path):
    code, _, out = compare("slow", "base", "--html", tmp_path / "none" / "page.html")
    assert code == 2
    assert "--html" in out
