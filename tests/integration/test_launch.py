"""`[target.launch]`: real children, those that serve and those that misbehave."""

import os
import socket
import sys
from contextlib import suppress
from types import SimpleNamespace

import anyio
import psutil
import pytest

from command_kit import (  # tests/, by conftest.py
    ACCEPT_NOISE,
    ECHO,
    codes,
    document,
    results,
    run_command,
    started,
    until,
)
from djinnload.boots import child as launch
from djinnload.boots import hook as launch_hook
from djinnload.boots.hook import Command
from djinnload.errors import HostError, ScenarioError

SERVE = '["{python}", "-m", "djinnload", "serve", "--port", "{port}"]'
HOOKED = (
    ECHO
    + f"""
[target.launch]
command = {SERVE}
env = {{ GENIE_ENABLE_QOS = "{{qos}}", WHERE = "{{dir}}/{{boot}}" }}
[target.server]
policy = "qos"

[[arm]]
name = "qos"
[[arm]]
name = "none"
set = {{ "target.server.policy" = "none" }}
[[arm]]
name = "said"
set = {{ "target.launch.env.ASKED_FOR" = "yes" }}

[comparison]
baseline = "none"
metrics = ["p50(latency)"]
"""
)
LISTEN = """
import socket, sys, time
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    print("listening", flush=True)
    time.sleep(60)
"""
#: A wrapper that ignores SIGTERM, and whose child does the listening.
STUBBORN = f"""
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", '''{LISTEN}''', sys.argv[1]])
print(child.pid, flush=True)
time.sleep(60)
"""


#: Listens in a child, which is busy for a second first.
SPIN = "import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass"
BUSY = f"""
import subprocess, sys
code = {LISTEN.replace("    time.sleep", "    exec(sys.argv[2]); time.sleep")!r}
subprocess.run([sys.executable, "-c", code, sys.argv[1], {SPIN!r}])
"""


def a_command(code, *words, port=None, ready_s=20.0, **given):
    port = port or launch_hook.free_port()
    argv = (sys.executable, "-c", code, str(port), *words)
    return Command(argv, **({"env": {}, "cwd": None} | given), port=port,
                   metrics_port=None, ready_s=ready_s)  # fmt: skip


def error_of(command, log):
    async def attempt():
        async with launch_hook.launched(command, log):
            pytest.fail("it counts as ready")

    with pytest.raises((HostError, ScenarioError)) as raised:
        anyio.run(attempt)
    return raised.value


