"""What is wrong with what it is given: the command says what, where and what to do.

In one screen, with the right exit code and no traceback (`run_command` looks for one).
"""

import re
import socket
import struct

import pytest

from command_kit import (  # tests/, by conftest.py
    ACCEPT_NOISE,
    ECHO,
    answering,
    codes,
    document,
    misbehaving,
    results,
    run_command,
)

SCREEN = 25
WRONG, CANNOT = 2, 3
ARMS = """
[[arm]]
name = "qos"
[[arm]]
name = "fcfs"
set = { "target.server.policy" = "fcfs" }
"""
LOOPS = """
[[arm]]
name = "open"
[[arm]]
name = "closed"
unset = ["population.chat.arrival"]
set = { "population.chat.users" = 2 }
"""


@pytest.fixture
def cwd(tmp_path):
    """A folder with a scenario that is right and short, `echo.toml`."""
    (tmp_path / "echo.toml").write_text(ECHO)
    return tmp_path


def refused(done, code, *words):
    """The command ended with *code* and one screen that says *words*."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "error: " in done.stderr.lower()
    said = done.stdout + done.stderr
    assert len(said.splitlines()) <= SCREEN, said
    for word in words:
        assert re.search(word, said), f"{word!r} is not in:\n{said}"


@pytest.mark.parametrize("verb", ["run", "check"])
def test_no_toml_is_placed_by_line_and_column(cwd, verb):
    (cwd / "bad.toml").write_text(ECHO.replace('name = "chat"', "name = chat"))
    line = ECHO.splitlines().index('name = "chat"') + 1
    done = run_command(verb, "bad.toml", cwd=cwd)
    refused(done, WRONG, "bad.toml", rf"line {line}\b", r"column \d+")


#: What replaces what in the scenario, and the words that tell its author.
WRONGS = {
    "workload": ('"echo"', '"ecko"', r"\(chat\).workload.use", "mean 'echo'"),
    "model": (
        '{ use = "echo" }',
        '{ use = "llm", model = "gpt2-tinny" }',
        r"\(chat\).workload", "mean 'gpt2-tiny'",
    ),
    "option": (
        '{ use = "echo" }', '{ use = "echo", payloud = "1kB" }', "mean 'payload'",
    ),
    "key": ("warmup", "warm_up", r"\$\.scenario\.warm_up", "mean 'warmup'"),
    "table": ("[scenario]", "[scenari]", "scenario"),
    "one bracket": ("[[population]]", "[population]", "must be a list", r"\[\[population"),
    "workload of text": ('{ use = "echo" }', '"echo"', "must be a table", "write workload"),
    "process": ('"constant"', '"constnt"', r"arrival\.process", "mean 'constant'"),
    "twice": (
        "[[population]]",
        '[[population]]\nname = "chat"\nusers = 1\nworkload.use = "echo"\n[[population]]',
        r"population\[1\].*name", "'chat'", "choose another",
    ),
    "zero rate": ('"100/s"', '"0/s"', r"\(chat\)\.arrival\.rate", "greater than 0"),
    "negative rate": ('"100/s"', '"-5/s"', r"\(chat\)\.arrival\.rate"),
    "no unit": ('"100/s"', '"fast"', r"\(chat\)\.arrival\.rate", "'fast'"),
    "zero duration": ('"1s"', '"0s"', r"\$\.scenario\.duration", "greater than 0"),
    "bound over timeout": ("10s", "90s", r"objectives\[0\]", "timeout", "lower it"),
    "objective": ("p50(", "p5O(", r"objectives\[0\]", "p5O"),
    "stagger": ("arrival =", 'stagger = "1s"\narrival =', r"\(chat\)\.stagger", "closed"),
    "return": (
        "arrival =", "return_probability = 1.0\narrival =",
        r"\(chat\)\.return_probability", "less than 1",
    ),
    "users": (
        "arrival =", "users = [{ users = 0, time = '1s' }]\n#",
        r"\(chat\)\.users", "no stage has a user",
    ),
    "trace": (
        'process = "constant", rate = "100/s"', 'process = "trace", path = "none.csv"',
        r"\(chat\)\.arrival", "none.csv cannot be read",
    ),
    "class": (
        "arrival =", 'qos_class = "realtme"\narrival =', "qos_class", "realtime",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONGS)
def test_a_wrong_scenario_says_where_and_what_there_is(cwd, name):
    before, after, *words = WRONGS[name]
    assert before in ECHO
    (cwd / "bad.toml").write_text(ECHO.replace(before, after, 1))
    done = run_command("run", "bad.toml", "--out", "out", cwd=cwd)
    refused(done, WRONG, *words)
    assert not (cwd / "out").exists()


#: Words of a command line, exit code, and the words that answer them.
COMMANDS = {
    "no file": (
        "run nothere.toml", WRONG, "nothere.toml", "no such file", "djinnload scenarios",
    ),
    "empty": ("check empty.toml", WRONG, "empty.toml", "is empty", "scenarios"),
    "binary": ("check binary.toml", WRONG, "binary.toml", "no UTF-8", "0x80 at 3"),
    "other text": ("check utf16.toml", WRONG, "utf16.toml", "byte order", "UTF-8"),
    "marked": ("check marked.toml", WRONG, "marked.toml", "byte order", "UTF-8"),
    "no place for the result": (
        "run echo.toml --json nowhere/summary.json", WRONG, "--json",
        "nowhere/summary.json", "folder",
    ),
    "a folder for the result": ("run echo.toml --json .", WRONG, "--json", "folder"),
    "a bundle that is none": ("rerun echo.toml", WRONG, "echo.toml", "no bundle"),
    "no configuration": ("import echo.toml", WRONG, "echo.toml", "no YAML"),
    "no run": ("bundle .", WRONG, "manifest.json", "directory"),
    "one run alone": ("compare echo.toml", WRONG, "two run directories", "--arms"),
    "no search": ("search echo.toml", WRONG, r"\$\.search", "docs/search.md"),
    "no port of a server": ("serve --port 99999", WRONG, "--port", "65535"),
    "no workers": ("run echo.toml --workers 0", WRONG, "workers", ">= 1"),
    "no name of a plugin": ("new-plugin 9x", WRONG, "'9x'", "letter"),
    "a folder": ("run .", WRONG, "is a directory|Is a directory|no such file"),
    "no name": ("run quik", WRONG, "mean 'quick'"),
    "no verb": ("rum echo.toml", WRONG, "rum", "--help"),
    "no scenario": ("run", WRONG, "SCENARIO"),
    "no option": ("run echo.toml --durration 1s", WRONG, "--duration"),
    "no duration": ("run echo.toml --duration soon", WRONG, "duration", "'soon'"),
    "no repeats": ("run echo.toml --repeats 0", WRONG, "--repeats"),
    "set nowhere": (
        "run echo.toml --set population.chat.arrivl.rate=5/s", WRONG,
        "arrivl", "mean 'arrival'",
    ),
    "set nobody": (
        "run echo.toml --set population.chap.users=5", WRONG, "chap", "mean 'chat'",
    ),
    "set what the arm has not": (
        "check open.toml --arm closed --set population.chat.arrival.rate=5/s", WRONG,
        "--set", "population.chat.arrival.rate", "closed",
    ),
    "set nothing": ("run echo.toml --set population", WRONG, "--set", "PATH=VALUE"),
    "declare": ("run echo.toml --declare policy", WRONG, "--declare", "KEY=VALUE"),
    "accept": ("run echo.toml --accept LATTE", WRONG, "--accept", "'LATE'"),
    "no arm": ("run arms.toml --arm qoss", WRONG, "--arm", "mean 'qos'", "fcfs"),
    "needs a boot": (
        "run arms.toml --target 127.0.0.1:1", WRONG, "--target", "qos, fcfs",
        "target.server.policy", "--arm",
    ),
    "no address": ("run echo.toml --target localhost", WRONG, "localhost", "host:port"),
    "no port": ("run echo.toml --target localhost:99999", WRONG, "host:port"),
    "no host": (
        "run echo.toml --target nosuch.invalid:80", CANNOT, "nosuch.invalid:80",
    ),
    "nobody there": (
        "run echo.toml --target 127.0.0.1:1 --set target.ready=300ms", CANNOT,
        "nothing listens at 127.0.0.1:1", "refused",
    ),
    "out is a file": (
        "run echo.toml --out echo.toml", CANNOT, "echo.toml", "--out",
    ),
    "no results": ("report .", WRONG, "manifest.json", "directory"),
    "no folder": ("report nothere", WRONG, "nothere", "directory"),
    "check no arm": ("check arms.toml --arm qoss", WRONG, "--arm", "mean 'qos'"),
    "no policy": ("serve --policy qoss", WRONG, "--policy", "fcfs"),
    "no workload": ("workloads ecko", WRONG, "mean 'echo'"),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_command_says_what_to_do(cwd, name):
    words, code, *said = COMMANDS[name]
    (cwd / "arms.toml").write_text(ECHO + ARMS)
    (cwd / "open.toml").write_text(ECHO + LOOPS)
    (cwd / "empty.toml").write_text("\n")
    (cwd / "binary.toml").write_bytes(b"x =\x80\xff\x00")
    (cwd / "utf16.toml").write_text(ECHO, encoding="utf-16")
    (cwd / "marked.toml").write_text(ECHO, encoding="utf-8-sig")
    refused(run_command(*words.split(), cwd=cwd), code, *said)


def test_a_rate_is_set_of_the_arms_that_have_one(cwd):
    (cwd / "open.toml").write_text(ECHO + LOOPS)
    rate = "population.chat.arrival.rate=5/s"
    done = run_command("check", "open.toml", "--set", rate, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert "5/s" in done.stdout
    assert "2 users," in done.stdout


def frame(kind, length, payload=b""):
    return struct.pack(">BQ", kind, length) + payload


#: What a server that is none says, and what it is told to be.
STRANGERS = {
    "http": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP"),
    "garbage": (b"\xff\x00\xfe\x01" * 64, "does not speak Djinn"),
    "hostile length": (frame(4, 2**62), "does not speak Djinn|closed"),
    "frame of nonsense": (frame(4, 6, b"no JSON"[:6]), "does not speak Djinn|closed"),
    "half a frame": (frame(4, 100, b"{"), "taken and closed"),
    "closes": (b"", "taken and closed"),
    "silent": (None, "does not answer"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_a_server_that_is_no_djinn_is_named_as_what_it_is(cwd, name):
    reply, words = STRANGERS[name]
    with answering(reply) as address:
        done = run_command(
            "run", "echo.toml", "--target", address, "--set", "target.ready=500ms",
            "--out", "out", cwd=cwd,
        )  # fmt: skip
    refused(done, CANNOT, re.escape(address), words)


def test_one_that_closes_before_it_reads_is_no_djinn(cwd):
    with answering(b"", read=False) as address:
        done = run_command(
            "run", "echo.toml", "--target", address, "--set", "target.ready=500ms",
            cwd=cwd,
        )  # fmt: skip
    refused(done, CANNOT, re.escape(address))


def test_a_port_in_use_is_said(cwd):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_command("serve", "--port", port, cwd=cwd)
    refused(done, CANNOT, str(port), "in use", "another port")


@pytest.mark.wallclock
def test_a_summary_that_cannot_be_written_loses_no_run(cwd):
    """The run is on disk, shown, and its verdict is not hidden by the mistake."""
    with misbehaving("good") as (address, _):
        done = run_command(
            "run", "echo.toml", "--target", address, "--out", "out",
            "--json", "/dev/full", *ACCEPT_NOISE, cwd=cwd,
        )  # fmt: skip
    assert done.returncode == WRONG
    assert "--json" in done.stderr
    assert "/dev/full" in done.stderr
    run = results(cwd / "out")
    assert document(run / "summary.json")["exit_code"] == 0
    assert codes(run) == set()
    assert (run / "report.html").stat().st_size
    assert "verdict: PASS" in done.stdout
    assert run.name in done.stdout


@pytest.mark.wallclock
def test_a_report_that_cannot_be_written_loses_no_run(cwd):
    """`report` into a folder that a file is in the way of."""
    with misbehaving("good") as (address, _):
        done = run_command(
            "run", "echo.toml", "--target", address, "--out", "out", *ACCEPT_NOISE,
            cwd=cwd,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout
    run = results(cwd / "out")
    (run / "report.html").unlink()
    (run / "report.html").mkdir()
    refused(run_command("report", run, cwd=cwd), CANNOT, "cannot write", "report.html")
    assert document(run / "summary.json")["verdict"]["status"] == "pass"
