"""The command line as a new user reads it: help, examples, suggestions, colours."""

import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import pytest

from djinnload.cli import command, invoke

WIDTH = 80
VERBS = sorted(command.commands)
ANSI = "\x1b["


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", str(WIDTH))


def said(capsys, *words):
    """What `djinnload WORDS…` prints, and the code that it ends with."""
    code = invoke(list(words))
    done = capsys.readouterr()
    return code, done.out + done.err


def examples(verb):
    lines = (command.commands[verb].epilog or "").splitlines()
    return [line.strip() for line in lines if "djinnload" in line]


def test_the_list_of_commands_has_each_once_and_cuts_nothing_off(capsys):
    code, text = said(capsys, "--help")
    assert code == 0
    listed = [line.split()[0] for line in text.splitlines() if line.startswith("  ")]
    assert sorted(name for name in listed if name in VERBS) == VERBS
    assert "..." not in text.partition("Options:")[2]
    assert max(map(len, text.splitlines())) <= WIDTH


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_command_fits_and_says_what_everything_is(capsys, verb):
    code, text = said(capsys, verb, "--help")
    assert code == 0
    assert max(map(len, text.splitlines())) <= WIDTH, text
    for parameter in command.commands[verb].params:
        if isinstance(parameter, click.Option) and parameter.name != "help":
            assert parameter.help or parameter.is_flag, parameter.name
            assert "INTEGER" not in parameter.make_metavar(click.Context(command))
        if isinstance(parameter, click.Argument):
            usage = parameter.make_metavar(click.Context(command.commands[verb]))
            assert usage.strip("[]") in " ".join(text.split())


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_of_a_command_are_taken_by_its_parser(capsys, verb):
    lines = examples(verb)
    assert lines
    _, text = said(capsys, verb, "--help")
    for line in lines:
        assert line in text
        words = shlex.split(line.partition(" >")[0])
        assert words[0] == "djinnload"
        command.commands[words[1]].make_context(words[1], words[2:])


def test_options_are_spelt_alike_everywhere():
    """The same name means the same, takes the same, and reads the same."""
    seen = {}
    for verb in VERBS:
        for each in command.commands[verb].params:
            if isinstance(each, click.Option):
                seen.setdefault(each.opts[0], {}).setdefault(each.metavar, verb)
    differ = {option: found for option, found in seen.items() if len(found) > 1}
    # A file of one kind here, a folder for results there.
    assert set(differ) <= {"--out", "--json"}, differ


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["rum"], "'run'"),
        (["compar", "x"], "'compare'"),
        (["run", "quick", "--durration", "1s"], "'--duration'"),
        (["check", "qos_mx"], "'qos_mix'"),
        (["models", "gpt2-tinny"], "'gpt2-tiny'"),
        (["workloads", "lllm"], "'llm'"),
        (["check", "qos_mix", "--arm", "QOS"], "'qos'"),
        (["check", "qos_mix", "--set", "scenario.durations=1s"], "'duration'"),
        (["run", "qos_mix", "--accept", "late"], "'LATE'"),
    ],
)
def test_what_is_misspelt_is_answered_with_what_was_meant(capsys, words, hint):
    code, text = said(capsys, *words)
    assert code == 2
    assert f"mean {hint}" in text


def test_a_wrong_command_line_says_how_it_is_written(capsys):
    code, text = said(capsys, "check")
    assert code == 2
    first, usage, more = text.splitlines()
    assert first.startswith("error: ")
    assert "SCENARIO" in first
    assert usage.startswith("Usage: djinnload check ")
    assert "djinnload check --help" in more


def test_without_a_word_it_shows_its_help(capsys):
    code, text = said(capsys)
    assert code == 2
    assert text.startswith("Usage: djinnload")
    assert "error" not in text.splitlines()[0]


def test_the_scenarios_that_ship_are_listed_with_what_they_ask(capsys):
    from djinnload.scenarios.load import shipped

    code, text = said(capsys, "scenarios")
    assert code == 0
    for name in shipped():
        assert f"\n{name}" in text
    assert "Do QoS classes keep their promises" in text
    assert "#" not in text


def test_one_model_is_shown_by_its_name(capsys):
    code, text = said(capsys, "models", "gpt2-tiny")
    assert code == 0
    assert "gpt2-tiny" in text
    assert "resnet" not in text


def on_a_terminal(words, **variables):
    """What the command writes where stdout and stderr are a terminal."""
    script = shutil.which("script")
    if script is None:
        pytest.skip("needs script(1), of util-linux")
    line = shlex.join([sys.executable, "-m", "djinnload", *words])
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "typescript"
        subprocess.run(
            [script, "-qec", line, str(log)],
            env={"PATH": "/usr/bin:/bin", "TERM": "xterm-256color", **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        return log.read_text().partition("\n")[2].rpartition("Script done")[0]


def test_colours_are_for_terminals_that_want_them():
    words = ["check", "quik"]
    assert ANSI in on_a_terminal(words)
    assert ANSI not in on_a_terminal(words, NO_COLOR="1")
    done = subprocess.run(
        [sys.executable, "-m", "djinnload", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ANSI not in done.stdout + done.stderr