def listeners(port):
    return {
        each.pid
        for each in psutil.net_connections(kind="tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr.port == port
    }


def test_arms_have_the_server_that_their_settings_need(tmp_path):
    (tmp_path / "s.toml").write_text(HOOKED.replace('"1s"', '"300ms"'))
    done = run_command(
        "run", "s.toml", *ACCEPT_NOISE, "--accept", "NO_CONTENTION", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = results(tmp_path / "results")
    assert codes(run) == set()
    boots = {
        each["arm"]: each["boot"] for each in document(run / "index.json")["cells"]
    }
    assert boots == {"qos": "b0", "none": "b1", "said": "b2"}
    for arm, policy in (("qos", "qos"), ("none", "none"), ("said", "qos")):
        proof = document(run / "cells/all" / arm / "r00/manifest.json")["proof"]
        assert proof["embedded"] is False
        assert proof["evidence"]["policy"] == {"how": "echoed", "value": policy}
        env = proof["evidence"]["launch.env"]
        assert env["how"] == "launched"
        assert ("ASKED_FOR" in env["value"]) == (arm == "said")
        log = (run / f"server-{boots[arm]}.log").read_text()
        assert f"{policy}, 4 slots" in log or policy == "none"
        assert not psutil.pid_exists(proof["pid"])
    manifest = document(run / "manifest.json")
    assert manifest["comparison"]["differs"] == ["launch.env", "policy"]


def test_repeats_share_a_boot_and_the_argument_wins_over_it(tmp_path):
    text = ECHO + f"[target.launch]\ncommand = {SERVE}\n"
    (tmp_path / "s.toml").write_text(text.replace('"1s"', '"200ms"'))
    done = run_command("run", "s.toml", "--repeats", 2, *ACCEPT_NOISE, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    run = results(tmp_path / "results")
    assert [e["boot"] for e in document(run / "index.json")["cells"]] == ["b0", "b0"]
    port = launch_hook.free_port()
    soon = ("--set", "target.ready=300ms")
    done = run_command(
        "run", "s.toml", "--target", f"127.0.0.1:{port}", *soon, cwd=tmp_path
    )
    assert done.returncode == 3
    assert f"127.0.0.1:{port}" in done.stderr
    (tmp_path / "s.toml").write_text(HOOKED)
    done = run_command("run", "s.toml", "--target", f"127.0.0.1:{port}", cwd=tmp_path)
    assert done.returncode == 2
    assert "differ in target.launch.env, target.server.policy" in done.stderr


def test_an_interrupt_leaves_no_server(tmp_path):
    text = ECHO + f"[target.launch]\ncommand = {SERVE}\n"
    (tmp_path / "s.toml").write_text(
        text.replace('duration = "1s"', 'duration = "60s"')
    )
    with started("run", "s.toml", cwd=tmp_path) as process:
        until(lambda: list(tmp_path.glob("results/*/*/cells/*/*/*/manifest.json")))
        proof = document(next(tmp_path.glob("results/*/*/cells/*/*/*/manifest.json")))
        server = proof["proof"]["pid"]
        assert psutil.pid_exists(server)
        process.terminate()
        assert process.wait(30) == 130
    assert not psutil.pid_exists(server)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel has to do it")
def test_a_run_that_is_killed_takes_its_server_with_it(tmp_path):
    text = ECHO + f"[target.launch]\ncommand = {SERVE}\n"
    (tmp_path / "s.toml").write_text(
        text.replace('duration = "1s"', 'duration = "60s"')
    )
    with started("run", "s.toml", cwd=tmp_path) as process:
        until(lambda: list(tmp_path.glob("results/*/*/cells/*/*/*/manifest.json")))
        proof = document(next(tmp_path.glob("results/*/*/cells/*/*/*/manifest.json")))
        server = psutil.Process(proof["proof"]["pid"])
        assert "serve" in server.cmdline()
        process.kill()
        server.wait(20)


def test_a_run_without_its_command_is_the_scenario_s_fault(tmp_path):
    text = ECHO + '[target.launch]\ncommand = ["no-such-djinn", "{port}"]\n'
    (tmp_path / "s.toml").write_text(text)
    done = run_command("run", "s.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "$.target.launch.command: there is no command 'no-such-djinn'" in done.stderr


def test_the_end_of_a_server_is_told_with_its_last_words(tmp_path):
    code = 'import sys; print("no GPU here", file=sys.stderr); sys.exit(7)'
    text = (
        ECHO
        + f"[target.launch]\ncommand = ['{{python}}', '-c', '{code}', '{{port}}']\n"
    )
    (tmp_path / "s.toml").write_text(text)
    done = run_command("run", "s.toml", cwd=tmp_path)
    assert done.returncode == 3
    assert "the launched server ended with exit code 7" in done.stderr
    assert "no GPU here" in done.stderr


def test_one_that_never_listens_is_ended(tmp_path):
    code = "import time; print('thinking', flush=True); time.sleep(60)"
    said = str(error_of(a_command(code, ready_s=0.6), tmp_path / "log"))
    assert "does not listen on port" in said
    assert "within 0.6 s" in said
    assert said.endswith("  thinking")


def test_one_that_took_another_port_is_told_where_it_is(tmp_path):
    other = launch_hook.free_port()
    command = a_command(LISTEN, ready_s=3.0)
    moved = Command((*command.argv[:-1], str(other)), {}, None, command.port, None, 3.0)
    assert f"it listens on {other}" in str(error_of(moved, tmp_path / "log"))


def test_a_port_of_someone_else_is_no_answer(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = "import time; time.sleep(60)"
        said = str(error_of(a_command(code, port=port), tmp_path / "log"))
    assert f"does not own port {port}" in said
    assert f"(process {os.getpid()})" in said


def test_a_directory_that_is_not_there(tmp_path):
    error = error_of(a_command(LISTEN, cwd=str(tmp_path / "none")), tmp_path / "log")
    assert str(error).startswith("$.target.launch.cwd: there is no directory")
    assert error.exit_code == 2


def test_a_wrapper_is_idle_once_its_server_is(tmp_path):
    async def serve():
        async with launch_hook.launched(a_command(BUSY), tmp_path / "log") as child:
            at_once = await child.idle(0.3)
            return at_once, await child.idle(20)

    assert anyio.run(serve) == (False, True)


def test_a_child_of_the_command_counts_and_ends_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(launch_hook, "PATIENCE_S", 0.5)
    command = a_command(STUBBORN)

    async def serve():
        async with launch_hook.launched(command, tmp_path / "log") as child:
            (holder,) = listeners(command.port)
            assert holder != child.process.pid
            assert child.name != launch.EMBEDDED
            assert child.alive
            return child.process.pid, holder

    for pid in anyio.run(serve):
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).wait(10)
    assert listeners(command.port) == set()


@pytest.mark.parametrize("ours", [True, False])
def test_who_began_to_listen_while_we_looked_is_looked_for_again(
    tmp_path, monkeypatch, ours
):
    """Its socket was seen, but not yet whose it is."""
    seen = iter([{None}, {os.getpid() if ours else None}])
    monkeypatch.setattr(launch_hook, "_holders", lambda _: next(seen))
    leader = SimpleNamespace(pid=os.getppid())

    async def owned():
        return await launch_hook._owned(leader, 1, tmp_path / "log")

    if ours:
        assert anyio.run(owned)
    else:
        with pytest.raises(
            HostError, match="does not own port 1, a process of another"
        ):
            anyio.run(owned)
