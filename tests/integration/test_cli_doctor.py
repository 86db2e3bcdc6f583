"""`djinnload doctor` as a command: what it asks a server, exit codes, JSON."""

import json
import socket
import subprocess
import sys

from command_kit import ECHO, environment, run_command  # tests/, by conftest.py

SETTINGS = """
[target.server]
policy = "fcfs"
"""


def examined(*words, cwd):
    """By name; load is of this machine and this moment."""
    done = run_command("doctor", *words, "--json", cwd=cwd)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    checks = {each["name"]: each for each in found["checks"]}
    assert done.returncode == (0 if found["ok"] else 1)
    return checks


def test_without_a_scenario_it_looks_at_the_machine(tmp_path):
    found = examined(cwd=tmp_path)
    assert {"python", "disk", "clock source", "ports"} <= found.keys()
    assert found["results"]["status"] == "pass"
    assert not (tmp_path / "results").exists()


def test_in_words_it_says_what_to_do(tmp_path):
    (tmp_path / "s.toml").write_text(ECHO)
    done = run_command(
        "doctor", "s.toml", "--set", "scenario.workers=200", cwd=tmp_path
    )
    assert done.returncode == 1
    assert "→ fewer --workers" in done.stdout
    assert "echoes: " in done.stdout.splitlines()[-1]


def test_a_server_is_asked_what_it_is(tmp_path):
    (tmp_path / "s.toml").write_text(ECHO + SETTINGS)
    process = subprocess.Popen(
        [sys.executable, "-m", "djinnload", "serve", "--port", "0"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = json.loads(process.stdout.readline())["ready"]["port"]
        found = examined("s.toml", "--target", f"127.0.0.1:{port}", cwd=tmp_path)
    finally:
        process.kill()
        process.communicate()
    assert found["server"]["said"].startswith("djinnload")
    assert found["settings"]["said"] == "policy is qos, wanted is fcfs"
    assert "arena" not in found


def test_a_server_that_is_not_there(tmp_path):
    (tmp_path / "s.toml").write_text(ECHO)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        found = examined("s.toml", "--target", address, cwd=tmp_path)
    assert found["server"]["status"] == "fail"
    assert address in found["server"]["said"]


def test_a_command_that_is_not_there(tmp_path):
    launch = '[target.launch]\ncommand = ["no-such-djinn", "{port}"]\n'
    (tmp_path / "s.toml").write_text(ECHO + launch)
    found = examined("s.toml", cwd=tmp_path)
    assert "no command 'no-such-djinn'" in found["server"]["said"]


def test_a_wrong_scenario_is_exit_2(tmp_path):
    (tmp_path / "s.toml").write_text(
        ECHO.replace("users", "user").replace("100/s", "x")
    )
    done = run_command("doctor", "s.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "$.population[0] (chat).arrival.rate" in done.stderr
