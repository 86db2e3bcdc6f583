"""Every block of code in the documents does what it looks like.

Python runs, page by page; TOML is a scenario that loads, or a part of one, or parses;
command lines of djinnload are ones that its own parser takes.
"""

import re
import shlex
import subprocess
import sys
import tomllib
from itertools import takewhile
from pathlib import Path

import pytest

from djinnload.cli import command
from djinnload.scenarios.load import loads

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("docs/**/*.md"), ROOT / "README.md", *ROOT.glob("plugins/*/README.md")]
)
BASE = """
[scenario]
name = "part"
duration = "1s"
[[population]]
name = "chat"
users = 1
workload = { use = "llm", model = "gpt2-tiny" }
"""


def blocks(page, *languages):
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```(.*?)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for language, block in found if language in languages]


def cases(*languages):
    for page in PAGES:
        for number, block in enumerate(blocks(page, *languages)):
            name = f"{page.relative_to(ROOT)}:{number}"
            yield pytest.param(block, id=name)


def test_there_are_blocks():
    assert len(list(cases("toml"))) > 8
    assert len(list(cases("sh"))) > 3


@pytest.mark.parametrize("block", [*cases("toml")])
def test_toml_is_what_it_looks_like(block):
    found = tomllib.loads(block)
    if "project" in found or not found.keys() - {"arrival", "workload"}:
        return  # a plugin's package, or a line of a population
    whole = block
    if "population" not in found:
        whole = BASE + block if "scenario" not in found else block + BASE
    elif "scenario" not in found:
        whole = '[scenario]\nname = "part"\nduration = "1s"\n' + block
    loads(whole)


def commands(block):
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words.pop(0)
        if words[:1] == ["djinnload"]:
            yield list(takewhile(lambda word: word not in (">", ">>", "|"), words))[1:]


@pytest.mark.parametrize("block", [*cases("sh", "")])
def test_command_lines_are_taken_by_the_parser(block):
    for words in commands(block):
        if any(each.startswith("[") for each in words):
            continue  # a synopsis
        verb = command.commands[words[0]]
        verb.make_context(words[0], words[1:])


def run(*argv, cwd):
    argv = [sys.executable, *argv]
    options = {"cwd": cwd, "capture_output": True, "text": True, "timeout": 110}
    return subprocess.run(argv, check=False, **options)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_of_a_page_runs_from_top_to_bottom(page, tmp_path):
    found = blocks(page, "python")
    if not found:
        return
    script = tmp_path / "page.py"
    script.write_text("\n".join(found))
    done = run(script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


EXAMPLES = {
    "in_a_benchmark.py": "beats of ours",
    "own_target.py": "answered, p50",
    "sweep_users.py": "knee at",
}


@pytest.mark.models
@pytest.mark.wallclock
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name, tmp_path):
    done = run(ROOT / "examples" / name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert EXAMPLES[name] in done.stdout


@pytest.mark.models
@pytest.mark.wallclock
def test_the_gate_is_open_or_cannot_be_judged(tmp_path):
    gate = ROOT / "examples" / "test_gate.py"
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", gate, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout or "1 skipped" in done.stdout


def test_pages_build_without_a_warning(tmp_path):
    """In a process of its own: Sphinx changes what it is imported into."""
    options = ("-q", "-W", "--keep-going", "-b", "html", "-d", tmp_path / "trees")
    done = run("-m", "sphinx", *options, ROOT / "docs", tmp_path / "html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "How a measurement goes wrong" in (tmp_path / "html/index.html").read_text()
